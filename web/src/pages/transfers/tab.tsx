// Admin > Servers > (server) > Transfer: plan a migration, watch it, read its receipt. Which of these is decided by what
// the panel says, so that a reload comes back to the same.
import { Stack } from '@mantine/core';
import { isOver, useTransferOf } from '../../api/queries';
import { Loaded } from '../../components/bits';
import type { TabProps } from '../servers/server';
import { Planner } from './planner';
import { TransferView } from './view';

export default function TransferTab({ server }: TabProps) {
  const query = useTransferOf(server.id, 'admin');
  return (
    <Loaded query={query}>
      {(transfer) => (
        <Stack gap="md">
          {transfer && (!isOver(transfer) || isRecent(transfer.finished_at)) && <TransferView key={transfer.id} transfer={transfer} />}
          {(!transfer || isOver(transfer)) && <Planner server={server} again={transfer !== null} />}
          {transfer && isOver(transfer) && !isRecent(transfer.finished_at) && <TransferView key={transfer.id} transfer={transfer} />}
        </Stack>
      )}
    </Loaded>
  );
}

/** What has just ended stands first; what ended long ago is history below the plan of the next one. */
function isRecent(finished: string | null | undefined): boolean {
  return finished != null && Date.now() - Date.parse(finished) < 3_600_000;
}
