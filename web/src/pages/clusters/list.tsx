// Admin > Clusters: Kubernetes clusters with an orchestrator, and a new one with the line that makes it join.
import { Button, Card, EmptyState, Group, Modal, NumberInput, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDisclosure } from '@mantine/hooks';
import { IconCloud, IconPlus } from '@tabler/icons-react';
import { useState } from 'react';
import { Link } from 'react-router';
import { api, take } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useCluster, useClusters, type Cluster } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { useAct } from '../../components/act';
import { Ago, Loaded, Note, PageHeader, Snippet } from '../../components/bits';
import { Status } from '../../components/status';
import { Usage } from './usage';

export default function Clusters() {
  const { permissions } = useMe();
  const query = useClusters();
  const [open, { open: show, close }] = useDisclosure(false);
  const add = may(permissions, 'admin.clusters.create') && <Button leftSection={<IconPlus size={16} />} onClick={show}>Add cluster</Button>;
  return (
    <>
      <PageHeader title="Clusters" actions={add} />
      <Loaded query={query}>
        {(clusters) => (clusters.length === 0
          ? <Card><EmptyState icon={<IconCloud size={40} stroke={1.3} />} title="No clusters yet" description="A cluster is a Kubernetes cluster with our orchestrator in it. Servers move between clusters and nodes in all directions." py="xl">{add && <EmptyState.Actions>{add}</EmptyState.Actions>}</EmptyState></Card>
          : <SimpleGrid cols={{ base: 1, sm: 2, xl: 3 }} component="ul" className="bp-cards">{clusters.map((cluster) => <ClusterCard key={cluster.id} cluster={cluster} />)}</SimpleGrid>)}
      </Loaded>
      <Modal opened={open} onClose={close} title="Add cluster" size="lg"><AddCluster close={close} /></Modal>
    </>
  );
}

function ClusterCard({ cluster }: { cluster: Cluster }) {
  return (
    <Card component="li">
      <Stack gap="sm">
        <Group justify="space-between" wrap="nowrap">
          <Link className="bp-link" to={`/admin/clusters/${cluster.id}`}>{cluster.name}</Link>
          <Status value={cluster.status} />
        </Group>
        <Text size="sm" c="dimmed">{cluster.facts ? `Kubernetes ${cluster.facts.kubernetes}, ${cluster.facts.nodes} nodes` : 'Its orchestrator has not joined yet'}</Text>
        <Usage cluster={cluster} />
      </Stack>
    </Card>
  );
}

function AddCluster({ close }: { close: () => void }) {
  const [made, setMade] = useState<Cluster | null>(null);
  const form = useForm({ initialValues: { name: '', address: '', memory: 0, disk: 0, cpu: 0 }, validate: { name: (text) => (text.trim() ? null : 'A cluster needs a name') } });
  const create = useAct({
    run: () => take(api.POST('/api/v1/admin/clusters', { body: { name: form.values.name.trim(), address: form.values.address.trim() || undefined, memory_mb: form.values.memory, disk_mb: form.values.disk, cpu_millicores: form.values.cpu } })),
    stale: [['clusters']], then: setMade, quiet: true,
  });
  if (made) return <Join cluster={made} close={close} />;
  const number = (name: 'memory' | 'disk' | 'cpu') => ({ ...form.getInputProps(name), min: 0, allowDecimal: false, thousandSeparator: ',' });
  return (
    <form onSubmit={form.onSubmit(() => create.mutate())} noValidate>
      <Stack gap="md">
        {create.error && <Note tone="bad" role="alert">{failureOf(create.error).full}</Note>}
        <TextInput label="Name" description="For people, for example eu" required data-autofocus {...form.getInputProps('name')} />
        <TextInput label="Address" description="Where players reach it; without it the address of its nodes" {...form.getInputProps('address')} />
        <SimpleGrid cols={{ base: 1, xs: 3 }}>
          <NumberInput label="Memory" suffix=" MiB" {...number('memory')} />
          <NumberInput label="Disk" suffix=" MiB" {...number('disk')} />
          <NumberInput label="CPU" suffix=" m" {...number('cpu')} />
        </SimpleGrid>
        <Text size="sm" c="dimmed">For servers, all together; 1000 m is one core, 0 is no limit beside the cluster's own.</Text>
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={create.isPending}>Add cluster</Button></Group>
      </Stack>
    </form>
  );
}

export function Join({ cluster, close }: { cluster: Cluster; close: () => void }) {
  const { data: now } = useCluster(cluster.id);
  return (
    <Stack gap="md">
      <Text size="sm">Run one of these with access to the cluster that is to be <strong>{cluster.name}</strong>. The token works once{cluster.enrolment && <>, and ends <Ago at={cluster.enrolment.expires_at} /></>}; it is not shown again.</Text>
      <Text fw={600} size="sm">kubectl</Text>
      <Snippet label="kubectl command" value={cluster.enrolment?.command ?? ''} />
      <Text fw={600} size="sm">Helm</Text>
      <Snippet label="Helm command" value={cluster.enrolment?.helm_command ?? ''} />
      <Note tone={now?.online ? 'good' : 'calm'} role="status">{now?.online ? `${cluster.name} has joined and is online.` : 'Waiting for its orchestrator to join…'}</Note>
      <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
    </Stack>
  );
}
