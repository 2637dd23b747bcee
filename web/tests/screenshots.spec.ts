// The pictures of the user guide (`make screenshots`): made of the living thing, so that they show what is.
import { mkdirSync } from 'node:fs';
import { api, expect, house, scheme, settled, test, until } from './fixtures';

const FOLDER = '../docs/images';

test('pictures for the user guide', async ({ page }) => {
  test.setTimeout(240_000);
  mkdirSync(FOLDER, { recursive: true });
  const { server_id, nodes } = house();
  const shoot = async (name: string) => page.screenshot({ path: `${FOLDER}/web-${name}.png`, animations: 'disabled' });
  await page.setViewportSize({ width: 1200, height: 800 });
  await page.goto('/');
  await scheme(page, 'light');
  await page.goto('/admin/nodes');
  await expect(page.getByText('Addresses').first()).toBeVisible();
  await shoot('nodes');
  const { node_id } = await settled();
  const target = nodes.find((node) => node.node_id !== node_id)?.node_id ?? '';
  await page.goto(`/admin/servers/${server_id}/transfer`);
  await page.getByRole('radio', { name: /^(alpha|beta)$/ }).check();
  await expect(page.getByRole('button', { name: 'Start Migration' })).toBeEnabled();
  await page.getByRole('button', { name: 'Start Migration' }).scrollIntoViewIfNeeded();
  await shoot('transfer-plan');
  // Slow enough for a picture of it.
  const begun = await api('POST', `/admin/servers/${server_id}/transfer`, { target_node_id: target, bandwidth_limit: 12_000_000 });
  await page.reload();
  await until('it is half way', async () => ((await api('GET', `/admin/transfers/${begun.data.id}`)).data['progress'] as { bytes_sent: number }).bytes_sent > 40_000_000);
  await page.evaluate(() => window.scrollTo(0, 0));
  await shoot('transfer-live');
  await expect(page.getByRole('region', { name: 'Receipt' })).toBeVisible({ timeout: 120_000 });
  await page.evaluate(() => window.scrollTo(0, 0));
  await shoot('transfer-receipt');
  await scheme(page, 'dark');
  await page.setViewportSize({ width: 360, height: 720 });
  await page.goto(`/admin/servers/${server_id}`);
  await expect(page.getByRole('log')).toContainText('ledger', { timeout: 20_000 });
  await shoot('phone');
});
