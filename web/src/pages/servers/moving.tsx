// That a server is being moved, as its players' friend reads it: one sentence and how far it is.
import { Group, Progress, Stack, Text } from '@mantine/core';
import { Link } from 'react-router';
import { useTransferOf, type Scope, type Server, type Transfer } from '../../api/queries';
import { Note } from '../../components/bits';
import { seconds } from '../../lib/format';
import { isFrozen, partOf } from '../transfers/stages';

export function MovingBanner({ server, scope }: { server: Server; scope: Scope }) {
  const { data: transfer } = useTransferOf(server.id, scope);
  if (!transfer) return null;
  const part = partOf(transfer);
  return (
    <Note tone={isFrozen(transfer) ? 'frost' : 'busy'} role="status">
      <Stack gap={6}>
        <Group justify="space-between" gap="xs">
          <Text size="sm" fw={600}>{sentence(transfer)}</Text>
          {scope === 'admin' && <Link to={`/admin/servers/${server.id}/transfer`}>Watch it</Link>}
        </Group>
        <Progress value={part * 100} size="sm" aria-label="Progress of the move" color="moss" />
      </Stack>
    </Note>
  );
}

export function sentence(transfer: Transfer): string {
  if (transfer.state === 'queued') return 'This server will be moved to another machine. It runs on meanwhile.';
  if (transfer.state === 'paused') return 'The move of this server to another machine is paused. It runs on meanwhile.';
  if (transfer.state === 'cancelling' || transfer.state === 'rolling_back') return 'The move is called off. The server stays where it was.';
  switch (transfer.stage) {
    case 'preparing':
    case 'copying_while_running': {
      const eta = transfer.progress.eta_s > 0 ? ` About ${seconds(transfer.progress.eta_s)} to go before the short break.` : '';
      return `This server is being moved to another machine. You can go on playing.${eta}`;
    }
    case 'stopping':
    case 'compressing':
    case 'transferring':
    case 'extracting':
      return 'This server is stopped for a moment while the last changes are carried over.';
    case 'starting':
      return 'This server starts on its new machine.';
    default:
      return 'This server has been moved and runs on its new machine. The last of the tidying up is done now.';
  }
}
