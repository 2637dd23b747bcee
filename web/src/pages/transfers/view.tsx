// One transfer, while it goes on and afterwards: the same on the server's tab and on a page of its own.
import { Button, Grid, Group, Stack, Text } from '@mantine/core';
import { IconRefresh } from '@tabler/icons-react';
import { Link, useNavigate } from 'react-router';
import { api, done, pressKey, take } from '../../api/client';
import { isOver, type Transfer } from '../../api/queries';
import { ask, useAct } from '../../components/act';
import { Ago, Note, Section } from '../../components/bits';
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
      {transfer.pause_requested && !over && <Held transfer={transfer} />}
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
                <Counters progress={progress} rests={over || transfer.paused != null} />
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

function Held({ transfer }: { transfer: Transfer }) {
  return (
    <Note tone="warn" role="status">
      {transfer.paused
        ? <Text size="sm">Paused <Ago at={transfer.paused.since} />. The server runs on; what has arrived and its place on the target are kept until it is resumed or cancelled.</Text>
        : <Text size="sm">It is held as soon as the step that it is at is done.</Text>}
    </Note>
  );
}

function Failure({ transfer }: { transfer: Transfer }) {
  const navigate = useNavigate();
  const stale = [['transfer-of'], ['server'], ['transfer', transfer.id]];
  const path = { id: transfer.id };
  const retry = useAct({
    run: () => take(api.POST('/api/v1/admin/transfers/{id}/retry', { params: { path, header: { 'Idempotency-Key': pressKey() } }, body: {} })),
    said: 'It is tried again.', stale,
    then: (again) => again.id !== transfer.id && void navigate(`/admin/servers/${again.server_id}/transfer`),
  });
  const giveUp = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/cancel', { params: { path }, body: {} })), said: 'It is taken back.', stale });
  const settle = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/resolve', { params: { path }, body: {} })), said: 'It counts as settled, and goes on.', stale });
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
      <Group gap="xs" mt="xs">
        {transfer.retried_by
          ? <Text size="sm">It was tried again by <Link to={`/admin/transfers/${transfer.retried_by}`}>another migration</Link>.</Text>
          : <Button size="xs" variant="default" leftSection={<IconRefresh size={16} />} onClick={() => retry.mutate()} loading={retry.isPending}>Try again</Button>}
        {transfer.state === 'stuck' && (
          <>
            <Button size="xs" variant="default" loading={giveUp.isPending} onClick={() => ask({ title: 'Take it back?', what: 'The server stays on the source, and what the target holds is removed. It is refused once players can be on the target.', button: 'Take it back', then: () => giveUp.mutate() })}>Take it back…</Button>
            <Button size="xs" variant="default" loading={settle.isPending} onClick={() => ask({ title: 'Settle it by hand?', what: 'You have looked, and what it is stuck at is as you want it. It is refused where that could hurt the server.', button: 'Count it as settled', then: () => settle.mutate() })}>Settle by hand…</Button>
          </>
        )}
      </Group>
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
