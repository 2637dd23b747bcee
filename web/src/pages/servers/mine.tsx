// My servers: what one owns, or is let into.
import { Card } from '@mantine/core';
import { IconServer } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, takePage } from '../../api/client';
import type { Server } from '../../api/queries';
import { PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { addressOf } from './list';
import { ServerStatus } from './status';

const COLUMNS: Column<Server>[] = [
  { name: 'Name', lead: true, cell: (row) => <Link className="bp-link" to={`/servers/${row.id}`}>{row.name}</Link> },
  { name: 'Status', cell: (row) => <ServerStatus server={row} /> },
  { name: 'Address', cell: (row) => <span className="bp-mono">{addressOf(row) ?? '–'}</span> },
];

export default function MyServers() {
  const [page, setPage] = usePage();
  const query = useQuery({
    queryKey: ['servers', 'own', page],
    queryFn: () => takePage(api.GET('/api/v1/servers', { params: { query: { page, sort: 'name' } } })),
    placeholderData: keepPreviousData,
    refetchInterval: 5_000,
  });
  return (
    <>
      <PageHeader title="My servers" />
      <Card>
        <DataTable label="My servers" query={query} columns={COLUMNS} id={(row) => row.id} onPage={setPage}
          empty={{ icon: <IconServer size={40} stroke={1.3} />, title: 'No servers', what: 'You own no server, and nobody has let you into theirs.' }} />
      </Card>
    </>
  );
}
