// Admin > Transfers: what goes on now, and what has been.
import { Card, Group, Progress, SegmentedControl, Text } from '@mantine/core';
import { IconArrowsExchange } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, takePage } from '../../api/client';
import { isOver, usePlaceNames, type Transfer } from '../../api/queries';
import { Ago, PageHeader } from '../../components/bits';
import { TransferStatus } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { useAddressState, usePage } from '../../lib/address';
import { bytes, duration, rate } from '../../lib/format';
import { useServerNames } from './names';
import { partOf } from './stages';

const STATES = [['', 'All'], ['running', 'Running'], ['queued', 'Queued'], ['paused', 'Paused'], ['completed', 'Completed'], ['rolled_back', 'Rolled back'], ['stuck', 'Stuck']];

export default function Transfers() {
  const [page, setPage] = usePage();
  const [state, setState] = useAddressState('state');
  const nameOf = usePlaceNames();
  const query = useQuery({
    queryKey: ['transfers', page, state],
    queryFn: () => takePage(api.GET('/api/v1/admin/transfers', { params: { query: { page, sort: '-created_at', 'filter[state]': state || undefined } } })),
    placeholderData: keepPreviousData,
    refetchInterval: (found) => (found.state.data?.rows.some((row) => !isOver(row)) ? 1_500 : 5_000),
  });
  const serverName = useServerNames(query.data?.rows.map(({ server_id }) => server_id) ?? []);
  const columns: Column<Transfer>[] = [
    { name: 'Server', lead: true, cell: (row) => <Link className="bp-link" to={`/admin/transfers/${row.id}`}>{serverName(row.server_id)}</Link> },
    { name: 'State', cell: (row) => <TransferStatus value={row.state} /> },
    { name: 'From → to', cell: (row) => `${nameOf(row.source)} → ${nameOf(row.target)}` },
    { name: 'Progress', cell: (row) => <Bar transfer={row} /> },
    { name: 'Freeze', end: true, cell: (row) => <span className="bp-nowrap">{row.freeze_ms == null ? '–' : duration(row.freeze_ms)}</span> },
    { name: 'Content', end: true, cell: (row) => <span className="bp-nowrap">{row.progress.bytes_total > 0 ? bytes(row.progress.bytes_total) : '–'}</span> },
    { name: 'Started', end: true, cell: (row) => <Ago at={row.created_at} /> },
  ];
  return (
    <>
      <PageHeader title="Transfers" />
      <Card>
        <Group mb="md" style={{ overflowX: 'auto' }} wrap="nowrap">
          <SegmentedControl value={state} onChange={setState} data={STATES.map(([value = '', label = '']) => ({ value, label }))} aria-label="State" size="sm" />
        </Group>
        <DataTable label="Transfers" query={query} columns={columns} id={(row) => row.id} onPage={setPage}
          empty={state ? { title: 'None', what: 'No transfer is in this state.' } : { icon: <IconArrowsExchange size={40} stroke={1.3} />, title: 'Nothing was moved yet', what: 'Open a server and go to its Transfer tab to move it to another node or cluster.' }} />
      </Card>
    </>
  );
}

function Bar({ transfer }: { transfer: Transfer }) {
  if (isOver(transfer)) return <Text size="sm">{transfer.failure ? transfer.failure.code.replaceAll('_', ' ') : 'Done'}</Text>;
  return (
    <div style={{ minWidth: 140 }}>
      <Text size="xs">{transfer.stage_label}{transfer.progress.rate_bytes_per_s > 0 ? `, ${rate(transfer.progress.rate_bytes_per_s)}` : ''}</Text>
      <Progress value={partOf(transfer) * 100} size="sm" aria-label="Progress" />
    </div>
  );
}
