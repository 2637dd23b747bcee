// One node: its capacity, its servers, its addresses, and its end.
import { Button, Grid, Group, Modal, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconArrowsExchange, IconKey, IconPlus, IconServer2 } from '@tabler/icons-react';
import { useState } from 'react';
import { useNavigate, useParams } from 'react-router';
import { api, done, take, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useAllocations, useNode, type Node } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Facts, Loaded, Note, PageHeader, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { address, count } from '../../lib/format';
import { Evacuate } from '../evacuations/dialog';
import { useServerNames } from '../transfers/names';
import { NodeCapacity } from './capacity';
import { Enrol } from './enrol';
import { Orphans } from './orphans';
import { ServersOn } from './servers-on';

export default function NodePage() {
  const { id = '' } = useParams();
  return <Loaded query={useNode(id)}>{(node) => <Opened node={node} />}</Loaded>;
}

function Opened({ node }: { node: Node }) {
  const { permissions } = useMe();
  return (
    <>
      <PageHeader title={node.name} badge={<Status value={node.status} />} crumb={{ label: 'Nodes', to: '/admin/nodes' }} actions={<Actions node={node} />} />
      <Grid gap="md">
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Section title="Capacity"><NodeCapacity id={node.id} /></Section>
        </Grid.Col>
        <Grid.Col span={{ base: 12, md: 6 }}>
          <Section title="Daemon">
            <Facts rows={[
              ['Runtime', node.runtime ?? 'its daemon has not joined yet'],
              ['Host', node.host],
              ['Data address', node.data_address && <span className="bp-mono">{node.data_address}</span>],
              ['Software', node.software],
              ['Last seen', <Ago key="seen" at={node.last_seen_at} />],
              ['Added', <Ago key="added" at={node.created_at} />],
              ['Id', <span key="id" className="bp-mono">{node.id}</span>],
            ]} />
          </Section>
        </Grid.Col>
        <Grid.Col span={12}><Section title="Servers"><ServersOn node={node.id} /></Section></Grid.Col>
        {may(permissions, 'admin.allocations.list') && <Grid.Col span={12}><Addresses node={node} /></Grid.Col>}
        {node.status === 'online' && <Grid.Col span={12}><Orphans node={node.id} /></Grid.Col>}
      </Grid>
    </>
  );
}

function Actions({ node }: { node: Node }) {
  const { permissions } = useMe();
  const navigate = useNavigate();
  const [made, setMade] = useState<Node | null>(null);
  const path = { params: { path: { id: node.id } } };
  const [leaving, { open: leave, close: stay }] = useDisclosure(false);
  const cordon = useAct({
    run: () => (node.cordoned ? done(api.POST('/api/v1/admin/nodes/{id}/uncordon', { ...path, body: {} })) : done(api.POST('/api/v1/admin/nodes/{id}/cordon', { ...path, body: {} }))),
    said: node.cordoned ? 'It takes servers again.' : 'It takes no new servers.', stale: [['nodes']],
  });
  const token = useAct({ run: () => take(api.POST('/api/v1/admin/nodes/{id}/enrolment-token', path)), then: setMade });
  const remove = useAct({ run: () => done(api.DELETE('/api/v1/admin/nodes/{id}', path)), said: `${node.name} is deleted.`, stale: [['nodes']], then: () => void navigate('/admin/nodes') });
  const really = () => ask({ title: `Delete ${node.name}?`, what: 'The panel forgets the node and its addresses; its daemon cannot come back with what it has. It must have no servers.', button: 'Delete the node', then: () => remove.mutate() });
  return (
    <>
      {may(permissions, 'admin.nodes.evacuate') && <Button leftSection={<IconArrowsExchange size={16} />} onClick={leave}>Evacuate…</Button>}
      {may(permissions, 'admin.nodes.update') && <Button variant="default" onClick={() => cordon.mutate()} loading={cordon.isPending}>{node.cordoned ? 'Uncordon' : 'Cordon'}</Button>}
      {may(permissions, 'admin.nodes.update') && <Button variant="default" leftSection={<IconKey size={16} />} onClick={() => token.mutate()} loading={token.isPending}>New command</Button>}
      {may(permissions, 'admin.nodes.delete') && <Button variant="default" onClick={really} loading={remove.isPending}>Delete…</Button>}
      <Modal opened={leaving} onClose={stay} title={`Evacuate ${node.name}`} size="lg">{leaving && <Evacuate leaving={{ node_id: node.id }} close={stay} />}</Modal>
      <Modal opened={made !== null} onClose={() => setMade(null)} title={`Enrol ${node.name}`} size="lg">{made && <Enrol node={made} close={() => setMade(null)} />}</Modal>
    </>
  );
}

type Allocation = Schemas['AllocationView'];

function Addresses({ node }: { node: Node }) {
  const { permissions } = useMe();
  const query = useAllocations({ node: node.id });
  const [open, { open: show, close }] = useDisclosure(false);
  const nameOf = useServerNames((query.data ?? []).flatMap(({ server_id }) => server_id ?? []));
  const remove = useAct({ run: (id: string) => done(api.DELETE('/api/v1/admin/allocations/{id}', { params: { path: { id } } })), said: 'The address is gone.', stale: [['allocations'], ['nodes']] });
  const rows = query.data ?? [];
  const page = { ...query, data: query.data && { rows, meta: { current_page: 1, per_page: rows.length, total: rows.length, total_pages: 1 } } } as Parameters<typeof DataTable<Allocation>>[0]['query'];
  const columns: Column<Allocation>[] = [
    { name: 'Address', lead: true, cell: (row) => <span className="bp-mono">{address(row)}</span> },
    { name: 'Alias', cell: (row) => row.ip_alias ?? '–' },
    { name: 'Used by', cell: (row) => (row.server_id ? nameOf(row.server_id) : row.reserved_by ? 'a transfer on its way' : <Text span c="dimmed" inherit>free</Text>) },
    { name: '', end: true, cell: (row) => (row.server_id || row.reserved_by || !may(permissions, 'admin.allocations.delete') ? null : <Button size="xs" variant="default" onClick={() => remove.mutate(row.id)} aria-label={`Remove ${address(row) ?? ''}`}>Remove</Button>) },
  ];
  const add = may(permissions, 'admin.allocations.create') && <Button size="xs" leftSection={<IconPlus size={16} />} onClick={show}>Add addresses</Button>;
  return (
    <Section title="Addresses" actions={add}>
      <DataTable label="Addresses" query={page} columns={columns} id={(row) => row.id} empty={{ icon: <IconServer2 size={40} stroke={1.3} />, title: 'No addresses', what: 'A server needs an address on its node. Add the IP address of the machine with some ports.' }} />
      <Modal opened={open} onClose={close} title="Add addresses"><AddAddresses node={node} close={close} /></Modal>
    </Section>
  );
}

function AddAddresses({ node, close }: { node: Node; close: () => void }) {
  const [ip, setIp] = useState('');
  const [alias, setAlias] = useState('');
  const [ports, setPorts] = useState<string[]>([]);
  const create = useAct({
    run: () => take(api.POST('/api/v1/admin/allocations', { params: { header: {} }, body: { node_id: node.id, ip_address: ip.trim(), ip_alias: alias.trim() || undefined, ports } })),
    said: (made) => `${count(made.length, 'address', 'addresses')} added.`, stale: [['allocations'], ['nodes']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); create.mutate(); }}>
      <Stack gap="md">
        {create.error && <Note tone="bad" role="alert">{failureOf(create.error).full}</Note>}
        <TextInput label="IP address" required data-autofocus placeholder="203.0.113.5" value={ip} onChange={(event) => setIp(event.currentTarget.value)} />
        <TextInput label="Alias" description="Shown to players instead of the address" value={alias} onChange={(event) => setAlias(event.currentTarget.value)} />
        <TagsInput label="Ports" description="Single ports or ranges like 25565-25575, each followed by Enter" value={ports} onChange={setPorts} splitChars={[',', ' ']} acceptValueOnBlur />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={create.isPending} disabled={ports.length === 0}>Add</Button></Group>
      </Stack>
    </form>
  );
}
