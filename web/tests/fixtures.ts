// What the tests share: somebody who is logged in, the API beside the browser, and axe.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { test as base, expect, type BrowserContext, type Page } from '@playwright/test';
import { house } from './up';

const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** The panel that the browser opens; the interface can be served from elsewhere while one works on it. */
export const base_url = (): string => process.env['BADGER_WEB_URL'] ?? house().url;

interface Answer {
  status: number;
  data: Record<string, unknown> & { id: string };
}

/** The API with all rights, as a program uses it. */
export async function api(method: string, path: string, body?: unknown): Promise<Answer> {
  const { url, api_key } = house();
  const response = await fetch(`${url}/api/v1${path}`, {
    method,
    headers: { Authorization: `Bearer ${api_key}`, 'Content-Type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  const parsed = text === '' ? {} : (JSON.parse(text) as { data?: Answer['data'] });
  return { status: response.status, data: parsed.data ?? ({} as Answer['data']) };
}

/** Waits until the condition holds. */
export async function until<T>(what: string, condition: () => Promise<T | null | undefined | false>, ms = 60_000): Promise<T> {
  const end = Date.now() + ms;
  for (;;) {
    const found = await condition();
    if (found) return found;
    if (Date.now() > end) throw new Error(`${what}: not in time`);
    await new Promise((done) => setTimeout(done, 150));
  }
}

/** The server at rest: no transfer, running, unlocked. */
export async function settled(): Promise<{ node_id: string }> {
  const path = `/admin/servers/${house().server_id}`;
  const server = await until('the server is settled', async () => {
    const { data } = await api('GET', path);
    return data['transfer_state'] == null && data['locked'] === false && data['status'] === 'running' && data;
  });
  return { node_id: String(server['node_id']) };
}

interface Fixtures {
  page: Page;
}

interface WorkerFixtures {
  somebody: BrowserContext;
}

export const test = base.extend<Fixtures, WorkerFixtures>({
  somebody: [
    async ({ browser }, give) => {
      const context = await browser.newContext({ baseURL: base_url(), viewport: { width: 1280, height: 900 }, locale: 'en-GB', timezoneId: 'UTC' });
      const answer = await context.request.post('/api/v1/auth/login', { data: { username: 'admin', password: house().password } });
      expect(answer.status()).toBe(200);
      await give(context);
      await context.close();
    },
    { scope: 'worker' },
  ],
  // A page of the admin's browser. Whatever a page complains about fails its test: a policy that is violated above all.
  page: async ({ somebody }, give) => {
    const page = await somebody.newPage();
    const complaints: string[] = [];
    page.on('pageerror', (error) => complaints.push(error.message));
    page.on('console', (message) => {
      if (message.type() === 'error' && !/status of (400|401|403|404|409|422|503)/.test(message.text())) complaints.push(message.text());
    });
    await give(page);
    await page.close();
    expect(complaints).toEqual([]);
  },
});

/** What axe finds, one line each. */
export async function violations(page: Page): Promise<string[]> {
  await page.evaluate(axe);
  return page.evaluate(async () => {
    interface Found { violations: { id: string; help: string; nodes: { target: unknown[]; failureSummary?: string }[] }[] }
    const { run } = (window as unknown as { axe: { run: (where: Document, options: unknown) => Promise<Found> } }).axe;
    const found = await run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'best-practice'] });
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.slice(0, 3).map(({ target, failureSummary }) => `${target.join(' ')} (${(failureSummary ?? '').split('\n').slice(1, 2).join(' ').trim()})`).join('; ')}`);
  });
}

export async function scheme(page: Page, value: 'light' | 'dark') {
  await page.evaluate((chosen) => localStorage.setItem('mantine-color-scheme-value', chosen), value);
}

export { expect, house };
