// What a completed transfer can prove, and what is still to be decided: the retained copy.
import { Button, Grid, Group, Stack, Text } from '@mantine/core';
import { IconArrowBackUp, IconShieldCheck, IconTrash } from '@tabler/icons-react';
import { api, done, pressKey, take } from '../../api/client';
import { Link, useNavigate } from 'react-router';
import { usePlaceNames, type Transfer } from '../../api/queries';
import { ask, useAct } from '../../components/act';
import { Actor, Ago, Copy, Facts, Note, Section, useNow } from '../../components/bits';
import { address, bytes, duration, whole } from '../../lib/format';

export function Receipt({ transfer }: { transfer: Transfer }) {
  const { receipt } = transfer;
  const nameOf = usePlaceNames();
  return (
    <Section title="Receipt" id="receipt">
      <Grid gap="lg">
        <Grid.Col span={{ base: 12, sm: 4 }}>
          <Stack gap="sm">
            <div className="bp-freeze" data-tone="good">
              <span>{transfer.freeze_ms == null ? 'Nobody waited' : 'Freeze'}</span>
              <strong>{transfer.freeze_ms == null ? 'was offline' : duration(transfer.freeze_ms)}</strong>
              <Text size="sm">{transfer.boot_ms == null ? '' : `then ${duration(transfer.boot_ms)} until it was up`}</Text>
            </div>
            <Text size="sm">
              {nameOf(transfer.source)} <span className="bp-mono">{address(transfer.source.allocation) ?? '–'}</span><br />
              → {nameOf(transfer.target)} <strong className="bp-mono">{address(transfer.target.allocation) ?? '–'}</strong>
            </Text>
          </Stack>
        </Grid.Col>
        <Grid.Col span={{ base: 12, sm: 8 }}>
          <Stack gap="md">
            {receipt && <Verified source={receipt.root_source} target={receipt.root_target} />}
            <Facts rows={[
              ['Took', transfer.finished_at ? duration(Date.parse(transfer.finished_at) - Date.parse(transfer.created_at)) : null],
              ['Files', receipt ? whole(receipt.files) : null],
              ['Content', receipt ? bytes(receipt.bytes_total) : null],
              ['Copied while it ran', receipt ? bytes(receipt.bytes_live) : null],
              ['Copied in the freeze', receipt ? bytes(receipt.bytes_frozen) : null],
              ['On the wire', receipt ? bytes(receipt.bytes_wire) : null],
              ['Rounds', receipt ? `${receipt.rounds}, the last one in ${duration(receipt.final_round_ms)}` : null],
              ['Asked for by', <Actor key="by" of={transfer.requested_by} />],
              ['Finished', <Ago key="finished" at={transfer.finished_at} />],
            ]} />
            <Retained transfer={transfer} />
          </Stack>
        </Grid.Col>
      </Grid>
    </Section>
  );
}

function Verified({ source, target }: { source: string; target: string }) {
  const equal = source === target;
  return (
    <Note tone={equal ? 'good' : 'bad'}>
      <Text fw={600} size="sm" style={{ display: 'flex', gap: '0.4rem', alignItems: 'center' }}>
        <IconShieldCheck size={18} aria-hidden /> {equal ? 'Both sides computed the same tree root from their own disks' : 'The tree roots differ'}
      </Text>
      <Text size="xs" className="bp-mono">{source} <Copy value={source} label="Copy the tree root" /></Text>
    </Note>
  );
}

/** The source's copy, as long as it is kept. */
function Retained({ transfer }: { transfer: Transfer }) {
  const now = useNow(10_000);
  const free = useAct({
    run: () => done(api.DELETE('/api/v1/admin/transfers/{id}/retained', { params: { path: { id: transfer.id } } })),
    said: 'The retained copy is gone.',
    stale: [['transfer', transfer.id], ['transfer-of']],
  });
  const navigate = useNavigate();
  const undo = useAct({
    run: () => take(api.POST('/api/v1/admin/transfers/{id}/undo', { params: { path: { id: transfer.id }, header: { 'Idempotency-Key': pressKey() } }, body: {} })),
    said: 'It moves back.', stale: [['transfer-of'], ['server'], ['transfer', transfer.id]],
    then: (back) => void navigate(`/admin/servers/${back.server_id}/transfer`),
  });
  const reallyUndo = () => ask({
    title: 'Move it back?',
    what: 'The server moves back to where it was, with everything that has happened since. Only what changed is copied, because the source still has the rest.',
    button: 'Undo the migration', danger: false,
    then: () => undo.mutate(),
  });
  if (transfer.undone_by) return <Text size="sm" c="dimmed">It was moved back by <Link to={`/admin/transfers/${transfer.undone_by}`}>another migration</Link>.</Text>;
  if (!transfer.retained_until || Date.parse(transfer.retained_until) < now) return <Text size="sm" c="dimmed">The source keeps no copy any more.</Text>;
  const size = transfer.retained_bytes == null ? '' : ` of ${bytes(transfer.retained_bytes)}`;
  const really = () => ask({
    title: 'Free the retained copy?',
    what: `The copy${size} on the source is removed now. The server on the target is not touched, but this migration cannot be undone any more.`,
    button: 'Free it',
    then: () => free.mutate(),
  });
  return (
    <Stack gap="xs" align="flex-start">
      <Text size="sm">The source keeps its copy{size}, it goes <Ago at={transfer.retained_until} />.</Text>
      <Group gap="xs">
        <Button size="xs" variant="default" leftSection={<IconArrowBackUp size={16} />} onClick={reallyUndo} loading={undo.isPending}>Undo</Button>
        <Button size="xs" variant="default" leftSection={<IconTrash size={16} />} onClick={really} loading={free.isPending}>Free it now</Button>
      </Group>
    </Stack>
  );
}
