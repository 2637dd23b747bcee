// The browser tests: Debian's Chromium against a real panel with two real daemons (`badger demo`), started once.
import { defineConfig } from '@playwright/test';

const chromium = process.env['BADGER_CHROMIUM'] ?? '/usr/bin/chromium';

export default defineConfig({
  testDir: 'tests',
  globalSetup: './tests/up.ts',
  // One house, one browser: the tests move the same server about.
  workers: 1,
  fullyParallel: false,
  retries: 0,
  forbidOnly: true,
  timeout: 90_000,
  expect: { timeout: 15_000 },
  reporter: [['list']],
  outputDir: 'test-results',
  testIgnore: process.env['BADGER_SCREENSHOTS'] ? [] : ['**/screenshots.spec.ts'],
  use: {
    browserName: 'chromium',
    viewport: { width: 1280, height: 900 },
    locale: 'en-GB',
    timezoneId: 'UTC',
    trace: 'off',
    screenshot: 'only-on-failure',
    launchOptions: {
      executablePath: chromium,
      args: ['--no-sandbox', '--disable-quic', '--disable-background-networking', '--disable-component-update', '--disable-sync', '--no-first-run', '--disable-gpu', '--disable-dev-shm-usage'],
    },
  },
});
