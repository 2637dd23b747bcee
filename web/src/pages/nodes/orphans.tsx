// What lies on a node that no server and no transfer owns, by its daemon's last look. What is provably the daemon's own it
// removes by itself; what is here might be somebody's.
import { Button, Text } from '@mantine/core';
import { IconRefresh, IconTrashOff } from '@tabler/icons-react';
import { useQuery, useQueryClient } from '@tanstack/react-query';
import { api, done, takePage, type Schemas } from '../../api/client';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Section } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { bytes, words } from '../../lib/format';

type Orphan = Schemas['OrphanView'];

export function Orphans({ node }: { node: string }) {
  const { permissions } = useMe();
  const queries = useQueryClient();
  const key = ['orphans', node];
  const params = { path: { id: node }, query: { per_page: 100 } };
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/admin/nodes/{id}/orphans', { params })), retry: false });
  const scan = useAct({ run: () => takePage(api.POST('/api/v1/admin/nodes/{id}/orphans/scan', { params, body: {} })), then: (found) => queries.setQueryData(key, found) });
  const remove = useAct({ run: (one: Orphan) => done(api.DELETE('/api/v1/admin/nodes/{id}/orphans/{orphan_id}', { params: { path: { id: node, orphan_id: one.id } } })), said: 'It is gone.', stale: [key] });
  const allowed = may(permissions, 'admin.nodes.update');
  const columns: Column<Orphan>[] = [
    { name: 'What', lead: true, cell: (row) => words(row.kind) },
    { name: 'Where', cell: (row) => <span className="bp-mono" style={{ overflowWrap: 'anywhere' }}>{row.path}</span> },
    { name: 'Why', cell: (row) => <Text size="sm">{row.why}</Text> },
    { name: 'Size', end: true, cell: (row) => (row.bytes == null ? '–' : bytes(row.bytes)) },
    { name: 'Since', end: true, cell: (row) => <Ago at={row.since} /> },
    { name: '', end: true, cell: (row) => (row.can_clean && allowed
      ? <Button size="xs" variant="default" aria-label={`Remove ${row.path}`} onClick={() => ask({ title: 'Remove it?', what: `${row.path} is removed from the node. This cannot be taken back.`, button: 'Remove it', then: () => remove.mutate(row) })}>Remove…</Button>
      : <Text size="xs" c="dimmed">by hand only</Text>) },
  ];
  return (
    <Section title="Without an owner" actions={allowed && <Button size="xs" variant="default" leftSection={<IconRefresh size={16} />} onClick={() => scan.mutate()} loading={scan.isPending}>Look now</Button>}>
      <DataTable label="Without an owner" query={query} columns={columns} id={(row) => row.id} empty={{ icon: <IconTrashOff size={40} stroke={1.3} />, title: 'Nothing', what: 'Everything on this node belongs to a server or a transfer.' }} />
    </Section>
  );
}
