// One transfer, while it goes on and afterwards: the same on the server's tab and on a page of its own.
import { Button, Grid, Stack, Text } from '@mantine/core';
import { IconRefresh } from '@tabler/icons-react';
import { api, pressKey, take } from '../../api/client';
import { isOver, type Transfer } from '../../api/queries';
import { useAct } from '../../components/act';
import { Note, Section } from '../../components/bits';
import { clock, words } from '../../lib/format';
import { Controls } from './controls';
import { Counters } from './counters';
import { useTransferEvents, type LogLine } from './events';
import { Freeze } from './freeze';
import { Receipt } from './receipt';
import { Route } from './route';
import { Stages } from './stage-list';
import { TransferChart } from './chart';

export function TransferView({ transfer }: { transfer: Transfer }) {
  const live = useTransferEvents(transfer.id);
  const over = isOver(transfer);
  const progress = (over ? null : live.progress) ?? transfer.progress;
  return (
    <Stack gap="md">
      {transfer.failure && <Failure transfer={transfer} />}
      {over && transfer.state === 'completed' && <Receipt transfer={transfer} />}
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 5 }}>
          <Section title={over ? 'Stages' : 'Migration'} actions={!over && <Controls transfer={transfer} />}>
            <Stack gap="md">
              <Route transfer={transfer} />
              <Stages transfer={transfer} />
            </Stack>
          </Section>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 7 }}>
          <Stack gap="md">
            {!over && <Freeze transfer={transfer} predicted={progress.predicted_freeze_ms ?? null} />}
            <Section title="Data">
              <Stack gap="md">
                <Counters progress={progress} over={over} />
                {live.samples.length > 1 && <TransferChart samples={live.samples} />}
                {!over && !live.connected && <Text size="xs" c="dimmed" role="status">Connecting to the live events…</Text>}
              </Stack>
            </Section>
            <Section title="Event log"><Log lines={live.log} /></Section>
          </Stack>
        </Grid.Col>
      </Grid>
    </Stack>
  );
}

function Failure({ transfer }: { transfer: Transfer }) {
  const retry = useAct({ run: () => take(api.POST('/api/v1/admin/transfers/{id}/retry', { params: { path: { id: transfer.id }, header: { 'Idempotency-Key': pressKey() } }, body: {} })), said: 'It is tried again.', stale: [['transfer-of'], ['server'], ['transfer', transfer.id]] });
  const { failure } = transfer;
  if (!failure) return null;
  const cancelled = failure.code === 'cancelled';
  return (
    <Note tone={transfer.state === 'stuck' ? 'bad' : cancelled ? 'calm' : 'warn'} role="status">
      <Text fw={650}>{transfer.state === 'stuck' ? 'A person must look at this' : cancelled ? 'Cancelled' : 'The migration did not complete'}</Text>
      <Text size="sm">{failure.message}</Text>
      <Text size="sm">
        {transfer.state === 'rolled_back' ? 'The server is on the source as it was before; nothing is left on the target. ' : ''}
        {cancelled ? '' : `Step: ${words(failure.step)}, code: ${failure.code}.`}
      </Text>
      {transfer.state === 'rolled_back' && !transfer.retried_by && <Button mt="xs" size="xs" variant="default" leftSection={<IconRefresh size={16} />} onClick={() => retry.mutate()} loading={retry.isPending}>Try again</Button>}
    </Note>
  );
}

function Log({ lines }: { lines: LogLine[] }) {
  if (lines.length === 0) return <Text size="sm" c="dimmed">Nothing has happened yet.</Text>;
  return (
    <ol className="bp-log" tabIndex={0} aria-label="Events, the latest first">
      {[...lines].reverse().map(({ id, at, level, message }) => (
        <li key={id} data-level={level}><time dateTime={at}>{clock(at)}</time><span>{message.replaceAll('_', ' ')}</span></li>
      ))}
    </ol>
  );
}
