// The servers of a node or a cluster, and what they need.
import { IconServer2 } from '@tabler/icons-react';
import { useState } from 'react';
import { Link } from 'react-router';
import { useServers, type Server } from '../../api/queries';
import { DataTable, type Column } from '../../components/table';
import { mebibytes } from '../../lib/format';
import { addressOf } from '../servers/list';
import { ServerStatus } from '../servers/status';

const COLUMNS: Column<Server>[] = [
  { name: 'Name', lead: true, cell: (row) => <Link className="bp-link" to={`/admin/servers/${row.id}`}>{row.name}</Link> },
  { name: 'Status', cell: (row) => <ServerStatus server={row} /> },
  { name: 'Address', cell: (row) => <span className="bp-mono">{addressOf(row) ?? '–'}</span> },
  { name: 'Memory', end: true, cell: (row) => <span className="bp-nowrap">{mebibytes(row.memory_limit)}</span> },
  { name: 'Disk', end: true, cell: (row) => <span className="bp-nowrap">{mebibytes(row.disk_limit)}</span> },
];

export function ServersOn({ node, cluster }: { node?: string; cluster?: string }) {
  const [page, setPage] = useState(1);
  const query = useServers(page, { node, cluster });
  return <DataTable label="Servers" query={query} columns={COLUMNS} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconServer2 size={40} stroke={1.3} />, title: 'No servers', what: 'Nothing runs here.' }} />;
}
