// The freeze: predicted before, counted while the game stands still, measured afterwards.
import { Text } from '@mantine/core';
import type { Transfer } from '../../api/queries';
import { useNow } from '../../components/bits';
import { duration } from '../../lib/format';
import { frozenSince, isFrozen } from './stages';

export function Freeze({ transfer, predicted }: { transfer: Transfer; predicted: number | null }) {
  const frozen = isFrozen(transfer);
  const now = useNow(100, frozen);
  const since = frozenSince(transfer);
  if (frozen && since !== null) {
    return (
      <div className="bp-freeze" data-tone="frost" role="timer" aria-label="Freeze">
        <span>The game stands still</span>
        <strong>{(Math.max(0, now - since) / 1000).toFixed(1)} s</strong>
        <Text size="sm">{predicted === null ? ' ' : `predicted ${duration(predicted)}`}</Text>
      </div>
    );
  }
  if (transfer.freeze_ms != null) {
    return (
      <div className="bp-freeze" data-tone="good">
        <span>The game stood still for</span>
        <strong>{duration(transfer.freeze_ms)}</strong>
        <Text size="sm">measured from its end on the source to its start on the target</Text>
      </div>
    );
  }
  return (
    <div className="bp-freeze" data-tone="calm">
      <span>Predicted freeze</span>
      <strong>{predicted === null ? '–' : duration(predicted)}</strong>
      <Text size="sm">{predicted === null ? 'known after the first pass over the files' : `if the server were stopped now; at most ${duration(transfer.options.max_freeze_s * 1000)} are wanted`}</Text>
    </div>
  );
}
