import { describe, expect, it } from 'vitest';
import type { Transfer } from '../../api/queries';
import { Chart, isFrozen, partOf, stagesOf } from './stages';

const at = '2026-01-01T00:00:00Z';
const entered = (...names: string[]) => names.map((name) => ({ name, started_at: at, finished_at: null }));
const progress = { bytes_total: 100, bytes_read: 0, bytes_sent: 0, bytes_written: 50, files_total: 0, files_done: 0, round: 1, rate_bytes_per_s: 0, eta_s: 0, predicted_freeze_ms: null };
const moving = (part: Partial<Transfer>) => ({ mode: 'live', state: 'running', stage: 'preparing', stages: entered('preparing'), progress, ...part });

describe('the stages of a transfer', () => {
  it('are the eight of a live one, and seven of a cold one', () => {
    expect(stagesOf(moving({})).map(({ label }) => label)).toEqual([
      'Preparing transfer', 'Copying while running', 'Stopping server', 'Compressing files', 'Transferring data', 'Extracting files', 'Starting server', 'Cleanup complete',
    ]);
    expect(stagesOf(moving({ mode: 'cold' }))).toHaveLength(7);
  });

  it('are done before the current one, and later behind it', () => {
    const stages = stagesOf(moving({ stage: 'stopping', stages: entered('preparing', 'copying_while_running', 'stopping') }));
    expect(stages.map(({ state }) => state)).toEqual(['done', 'done', 'now', 'later', 'later', 'later', 'later', 'later']);
  });

  it('are all done once it completed, and stop where it failed', () => {
    expect(stagesOf(moving({ state: 'completed', stage: 'cleanup' })).every(({ state }) => state === 'done')).toBe(true);
    expect(stagesOf(moving({ state: 'rolled_back' }))[0]?.state).toBe('stopped');
  });

  it('freeze the game from the stop to the start, and not where it was offline', () => {
    const stages = entered('preparing', 'stopping');
    expect(isFrozen(moving({ stage: 'transferring', stages }))).toBe(true);
    expect(isFrozen(moving({ stage: 'starting', stages }))).toBe(false);
    expect(isFrozen(moving({ stage: 'copying_while_running', stages: entered('preparing') }))).toBe(false);
    expect(isFrozen(moving({ state: 'completed', stage: 'transferring', stages }))).toBe(false);
  });

  it('fill the bar from left to right', () => {
    const parts = ['preparing', 'copying_while_running', 'stopping', 'compressing', 'transferring', 'extracting', 'starting', 'cleanup'].map((stage) => partOf(moving({ stage })));
    expect([...parts].sort((a, b) => a - b)).toEqual(parts);
    expect(partOf(moving({ state: 'completed' }))).toBe(1);
  });
});

describe('the chart', () => {
  it('knows a dirty rate once a second round has begun', () => {
    const chart = new Chart();
    chart.add(0, { ...progress, bytes_written: 0 });
    chart.add(10_000, { ...progress, bytes_written: 1000 });
    expect(chart.samples.at(-1)?.dirty).toBeNull();
    chart.add(20_000, { ...progress, round: 2, bytes_written: 1000 });
    chart.add(21_000, { ...progress, round: 2, bytes_written: 1400 });
    expect(chart.samples.at(-1)?.dirty).toBe(20);
  });

  it('keeps two points a second at most', () => {
    const chart = new Chart();
    for (let ms = 0; ms < 1000; ms += 100) chart.add(ms, progress);
    expect(chart.samples).toHaveLength(2);
  });
});
