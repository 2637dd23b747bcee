// Admin > Nodes: what each has, what of it is given away, and a new one with the command that enrols it.
import { Button, Card, EmptyState, Group, Modal, NumberInput, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconBuildingWarehouse, IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { Link } from 'react-router';
import { api, take } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useNodes, type Node } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { useAct } from '../../components/act';
import { Ago, Loaded, Note, PageHeader } from '../../components/bits';
import { Status } from '../../components/status';
import { Enrol } from './enrol';
import { NodeCapacity } from './capacity';

export default function Nodes() {
  const { permissions } = useMe();
  const query = useNodes();
  const [open, { open: show, close }] = useDisclosure(false);
  const add = may(permissions, 'admin.nodes.create') && <Button leftSection={<IconPlus size={16} />} onClick={show}>Add node</Button>;
  return (
    <>
      <PageHeader title="Nodes" actions={add} />
      <Loaded query={query}>
        {(nodes) => (nodes.length === 0
          ? <Card><EmptyState icon={<IconBuildingWarehouse size={40} stroke={1.3} />} title="No nodes yet" description="A node is a machine with a daemon that runs servers. Add it here, then run the command that is shown on the machine." py="xl">{add && <EmptyState.Actions>{add}</EmptyState.Actions>}</EmptyState></Card>
          : <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }} component="ul" className="bp-cards">{nodes.map((node) => <NodeCard key={node.id} node={node} />)}</SimpleGrid>)}
      </Loaded>
      <Modal opened={open} onClose={close} title="Add node" size="lg"><AddNode close={close} /></Modal>
    </>
  );
}

function NodeCard({ node }: { node: Node }) {
  return (
    <Card component="li">
      <Stack gap="sm">
        <Group justify="space-between" wrap="nowrap">
          <Link className="bp-link" to={`/admin/nodes/${node.id}`}>{node.name}</Link>
          <Status value={node.status} />
        </Group>
        <Text size="sm" c="dimmed">
          {node.runtime ? `${node.runtime === 'docker' ? 'Docker' : 'Processes'} on ${node.host ?? 'an unknown host'}` : 'Its daemon has not joined yet'}
          {node.last_seen_at && node.status === 'offline' && <>, last seen <Ago at={node.last_seen_at} /></>}
        </Text>
        <NodeCapacity id={node.id} />
      </Stack>
    </Card>
  );
}

function AddNode({ close }: { close: () => void }) {
  const [made, setMade] = useState<Node | null>(null);
  const form = useForm({ initialValues: { name: '', memory: 8192, disk: 102_400, cpu: 400 }, validate: { name: (text) => (text.trim() ? null : 'A node needs a name') } });
  const create = useAct({
    run: () => take(api.POST('/api/v1/admin/nodes', { body: { name: form.values.name.trim(), memory_mb: form.values.memory, disk_mb: form.values.disk, cpu_percent: form.values.cpu } })),
    stale: [['nodes']], then: setMade, quiet: true,
  });
  if (made) return <Enrol node={made} close={close} />;
  const number = (name: 'memory' | 'disk' | 'cpu') => ({ ...form.getInputProps(name), min: 0, allowDecimal: false, thousandSeparator: ',' });
  return (
    <form onSubmit={form.onSubmit(() => create.mutate())} noValidate>
      <Stack gap="md">
        {create.error && <Note tone="bad" role="alert">{failureOf(create.error).full}</Note>}
        <TextInput label="Name" description="For people, for example fra-1" required data-autofocus {...form.getInputProps('name')} />
        <SimpleGrid cols={{ base: 1, xs: 3 }}>
          <NumberInput label="Memory" suffix=" MiB" {...number('memory')} />
          <NumberInput label="Disk" suffix=" MiB" {...number('disk')} />
          <NumberInput label="CPU" suffix=" %" {...number('cpu')} />
        </SimpleGrid>
        <Text size="sm" c="dimmed">For servers, all together; 100 % is one core, 0 is no limit.</Text>
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={create.isPending}>Add node</Button></Group>
      </Stack>
    </form>
  );
}
