// One evacuation: its servers in the order of their turns, and what can be done about it.
import { Button, Stack, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { Link, useParams } from 'react-router';
import { api, done, take, type Schemas } from '../../api/client';
import { usePlaceNames } from '../../api/queries';
import { ask, useAct } from '../../components/act';
import { Actor, Loaded, PageHeader, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { bytes, duration, moment } from '../../lib/format';
import { Counts, EvacuationStatus, titleOf } from './list';

type Evacuation = Schemas['EvacuationView'];
type Item = NonNullable<Evacuation['items']>[number];

export default function EvacuationPage() {
  const { id = '' } = useParams();
  const query = useQuery({ queryKey: ['evacuations', 'one', id], queryFn: () => take(api.GET('/api/v1/admin/evacuations/{id}', { params: { path: { id } } })), refetchInterval: (found) => (found.state.data?.finished_at ? false : 2_000) });
  return <Loaded query={query}>{(evacuation) => <Opened evacuation={evacuation} />}</Loaded>;
}

function Opened({ evacuation }: { evacuation: Evacuation }) {
  const nameOf = usePlaceNames();
  const items = evacuation.items ?? [];
  const columns: Column<Item>[] = [
    { name: 'Server', lead: true, cell: (row) => <Link className="bp-link" to={row.transfer_id ? `/admin/transfers/${row.transfer_id}` : `/admin/servers/${row.server_id}`}>{row.name}</Link> },
    { name: 'State', cell: (row) => <Status value={row.state} tone={row.state === 'running' ? 'busy' : undefined} moving={row.state === 'running' || row.state === 'starting'} /> },
    { name: 'To', cell: (row) => nameOf({ node_id: row.target_node_id, cluster_id: row.target_cluster_id }) },
    { name: 'Content', end: true, cell: (row) => (row.bytes == null ? '–' : bytes(row.bytes)) },
    { name: 'Freeze', end: true, cell: (row) => (row.freeze_ms == null ? '–' : duration(row.freeze_ms)) },
    { name: 'What happened', cell: (row) => row.failure?.message ?? '–' },
  ];
  const page = { data: { rows: items, meta: { current_page: 1, per_page: items.length, total: items.length, total_pages: 1 } }, error: null } as unknown as Parameters<typeof DataTable<Item>>[0]['query'];
  return (
    <>
      <PageHeader title={titleOf(evacuation, nameOf)} badge={<EvacuationStatus value={evacuation.state} />} crumb={{ label: 'Evacuations', to: '/admin/evacuations' }} actions={<Actions evacuation={evacuation} />}>
        Asked for by <Actor of={evacuation.requested_by} /> on {moment(evacuation.created_at)}, {evacuation.concurrency} at a time
      </PageHeader>
      <Stack gap="md">
        <Section title="Progress"><Counts counts={evacuation.counts} />{evacuation.finished_at && <Text size="sm" mt="xs">Took {duration(Date.parse(evacuation.finished_at) - Date.parse(evacuation.created_at))}.</Text>}</Section>
        <Section title="Servers"><DataTable label="Servers" query={page} columns={columns} id={(row) => row.id} empty={{ title: 'No servers', what: 'There was nothing to move.' }} /></Section>
      </Stack>
    </>
  );
}

function Actions({ evacuation }: { evacuation: Evacuation }) {
  const path = { params: { path: { id: evacuation.id } } };
  const stale = [['evacuations']];
  const pause = useAct({ run: () => done(api.POST('/api/v1/admin/evacuations/{id}/pause', { ...path, body: {} })), said: 'No further server starts to move.', stale });
  const resume = useAct({ run: () => done(api.POST('/api/v1/admin/evacuations/{id}/resume', { ...path, body: {} })), said: 'It goes on.', stale });
  const retry = useAct({ run: () => done(api.POST('/api/v1/admin/evacuations/{id}/retry', { ...path, body: {} })), said: 'What failed is tried again.', stale });
  const cancel = useAct({ run: () => done(api.POST('/api/v1/admin/evacuations/{id}/cancel', { ...path, body: { running: 'finish' } })), said: 'It is called off; what is on its way comes to its end.', stale });
  const { state, counts } = evacuation;
  return (
    <>
      {state === 'running' && <Button variant="default" onClick={() => pause.mutate()} loading={pause.isPending}>Pause</Button>}
      {state === 'paused' && <Button onClick={() => resume.mutate()} loading={resume.isPending}>Resume</Button>}
      {counts.failed > 0 && state !== 'cancelling' && <Button variant="default" onClick={() => retry.mutate()} loading={retry.isPending}>Retry what failed</Button>}
      {(state === 'running' || state === 'paused') && <Button variant="default" loading={cancel.isPending} onClick={() => ask({ title: 'Call this off?', what: 'Servers that are on their way come to their end; those whose turn has not come stay where they are.', button: 'Call it off', then: () => cancel.mutate() })}>Cancel</Button>}
    </>
  );
}
