// Making what a house consists of: a node, a server.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { api, expect, house, test, until } from './fixtures';

const PELICAN = `meta: {version: PLCN_v3}
name: Stork
startup_commands: {Default: './stork --port {{SERVER_PORT}}'}
docker_images: {Debian: docker.io/library/debian:12}
config: {startup: {done: ready}, stop: quit}
variables: []
`;

test('a node is added, its daemon joins with the command that is shown, and it is deleted again', async ({ page }) => {
  await page.goto('/admin/nodes');
  await page.getByRole('button', { name: 'Add node' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill('gamma');
  await dialog.getByRole('button', { name: 'Add node' }).click();
  const command = (await dialog.getByLabel('Command', { exact: true }).textContent()) ?? '';
  await expect(dialog.getByRole('status')).toContainText('Waiting');
  const token = /bpe_\S+/.exec(command)?.[0] ?? '';
  expect(command).toContain('badger daemon');
  const data = mkdtempSync(join(tmpdir(), 'badger-web-node-'));
  const executable = resolve(process.env['BADGER'] ?? '../target/debug/badger');
  const daemon = spawn(executable, ['daemon', '--panel', house().url, '--data', data, '--data-listen', '127.0.0.1:0', '--runtime', 'process', '--name', 'gamma'], { env: { ...process.env, BADGER_TOKEN: token }, stdio: 'ignore' });
  try {
    await expect(dialog.getByRole('status')).toContainText('has joined', { timeout: 30_000 });
    await dialog.getByRole('button', { name: 'Done' }).click();
    await page.getByRole('link', { name: 'gamma' }).click();
    await page.getByRole('button', { name: 'Add addresses' }).click();
    await page.getByLabel('IP address').fill('127.0.0.1');
    await page.getByRole('combobox', { name: 'Ports' }).fill('19870-19872');
    await page.keyboard.press('Enter');
    await page.getByRole('button', { name: 'Add', exact: true }).click();
    await expect(page.getByText('127.0.0.1:19871')).toBeVisible();
  } finally {
    const over = new Promise((done) => daemon.once('exit', done));
    daemon.kill('SIGTERM');
    await over;
    rmSync(data, { recursive: true, force: true });
  }
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('button', { name: 'Delete the node' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Nodes' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'gamma' })).toBeHidden();
});

test('a server is made, found by its name, renamed and deleted', async ({ page }) => {
  await page.goto('/admin/servers/new');
  await page.getByLabel('Name').fill('second');
  await page.getByRole('combobox', { name: 'Egg' }).click();
  await page.getByRole('option', { name: 'Ledger' }).click();
  await page.getByRole('combobox', { name: 'Node or cluster' }).click();
  await page.getByRole('option', { name: 'beta' }).click();
  await page.getByRole('combobox', { name: 'Address' }).click();
  await page.getByRole('option').first().click();
  await page.getByRole('textbox', { name: 'Memory' }).fill('256');
  await page.getByRole('textbox', { name: 'Disk' }).fill('256');
  await page.getByRole('button', { name: 'Create the server' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'second' })).toBeVisible();
  const id = page.url().split('/').at(-1) ?? '';
  await until('it is installed', async () => (await api('GET', `/admin/servers/${id}`)).data['status'] !== 'installing');
  await page.getByRole('tab', { name: 'Settings' }).click();
  await page.getByLabel('Name').fill('renamed');
  await page.getByRole('button', { name: 'Save' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'renamed' })).toBeVisible();
  await page.goto('/admin/servers');
  await page.getByRole('textbox', { name: 'Name' }).fill('renam');
  await expect(page).toHaveURL(/name=renam/);
  await expect(page.getByRole('link', { name: 'ledger' })).toBeHidden();
  await page.getByRole('link', { name: 'renamed' }).click();
  await page.getByRole('tab', { name: 'Settings' }).click();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('button', { name: 'Delete the server' }).click();
  await expect(page).toHaveURL(/\/admin\/servers$/);
  await expect(page.getByRole('link', { name: 'renamed' })).toBeHidden();
});

test('what the console says is shown, and who owns a server sees it among theirs', async ({ page }) => {
  const { server_id } = house();
  await page.goto(`/admin/servers/${server_id}`);
  await expect(page.getByRole('log')).toContainText('ledger', { timeout: 20_000 });
  const me = (await api('GET', '/admin/users')).data as unknown as { id: string }[];
  await api('PATCH', `/admin/servers/${server_id}`, { owner_id: me[0]?.id });
  await page.goto('/servers');
  await page.getByRole('link', { name: 'ledger' }).click();
  await expect(page.getByRole('tab', { name: 'Transfer' })).toBeHidden();
  await expect(page.getByRole('tab', { name: 'Subusers' })).toBeVisible();
});

test('an egg in YAML is imported, taken along as JSON, and deleted', async ({ page }) => {
  await page.goto('/admin/eggs');
  await page.getByRole('button', { name: 'Import egg' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Egg', { exact: true }).fill('name: [never closed');
  await dialog.getByRole('button', { name: 'Import', exact: true }).click();
  await expect(dialog.getByRole('alert')).toBeVisible();
  await dialog.getByLabel('Egg', { exact: true }).fill(PELICAN);
  await dialog.getByRole('button', { name: 'Import', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Stork' })).toBeVisible();
  await page.getByRole('button', { name: 'Export' }).click();
  const taken = page.waitForEvent('download');
  await page.getByRole('menuitem', { name: /JSON/ }).click();
  const file = await taken;
  expect(file.suggestedFilename()).toBe('egg-stork.json');
  expect(JSON.parse(readFileSync(await file.path(), 'utf8'))).toMatchObject({ name: 'Stork', startup: './stork --port {{SERVER_PORT}}' });
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('button', { name: 'Delete the egg' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Eggs' })).toBeVisible();
  await expect(page.getByRole('link', { name: 'Stork' })).toBeHidden();
});
