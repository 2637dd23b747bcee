// Starts the house that all tests share: `badger demo` with a panel, two daemons and a running game. Ends it afterwards.
// BADGER_TEST_HOUSE=<file> uses one that runs already (what `house` below has, as JSON).
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

export interface House {
  url: string;
  api_key: string;
  server_id: string;
  nodes: { node_id: string; data_dir: string; allocation_ids: string[] }[];
  password: string;
}

const START_MS = 120_000;

export default async function up(): Promise<(() => Promise<void>) | undefined> {
  const running = process.env['BADGER_TEST_HOUSE'];
  if (running) {
    process.env['BADGER_HOUSE'] = readFileSync(running, 'utf8');
    return undefined;
  }
  const executable = resolve(process.env['BADGER'] ?? '../target/debug/badger');
  const data = join(mkdtempSync(join(tmpdir(), 'badger-web-')), 'house');
  const demo = spawn(executable, ['demo', '--keep', '--no-migrate', '--json', '--size', '96M', '--dirty', '2M', '--data', data], { stdio: ['ignore', 'pipe', 'inherit'] });
  const end = async () => {
    const over = new Promise((done) => demo.once('exit', done));
    if (demo.exitCode === null && demo.signalCode === null) {
      demo.kill('SIGTERM');
      await over;
    }
    rmSync(resolve(data, '..'), { recursive: true, force: true });
  };
  try {
    const first = await line(demo.stdout, new Promise((_, fail) => demo.once('exit', (code) => fail(new Error(`badger demo ended with ${String(code)} before it was up`)))));
    const password = readFileSync(join(data, 'panel', 'admin.password'), 'utf8').trim();
    process.env['BADGER_HOUSE'] = JSON.stringify({ ...(JSON.parse(first) as object), password });
    return end;
  } catch (error) {
    await end();
    throw error;
  }
}

async function line(stream: NodeJS.ReadableStream, ended: Promise<never>): Promise<string> {
  const lines = createInterface({ input: stream });
  const first = new Promise<string>((done) => lines.once('line', done));
  const late = new Promise<never>((_, fail) => setTimeout(() => fail(new Error('the demo is not up in time')), START_MS).unref());
  return Promise.race([first, ended, late]);
}

/** What `up` has started; in the tests' process. */
export function house(): House {
  const text = process.env['BADGER_HOUSE'];
  if (!text) throw new Error('there is no house');
  return JSON.parse(text) as House;
}
