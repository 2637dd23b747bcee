// A new server: an egg, a place, an address, limits, the egg's variables.
import { Button, Checkbox, Group, NumberInput, Select, SimpleGrid, Stack, Text, TextInput } from '@mantine/core';
import { useForm } from '@mantine/form';
import type { ReactNode } from 'react';
import { useNavigate } from 'react-router';
import { api, pressKey, take } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useAllocations, useCapacity, useClusters, useEggs, useNodes, useUsers, type Egg } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { useAct } from '../../components/act';
import { Capacity, cores, Note, PageHeader, Section } from '../../components/bits';
import { address, mebibytes, whole } from '../../lib/format';

interface Values {
  name: string;
  egg: string | null;
  place: string | null;
  allocation: string | null;
  owner: string | null;
  memory: number;
  disk: number;
  cpu: number;
  start: boolean;
  environment: Record<string, string>;
}

export default function NewServer() {
  const navigate = useNavigate();
  const { permissions } = useMe();
  const eggs = useEggs().data ?? [];
  const nodes = useNodes().data ?? [];
  const clusters = useClusters().data ?? [];
  const form = useForm<Values>({
    initialValues: { name: '', egg: null, place: null, allocation: null, owner: null, memory: 1024, disk: 5120, cpu: 100, start: false, environment: {} },
    validate: {
      name: (text) => (text.trim() ? null : 'A server needs a name'),
      egg: (value) => (value ? null : 'Choose what it is'),
      place: (value) => (value ? null : 'Choose where it runs'),
      allocation: (value, { place }) => (value || !place?.startsWith('node:') ? null : 'Choose an address'),
    },
  });
  const { values } = form;
  const [kind, placeId] = values.place?.split(':') ?? [];
  const egg = eggs.find(({ id }) => id === values.egg);
  const create = useAct({
    run: () => take(api.POST('/api/v1/admin/servers', { params: { header: { 'Idempotency-Key': pressKey() } }, body: {
      name: values.name.trim(), egg_id: values.egg ?? '', node_id: kind === 'node' ? placeId : undefined, cluster_id: kind === 'cluster' ? placeId : undefined,
      allocation_id: kind === 'node' ? values.allocation : undefined, memory_limit: values.memory, disk_limit: values.disk, cpu_limit: values.cpu,
      environment: values.environment, owner_id: values.owner ?? undefined, start_on_completion: values.start,
    } })),
    said: (server) => `${server.name} is being installed.`,
    stale: [['servers'], ['nodes'], ['allocations']],
    then: (server) => void navigate(`/admin/servers/${server.id}`),
    quiet: true,
  });
  const number = (name: 'memory' | 'disk' | 'cpu') => ({ ...form.getInputProps(name), min: 0, allowDecimal: false, thousandSeparator: ',' });
  return (
    <>
      <PageHeader title="New server" crumb={{ label: 'Servers', to: '/admin/servers' }} />
      <form onSubmit={form.onSubmit(() => create.mutate())} noValidate>
        <Stack gap="md" maw={860}>
          {create.error && <Note tone="bad" role="alert">{failureOf(create.error).full}</Note>}
          <Section title="What">
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <TextInput label="Name" required {...form.getInputProps('name')} />
              <Select label="Egg" required searchable placeholder="Choose" data={eggs.map(({ id, name }) => ({ value: id, label: name }))} {...form.getInputProps('egg')} nothingFoundMessage="No such egg" error={form.errors['egg'] ?? (eggs.length === 0 ? 'There is no egg yet: import one under Eggs' : null)} />
              {may(permissions, 'admin.users.list') && <Owner {...form.getInputProps('owner')} />}
            </SimpleGrid>
          </Section>
          <Section title="Where">
            <SimpleGrid cols={{ base: 1, sm: 2 }}>
              <Select label="Node or cluster" required searchable placeholder="Choose" {...form.getInputProps('place')}
                data={[...nodes.map((node) => ({ value: `node:${node.id}`, label: `${node.name}${node.status === 'online' ? '' : ` (${node.status})`}`, disabled: node.status !== 'online' })), ...clusters.map((cluster) => ({ value: `cluster:${cluster.id}`, label: `${cluster.name} (cluster)`, disabled: !cluster.online || cluster.cordoned }))]} />
              {kind === 'node' && placeId && <Address node={placeId} {...form.getInputProps('allocation')} />}
            </SimpleGrid>
            {kind === 'node' && placeId && <Left id={placeId} values={values} />}
          </Section>
          <Section title="How much">
            <SimpleGrid cols={{ base: 1, sm: 3 }}>
              <NumberInput label="Memory" suffix=" MiB" {...number('memory')} />
              <NumberInput label="Disk" suffix=" MiB" {...number('disk')} />
              <NumberInput label="CPU" description={kind === 'cluster' ? 'Thousandths of a core' : '100 is one core'} suffix={kind === 'cluster' ? ' m' : ' %'} {...number('cpu')} inputWrapperOrder={['label', 'input', 'description', 'error']} />
            </SimpleGrid>
            <Text size="sm" c="dimmed" mt="xs">0 is no limit.</Text>
          </Section>
          {egg && egg.variables.length > 0 && <Variables egg={egg} values={values.environment} change={(environment) => form.setFieldValue('environment', environment)} />}
          <Checkbox label="Start it when it is installed" {...form.getInputProps('start', { type: 'checkbox' })} />
          <Group><Button type="submit" size="md" loading={create.isPending}>Create the server</Button></Group>
        </Stack>
      </form>
    </>
  );
}

interface Input {
  value?: string | null;
  onChange?: (value: string | null) => void;
  error?: ReactNode;
}

function Owner(props: Input) {
  const users = useUsers();
  return <Select label="Owner" description="May use it from My servers" inputWrapperOrder={['label', 'input', 'description', 'error']} searchable clearable placeholder="Nobody" data={(users.data ?? []).map(({ id, username }) => ({ value: id, label: username }))} {...props} />;
}

function Address({ node, ...props }: Input & { node: string }) {
  const free = useAllocations({ node, free: true });
  return <Select label="Address" required searchable placeholder="Choose" data={(free.data ?? []).map((one) => ({ value: one.id, label: address(one) ?? '' }))} nothingFoundMessage="No free address" {...props} error={props.error ?? (free.data?.length === 0 ? 'This node has no free address: add some on its page' : null)} />;
}

function Left({ id, values }: { id: string; values: Values }) {
  const { data } = useCapacity(id);
  return (
    <SimpleGrid cols={{ base: 1, sm: 2 }} mt="md" mih={48}>
      {data && (
        <>
          <Capacity label="Memory" share={data.memory_mb} show={mebibytes} more={values.memory} />
          <Capacity label="Disk" share={data.disk_mb} show={mebibytes} more={values.disk} />
          <Capacity label="CPU" share={data.cpu_percent} show={cores} more={values.cpu} />
          <Capacity label="Addresses" share={data.allocations} show={whole} more={1} countable />
        </>
      )}
    </SimpleGrid>
  );
}

function Variables({ egg, values, change }: { egg: Egg; values: Record<string, string>; change: (values: Record<string, string>) => void }) {
  return (
    <Section title="Variables">
      <SimpleGrid cols={{ base: 1, sm: 2 }}>
        {egg.variables.map(({ env_variable: key, name, description, default_value, rules }) => (
          <TextInput key={key} label={name} description={description} placeholder={default_value} value={values[key] ?? ''} required={rules.split('|').includes('required') && default_value === ''} inputWrapperOrder={['label', 'input', 'description', 'error']}
            onChange={(event) => {
              // Empty is not set: then the egg's default is taken.
              const others = Object.entries(values).filter(([name]) => name !== key);
              const text = event.currentTarget.value;
              change(Object.fromEntries(text === '' ? others : [...others, [key, text]]));
            }} />
        ))}
      </SimpleGrid>
    </Section>
  );
}
