// Admin > Servers: all servers, found by name, state or place.
import { Button, Card, Group, Modal, Paper, Select, Text, TextInput } from '@mantine/core';
import { useDebouncedCallback, useDisclosure } from '@mantine/hooks';
import { IconArrowsExchange, IconPlus, IconSearch, IconServer2 } from '@tabler/icons-react';
import { useState } from 'react';
import { Link } from 'react-router';
import { useNodes, useClusters, usePlaceNames, useServers, type Server } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { useAddressState, usePage } from '../../lib/address';
import { address, count, mebibytes } from '../../lib/format';
import { Evacuate } from '../evacuations/dialog';
import { ServerStatus } from './status';

const STATUSES = ['running', 'offline', 'starting', 'stopping', 'installing', 'install_failed', 'crashed', 'suspended', 'restoring_backup'];

export default function Servers() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [name, setName] = useAddressState('name');
  const [status, setStatus] = useAddressState('status');
  const [place, setPlace] = useAddressState('on');
  const [typed, setTyped] = useState(name);
  const search = useDebouncedCallback(setName, 250);
  const [kind, placeId] = place.split(':');
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [moving, { open: move, close: stay }] = useDisclosure(false);
  const query = useServers(page, { name, status, node: kind === 'node' ? placeId : undefined, cluster: kind === 'cluster' ? placeId : undefined });
  const nodes = useNodes().data ?? [];
  const clusters = useClusters().data ?? [];
  const nameOf = usePlaceNames();
  const filtered = name !== '' || status !== '' || place !== '';
  const columns: Column<Server>[] = [
    { name: 'Name', lead: true, cell: (row) => <Link className="bp-link" to={`/admin/servers/${row.id}`}>{row.name}</Link> },
    { name: 'Status', cell: (row) => <ServerStatus server={row} /> },
    { name: 'On', cell: (row) => nameOf(row) },
    { name: 'Address', cell: (row) => <span className="bp-mono">{addressOf(row) ?? '–'}</span> },
    { name: 'Memory', end: true, cell: (row) => <span className="bp-nowrap">{row.memory_limit > 0 ? mebibytes(row.memory_limit) : 'no limit'}</span> },
    { name: 'Disk', end: true, cell: (row) => <span className="bp-nowrap">{row.disk_limit > 0 ? mebibytes(row.disk_limit) : 'no limit'}</span> },
  ];
  const create = may(permissions, 'admin.servers.create') && <Button component={Link} to="/admin/servers/new" leftSection={<IconPlus size={16} />}>New server</Button>;
  return (
    <>
      <PageHeader title="Servers" actions={create} />
      <Card>
        <Group mb="md" gap="sm" align="flex-end">
          <TextInput label="Name" placeholder="Part of a name" leftSection={<IconSearch size={16} />} value={typed} onChange={(event) => { setTyped(event.currentTarget.value); search(event.currentTarget.value); }} style={{ flex: '1 1 14rem' }} />
          <Select label="Status" clearable data={STATUSES.map((value) => ({ value, label: value.replaceAll('_', ' ') }))} value={status || null} onChange={(value) => setStatus(value ?? '')} placeholder="Any" style={{ flex: '1 1 9rem' }} />
          <Select label="On" clearable searchable placeholder="Anywhere" value={place || null} onChange={(value) => setPlace(value ?? '')} style={{ flex: '1 1 9rem' }}
            data={[...nodes.map(({ id, name: label }) => ({ value: `node:${id}`, label })), ...clusters.map(({ id, name: label }) => ({ value: `cluster:${id}`, label: `${label} (cluster)` }))]} />
        </Group>
        <DataTable label="Servers" query={query} columns={columns} id={(row) => row.id} onPage={setPage}
          selection={may(permissions, 'admin.servers.transfer') ? { chosen, change: setChosen, name: (id) => query.data?.rows.find((row) => row.id === id)?.name ?? id } : undefined}
          empty={filtered ? { title: 'No such server', what: 'No server fits what you are looking for.' } : { icon: <IconServer2 size={40} stroke={1.3} />, title: 'No servers yet', what: 'A server is a game that runs on a node or a cluster. Add a node and an egg first, then the server.', action: create }} />
      </Card>
      {chosen.size > 0 && (
        <Paper withBorder shadow="md" p="sm" mt="md" className="bp-bulk" role="region" aria-label="Selected servers">
          <Group justify="space-between">
            <Text size="sm" fw={600}>{count(chosen.size, 'server')} selected</Text>
            <Group gap="xs"><Button size="xs" variant="default" onClick={() => setChosen(new Set())}>Select none</Button><Button size="xs" leftSection={<IconArrowsExchange size={16} />} onClick={move}>Move them…</Button></Group>
          </Group>
        </Paper>
      )}
      <Modal opened={moving} onClose={stay} title={`Move ${count(chosen.size, 'server')}`} size="lg">{moving && <Evacuate leaving={{ server_ids: [...chosen] }} close={stay} />}</Modal>
    </>
  );
}

/** Where players reach it. */
export function addressOf(server: Server): string | null {
  const primary = server.k8s_allocations.find((port) => port.is_primary);
  return address(server.allocation) ?? (primary ? address({ ip_address: primary.node_ip, port: primary.node_port }) : null);
}
