// The heart: a migration planned, watched, called off, reloaded in the middle, and read afterwards.
import { type Page } from '@playwright/test';
import { api, expect, house, settled, test, until } from './fixtures';

const STAGES = ['Preparing transfer', 'Copying while running', 'Stopping server', 'Compressing files', 'Transferring data', 'Extracting files', 'Starting server', 'Cleanup complete'];
const tab = () => `/admin/servers/${house().server_id}/transfer`;
const nameOf = (id: string) => (id === house().nodes[0]?.node_id ? 'alpha' : 'beta');
const other = (id: string) => house().nodes.find(({ node_id }) => node_id !== id)?.node_id ?? '';

/** Opens the tab, chooses the node where the server is not, and slows the copy down if asked to. */
async function plan(page: Page, slow: boolean): Promise<string> {
  const { node_id } = await settled();
  const target = nameOf(other(node_id));
  await page.goto(tab());
  await page.getByRole('radio', { name: target }).check();
  await expect(page.getByRole('region', { name: `Preflight of ${target}` })).toBeVisible();
  if (slow) {
    await page.getByRole('button', { name: 'More options' }).click();
    await page.getByLabel('Bandwidth limit').fill('4');
  }
  const start = page.getByRole('button', { name: 'Start Migration' });
  await expect(start).toBeEnabled();
  await start.click();
  await expect(page.getByRole('list', { name: 'Stages' })).toBeVisible();
  return target;
}

test.afterEach(async () => {
  // Whatever failed before: the next test begins with a server at rest.
  const { data } = await api('GET', `/admin/servers/${house().server_id}/transfer`);
  if (data['state'] === 'running' || data['state'] === 'queued' || data['state'] === 'paused') await api('POST', `/admin/transfers/${data.id}/cancel`, {});
  await api('PATCH', '/admin/feature-flags/server_transfers', { enabled: true });
  await settled();
});

test('a server is migrated live, and the page says at its end what it proved', async ({ page }) => {
  const target = await plan(page, false);
  const stages = page.getByRole('list', { name: 'Stages' }).getByRole('listitem');
  await expect(stages).toHaveCount(8);
  for (const [index, label] of STAGES.entries()) await expect(stages.nth(index)).toContainText(label);
  const receipt = page.getByRole('region', { name: 'Receipt' });
  await expect(receipt).toBeVisible({ timeout: 60_000 });
  await expect(receipt).toContainText('Both sides computed the same tree root');
  await expect(receipt).toContainText(target);
  await expect(receipt.locator('strong').getByText(/^\d+(\.\d+)? (ms|s)$/)).toBeVisible();
  expect((await settled()).node_id).toBe(house().nodes.find(({ node_id }) => nameOf(node_id) === target)?.node_id);
  await page.reload();
  await expect(receipt).toContainText('Both sides computed the same tree root');
  await page.goto('/admin/transfers');
  await expect(page.getByRole('row', { name: /ledger.*Completed/ }).first()).toBeVisible();
});

test('a reload in the middle comes back to the same, and a cancel leaves the server where it was', async ({ page }) => {
  const { node_id: before } = await settled();
  await plan(page, true);
  const log = page.getByRole('list', { name: 'Events, the latest first' });
  await expect(page.getByText('Round 1')).toBeVisible();
  await expect(log.getByRole('listitem').first()).toBeVisible();
  const seen = await log.getByRole('listitem').count();
  await page.reload();
  await expect(page.getByRole('list', { name: 'Stages' })).toContainText('Copying while running');
  await expect(async () => expect(await log.getByRole('listitem').count()).toBeGreaterThanOrEqual(seen)).toPass();
  await expect(page.getByRole('button', { name: 'Start Migration' })).toBeHidden();
  await page.getByRole('button', { name: 'Cancel', exact: true }).click();
  await page.getByRole('button', { name: 'Cancel the migration' }).click();
  await expect(page.getByText('The server is on the source as it was before')).toBeVisible({ timeout: 30_000 });
  expect((await settled()).node_id).toBe(before);
});

test('a migration is paused, its limits are changed, and it goes on to its end', async ({ page }) => {
  await plan(page, true);
  await expect(page.getByText('Round 1')).toBeVisible();
  await page.getByRole('button', { name: 'Pause' }).click();
  await expect(page.getByText('what has arrived and its place on the target are kept')).toBeVisible();
  await page.reload();
  await page.getByRole('button', { name: 'Limits' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByLabel('Bandwidth limit')).toHaveValue('4 MiB/s');
  await dialog.getByLabel('Bandwidth limit').fill('200');
  await dialog.getByRole('button', { name: 'Apply' }).click();
  await expect(dialog).toBeHidden();
  const { data } = await api('GET', `/admin/servers/${house().server_id}/transfer`);
  expect(data).toMatchObject({ state: 'paused', options: { bandwidth_limit: 200 * 1024 * 1024, not_before: null } });
  await page.getByRole('button', { name: 'Resume' }).click();
  await expect(page.getByRole('region', { name: 'Receipt' })).toBeVisible({ timeout: 60_000 });
});

test('a completed migration is undone from its receipt, and only what changed is sent', async ({ page }) => {
  const { node_id: before } = await settled();
  await plan(page, false);
  const receipt = page.getByRole('region', { name: 'Receipt' });
  await expect(receipt).toBeVisible({ timeout: 60_000 });
  expect((await settled()).node_id).not.toBe(before);
  const { data: there } = await api('GET', `/admin/servers/${house().server_id}/transfer`);
  await receipt.getByRole('button', { name: 'Undo' }).click();
  await page.getByRole('button', { name: 'Undo the migration' }).click();
  const back = await until('it is moved back', async () => {
    const { data } = await api('GET', `/admin/servers/${house().server_id}/transfer`);
    return data['undo_of'] === there.id && data['finished_at'] != null && data;
  });
  expect(back['state']).toBe('completed');
  const { bytes_wire: sent, bytes_total: whole } = back['receipt'] as { bytes_wire: number; bytes_total: number };
  expect(sent).toBeLessThan(whole / 2);
  expect((await settled()).node_id).toBe(before);
  await expect(receipt).toContainText(`→ ${nameOf(before)}`);
  await page.goto(`/admin/transfers/${there.id}`);
  await expect(receipt).toContainText('It was moved back by another migration.');
  await expect(receipt.getByRole('button', { name: 'Undo' })).toBeHidden();
});

test('an owner reads a plain sentence while the server moves', async ({ page }) => {
  await plan(page, true);
  await page.goto(`/servers/${house().server_id}`);
  await expect(page.getByText('This server is being moved to another machine. You can go on playing.')).toBeVisible();
  await expect(page.getByRole('progressbar', { name: 'Progress of the move' })).toBeVisible();
});

test('while the feature flag is off nothing can be started, and it is said why', async ({ page }) => {
  await page.goto('/admin/settings/feature-flags');
  const flag = page.getByRole('switch', { name: 'Server transfers' });
  await flag.press('Space');
  await expect(flag).not.toBeChecked();
  await expect(page.getByText('Server transfers is off.')).toBeVisible();
  const { node_id } = await settled();
  await page.goto(tab());
  await page.getByRole('radio', { name: nameOf(other(node_id)) }).check();
  await expect(page.getByRole('region', { name: /^Preflight of/ })).toContainText(/feature/i);
  await expect(page.getByRole('button', { name: 'Start Migration' })).toBeDisabled();
});

test('a target without enough memory says how much there is and what is needed', async ({ page }) => {
  const small = await api('POST', '/admin/nodes', { name: 'small', memory_mb: 100, disk_mb: 50_000, cpu_percent: 800 });
  try {
    await settled();
    await page.goto(tab());
    await page.getByRole('radio', { name: /small/ }).check();
    const preflight = page.getByRole('region', { name: 'Preflight of small' });
    await expect(preflight).toContainText('Insufficient Resources');
    await expect(preflight).toContainText('512');
    await expect(page.getByRole('button', { name: 'Start Migration' })).toBeDisabled();
  } finally {
    await api('DELETE', `/admin/nodes/${small.data.id}`);
  }
});

test('a server that another operation holds is locked, and the page says so', async ({ page }) => {
  const { node_id } = await settled();
  await page.goto(tab());
  const target = other(node_id);
  await page.getByRole('radio', { name: nameOf(target) }).check();
  const start = page.getByRole('button', { name: 'Start Migration' });
  await expect(start).toBeEnabled();
  // Somebody else was faster.
  const begun = await api('POST', `/admin/servers/${house().server_id}/transfer`, { target_node_id: target, bandwidth_limit: 4_000_000 });
  expect(begun.status).toBe(202);
  await start.click({ timeout: 2_000 }).catch(() => undefined);
  await expect(page.getByText('Server Is Currently Locked').or(page.getByRole('list', { name: 'Stages' })).first()).toBeVisible();
  const refused = await api('POST', `/admin/servers/${house().server_id}/transfer`, { target_node_id: target });
  expect(refused.status).toBe(409);
  await page.reload();
  await expect(page.getByRole('list', { name: 'Stages' })).toBeVisible();
  await api('POST', `/admin/transfers/${begun.data.id}/cancel`, {});
  await until('it is over', async () => (await api('GET', `/admin/transfers/${begun.data.id}`)).data['finished_at'] != null);
  await expect(page.getByRole('button', { name: 'Start Migration' })).toBeHidden();
});
