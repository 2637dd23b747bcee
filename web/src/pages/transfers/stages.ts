// The stages of a transfer as the product names them, and what they mean for who watches. Pure.
import type { Transfer } from '../../api/queries';

export interface Stage {
  name: string;
  label: string;
}

const ALL: Stage[] = [
  { name: 'preparing', label: 'Preparing transfer' },
  { name: 'copying_while_running', label: 'Copying while running' },
  { name: 'stopping', label: 'Stopping server' },
  { name: 'compressing', label: 'Compressing files' },
  { name: 'transferring', label: 'Transferring data' },
  { name: 'extracting', label: 'Extracting files' },
  { name: 'starting', label: 'Starting server' },
  { name: 'cleanup', label: 'Cleanup complete' },
];

/** Between these the game stands still. */
const FROZEN = new Set(['stopping', 'compressing', 'transferring', 'extracting']);

type Staged = Pick<Transfer, 'mode' | 'state' | 'stage' | 'stages'>;
export type StageState = 'done' | 'now' | 'later' | 'stopped';

/** The stages that this transfer goes through, and how far each is. */
export function stagesOf(transfer: Staged): (Stage & { state: StageState; started: string | null; finished: string | null })[] {
  const entered = new Map(transfer.stages.map((stage) => [stage.name, stage]));
  const shown = ALL.filter(({ name }) => name !== 'copying_while_running' || transfer.mode === 'live' || entered.has(name));
  const current = shown.findIndex(({ name }) => name === transfer.stage);
  return shown.map((stage, index) => {
    const row = entered.get(stage.name);
    return { ...stage, state: stateOf(transfer.state, index, current, row !== undefined), started: row?.started_at ?? null, finished: row?.finished_at ?? null };
  });
}

function stateOf(state: string, index: number, current: number, entered: boolean): StageState {
  if (state === 'completed') return 'done';
  if (index === current && state !== 'queued') return state === 'rolled_back' || state === 'stuck' ? 'stopped' : 'now';
  return index < current && entered ? 'done' : 'later';
}

/** Whether the game stands still now because of the transfer. */
export function isFrozen(transfer: Staged): boolean {
  return (transfer.state === 'running' || transfer.state === 'cancelling') && wasUp(transfer) && FROZEN.has(transfer.stage);
}

// A server that was offline has nobody to keep waiting; a live transfer of it never copies "while running".
function wasUp(transfer: Staged): boolean {
  return transfer.stages.some(({ name }) => name === 'stopping');
}

/** When the stop of the game began. */
export function frozenSince(transfer: Staged): number | null {
  const stopping = transfer.stages.find(({ name }) => name === 'stopping');
  return stopping ? Date.parse(stopping.started_at) : null;
}

/** How far it is, between 0 and 1: the stages weigh about what they take. */
export function partOf(transfer: Staged & Pick<Transfer, 'progress'>): number {
  if (transfer.state === 'completed') return 1;
  const { bytes_total: total, bytes_written: written, round } = transfer.progress;
  const copied = total > 0 ? Math.min(1, written / total) : 0;
  switch (transfer.stage) {
    case 'preparing': return 0.03;
    case 'copying_while_running': return 0.05 + 0.75 * (round > 1 ? 1 : copied);
    case 'stopping': return 0.82;
    case 'compressing': return 0.84;
    case 'transferring': return transfer.mode === 'live' ? 0.87 : 0.1 + 0.75 * copied;
    case 'extracting': return 0.9;
    case 'starting': return 0.94;
    default: return 0.98;
  }
}

export interface Sample {
  /** Seconds since the first one. */
  at: number;
  sent: number;
  rate: number;
  /** Bytes per second that the game changed during the round before; null until there was one. */
  dirty: number | null;
}

interface Round {
  number: number;
  began: number;
  written: number;
}

/**
 * Makes the lines of the chart from progress as it comes. What a round writes is what the game changed while the round
 * before it ran: that over the time of that round is the dirty rate.
 */
export class Chart {
  readonly samples: Sample[] = [];
  private first: number | null = null;
  private round: Round | null = null;
  private before: { seconds: number } | null = null;

  add(at: number, progress: Pick<Transfer['progress'], 'rate_bytes_per_s' | 'bytes_sent' | 'bytes_written' | 'round'>): void {
    this.first ??= at;
    if (!this.round || progress.round > this.round.number) {
      // Round 0 is the look around before the first.
      if (this.round && this.round.number > 0) this.before = { seconds: Math.max(0.05, (at - this.round.began) / 1000) };
      this.round = { number: progress.round, began: at, written: progress.bytes_written };
    }
    const changed = progress.bytes_written - this.round.written;
    const dirty = this.before ? Math.max(0, changed) / this.before.seconds : null;
    const sample = { at: (at - this.first) / 1000, sent: progress.bytes_sent, rate: progress.rate_bytes_per_s, dirty };
    const last = this.samples.at(-1);
    // Twice a second is all that a chart can show.
    if (last && sample.at - last.at < 0.5) this.samples[this.samples.length - 1] = { ...sample, at: last.at };
    else this.samples.push(sample);
    if (this.samples.length > 600) this.samples.splice(0, this.samples.length - 600);
  }
}
