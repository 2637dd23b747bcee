// A state as a word with a colour: the word says it, the colour only helps to find it.
import { words } from '../lib/format';

export type Tone = 'good' | 'busy' | 'warn' | 'bad' | 'calm' | 'frost';

const TONES: Record<string, Tone> = {
  online: 'good', running: 'good', completed: 'good', ready: 'good', enabled: 'good', delivered: 'good', succeeded: 'good', done: 'good',
  starting: 'busy', installing: 'busy', queued: 'busy', moving: 'busy', transferring: 'busy', restoring_backup: 'busy', creating: 'busy', uploading: 'busy', waiting: 'calm',
  stopping: 'warn', paused: 'warn', cancelling: 'warn', rolling_back: 'warn', maintenance: 'warn', suspended: 'warn', cordoned: 'warn', rolled_back: 'warn', warning: 'warn',
  offline: 'calm', pending: 'calm', disabled: 'calm', cancelled: 'calm', skipped: 'calm', info: 'busy',
  error: 'bad', crashed: 'bad', install_failed: 'bad', stuck: 'bad', failed: 'bad', critical: 'bad', danger: 'bad',
};
const MOVING = new Set(['starting', 'installing', 'stopping', 'cancelling', 'rolling_back', 'moving', 'transferring', 'restoring_backup', 'creating', 'uploading']);

export function Status({ value, moving, tone }: { value: string; moving?: boolean; tone?: Tone }) {
  return (
    <span className="bp-status" data-tone={tone ?? TONES[value] ?? 'calm'} data-moving={(moving ?? MOVING.has(value)) || undefined}>
      {words(value)}
    </span>
  );
}

/** A state of a transfer: `running` moves there, while a server that is running stands. */
export function TransferStatus({ value }: { value: string }) {
  return value === 'running' ? <Status value={value} tone="busy" moving /> : <Status value={value} />;
}
