// Every page in both colour schemes and at 360 px: axe finds nothing, nothing is wider than the screen.
import { api, expect, house, scheme, test, violations } from './fixtures';

async function pages(): Promise<[string, string][]> {
  const { server_id, nodes } = house();
  const server = (await api('GET', `/admin/servers/${server_id}`)).data;
  const cluster = (await api('GET', '/admin/clusters')).data as unknown as { id: string; name: string }[];
  if (cluster.length === 0) cluster.push((await api('POST', '/admin/clusters', { name: 'eu-west' })).data as unknown as { id: string; name: string });
  const of = `/admin/servers/${server_id}`;
  return [
    ['/admin/servers', 'Servers'], ['/admin/servers/new', 'New server'], [of, 'ledger'], [`${of}/transfer`, 'ledger'], [`${of}/subusers`, 'ledger'], [`${of}/settings`, 'ledger'],
    ['/admin/nodes', 'Nodes'], [`/admin/nodes/${nodes[0]?.node_id ?? ''}`, 'alpha'], ['/admin/clusters', 'Clusters'], [`/admin/clusters/${cluster[0]?.id ?? ''}`, cluster[0]?.name ?? ''],
    ['/admin/transfers', 'Transfers'], ['/admin/evacuations', 'Evacuations'], ['/admin/eggs', 'Eggs'], [`/admin/eggs/${String(server['egg_id'])}`, ''],
    ['/admin/settings/feature-flags', 'Feature Flags'], ['/admin/settings/announcements', 'Announcements'], ['/admin/settings/api-keys', 'API Keys'], ['/admin/settings/users', 'Users'],
    ['/admin/settings/roles', 'Roles'], ['/admin/settings/webhooks', 'Webhooks'], ['/admin/settings/database-hosts', 'Database hosts'], ['/admin/settings/dns-zones', 'DNS zones'], ['/admin/settings/backup-storages', 'Backup storage'], [`${of}/backups`, 'ledger'], [`${of}/startup`, 'ledger'], [`${of}/allocations`, 'ledger'], [`${of}/schedules`, 'ledger'], [`${of}/databases`, 'ledger'], ['/admin/settings/audit', 'Audit'], ['/account', 'Account'], ['/servers', 'My servers'], ['/nowhere', 'No such page'],
  ];
}

for (const colours of ['light', 'dark'] as const) {
  test(`axe finds nothing on any page (${colours})`, async ({ page }) => {
    test.setTimeout(240_000);
    await page.goto('/');
    await scheme(page, colours);
    const found: Record<string, string[]> = {};
    for (const [path, title] of await pages()) {
      await page.goto(path);
      await expect(page.getByRole('heading', { level: 1, name: title })).toBeVisible();
      await expect(page.locator('[aria-busy=true]')).toHaveCount(0);
      const problems = await violations(page);
      if (problems.length > 0) found[path] = problems;
    }
    expect(found).toEqual({});
  });
}

test('nothing is wider than a screen of 360 px', async ({ page }) => {
  test.setTimeout(180_000);
  await page.setViewportSize({ width: 360, height: 740 });
  const wide: Record<string, number> = {};
  for (const [path, title] of await pages()) {
    await page.goto(path);
    await expect(page.getByRole('heading', { level: 1, name: title })).toBeVisible();
    await expect(page.locator('[aria-busy=true]')).toHaveCount(0);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    if (width > 360) wide[path] = width;
  }
  expect(wide).toEqual({});
});
