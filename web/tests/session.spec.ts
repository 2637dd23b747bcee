// Logging in, staying logged in, coming back to where one was.
import { test as plain } from '@playwright/test';
import { base_url, expect, house, test } from './fixtures';

plain('somebody logs in, is sent to where they wanted to go, and logs out', async ({ browser }) => {
  const context = await browser.newContext({ baseURL: base_url() });
  const page = await context.newPage();
  await page.goto('/admin/nodes');
  await expect(page).toHaveURL(/\/login$/);
  await page.getByLabel('User name or e-mail address').fill('admin');
  await page.getByLabel('Password', { exact: true }).fill('certainly wrong');
  await page.getByRole('button', { name: 'Log in' }).click();
  await expect(page.getByRole('alert')).toContainText(/wrong|do not|not/i);
  await page.getByLabel('Password', { exact: true }).fill(house().password);
  await page.keyboard.press('Enter');
  await expect(page.getByRole('heading', { level: 1, name: 'Nodes' })).toBeVisible();
  await page.reload();
  await expect(page.getByRole('heading', { level: 1, name: 'Nodes' })).toBeVisible();
  await page.getByRole('button', { name: /account of admin/ }).click();
  await page.getByRole('menuitem', { name: 'Log out' }).click();
  await expect(page).toHaveURL(/\/login$/);
  await context.close();
});

test('the first press of Tab offers to skip to the content, and a dialog keeps the focus', async ({ page }) => {
  await page.goto('/admin/nodes');
  await expect(page.getByRole('heading', { level: 1 })).toBeVisible();
  await page.keyboard.press('Tab');
  await expect(page.getByRole('link', { name: 'Skip to content' })).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.locator('#content')).toBeFocused();
  await page.getByRole('button', { name: 'Add node' }).press('Enter');
  const dialog = page.getByRole('dialog');
  await expect(dialog.getByLabel('Name')).toBeFocused();
  for (let press = 0; press < 12; press += 1) {
    await page.keyboard.press('Tab');
    expect(await dialog.evaluate((element) => element.contains(document.activeElement))).toBe(true);
  }
  await page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await expect(page.getByRole('button', { name: 'Add node' })).toBeFocused();
});

test('the API reference works under the policy of the panel', async ({ page }) => {
  await page.goto('/api/docs');
  // Only what is on the screen is rendered: the first group.
  await expect(page.getByText('/api/v1/admin/allocations').first()).toBeVisible();
});
