// The stages, each with how long it took.
import { Loader } from '@mantine/core';
import { IconCircle, IconCircleCheckFilled, IconCircleX, IconPlayerPauseFilled } from '@tabler/icons-react';
import type { Transfer } from '../../api/queries';
import { useNow } from '../../components/bits';
import { isOver } from '../../api/queries';
import { duration } from '../../lib/format';
import { isFrozen, stagesOf, type StageState } from './stages';

const SAID: Record<StageState, string> = { done: 'done', now: 'now', later: 'not yet', stopped: 'ended here' };

export function Stages({ transfer }: { transfer: Transfer }) {
  const now = useNow(500, !isOver(transfer));
  const frozen = isFrozen(transfer);
  return (
    <ol className="bp-stages" aria-label="Stages">
      {stagesOf(transfer).map(({ name, label, state, started, finished }) => (
        <li key={name} data-state={state} data-frozen={(frozen && state === 'now') || undefined} aria-current={state === 'now' ? 'step' : undefined}>
          <Mark state={state} held={transfer.state === 'paused'} />
          <span>{label}<span className="bp-hidden">, {SAID[state]}</span></span>
          <span className="bp-nowrap">{started && state !== 'later' ? duration(Math.max(0, (finished ? Date.parse(finished) : now) - Date.parse(started))) : ''}</span>
        </li>
      ))}
    </ol>
  );
}

function Mark({ state, held }: { state: StageState; held: boolean }) {
  if (state === 'done') return <IconCircleCheckFilled size={20} color="var(--bp-good)" aria-hidden />;
  if (state === 'stopped') return <IconCircleX size={20} color="var(--bp-bad)" aria-hidden />;
  if (state === 'now' && held) return <IconPlayerPauseFilled size={20} aria-hidden />;
  if (state === 'now') return <Loader size={18} color="currentColor" aria-hidden />;
  return <IconCircle size={20} stroke={1.4} aria-hidden />;
}
