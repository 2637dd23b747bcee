// Admin > Evacuations: several servers at once, now and before.
import { Card, Progress, Text } from '@mantine/core';
import { IconRoute } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, takePage, type Schemas } from '../../api/client';
import { usePlaceNames } from '../../api/queries';
import { Ago, PageHeader } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';

type Evacuation = Schemas['EvacuationView'];

export default function Evacuations() {
  const [page, setPage] = usePage();
  const nameOf = usePlaceNames();
  const query = useQuery({ queryKey: ['evacuations', page], queryFn: () => takePage(api.GET('/api/v1/admin/evacuations', { params: { query: { page } } })), placeholderData: keepPreviousData, refetchInterval: 3_000 });
  const columns: Column<Evacuation>[] = [
    { name: 'What', lead: true, cell: (row) => <Link className="bp-link" to={`/admin/evacuations/${row.id}`}>{titleOf(row, nameOf)}</Link> },
    { name: 'State', cell: (row) => <EvacuationStatus value={row.state} /> },
    { name: 'Progress', cell: (row) => <Counts counts={row.counts} /> },
    { name: 'Begun', end: true, cell: (row) => <Ago at={row.created_at} /> },
    { name: 'Finished', end: true, cell: (row) => <Ago at={row.finished_at} none="not yet" /> },
  ];
  return (
    <>
      <PageHeader title="Evacuations" />
      <Card><DataTable label="Evacuations" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconRoute size={40} stroke={1.3} />, title: 'Nothing was evacuated yet', what: 'Select several servers under Servers, or press Evacuate on a node or a cluster, to move them a few at a time.' }} /></Card>
    </>
  );
}

export function EvacuationStatus({ value }: { value: string }) {
  if (value === 'running') return <Status value={value} tone="busy" moving />;
  return <Status value={value} tone={value === 'completed_with_failures' ? 'warn' : undefined} />;
}

export function titleOf(of: Evacuation, nameOf: (end: Pick<Evacuation, 'node_id' | 'cluster_id'>) => string): string {
  return of.node_id ?? of.cluster_id ? `Everything on ${nameOf(of)}` : `${of.counts.total} picked servers`;
}

export function Counts({ counts }: { counts: Evacuation['counts'] }) {
  const part = (n: number) => (counts.total > 0 ? (n / counts.total) * 100 : 0);
  const over = counts.completed + counts.skipped;
  const text = [`${over} of ${counts.total}`, counts.failed > 0 ? `${counts.failed} failed` : null, counts.running > 0 ? `${counts.running} moving` : null].filter(Boolean).join(', ');
  return (
    <div style={{ minWidth: 150 }}>
      <Text size="xs">{text}</Text>
      <Progress.Root size="sm">
        <Progress.Section value={part(over)} color="moss" aria-label={`Done: ${over} of ${counts.total}`} />
        <Progress.Section value={part(counts.failed)} color="red" aria-label={`Failed: ${counts.failed} of ${counts.total}`} />
      </Progress.Root>
    </div>
  );
}
