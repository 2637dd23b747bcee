// The names of a server. They follow it when it moves.
import { Button, Group, Modal, Select, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus, IconWorldWww } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Note, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';

type Name = Schemas['NameView'];

export function Names({ server }: { server: string }) {
  const { permissions } = useMe();
  const key = ['server', server, 'names'];
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/servers/{id}/dns-names', { params: { path: { id: server }, query: { per_page: 100 } } })), refetchInterval: 5_000 });
  const remove = useAct({ run: (one: Name) => done(api.DELETE('/api/v1/servers/{id}/dns-names/{name_id}', { params: { path: { id: server, name_id: one.id } } })), said: (_, one) => `${one.name} is gone.`, stale: [key] });
  const columns: Column<Name>[] = [
    { name: 'Name', lead: true, cell: (row) => <span className="bp-mono">{row.name}</span> },
    { name: 'Service', cell: (row) => (row.service ? <span className="bp-mono">{row.service}</span> : '–') },
    { name: 'Leads to', cell: (row) => <span className="bp-mono">{row.address}:{row.port}</span> },
    { name: 'State', cell: (row) => <><Status value={row.state} />{row.error && <Text size="xs" c="dimmed">{row.error}</Text>}</> },
    { name: '', end: true, cell: (row) => <Button size="xs" variant="default" onClick={() => ask({ title: `Remove ${row.name}?`, what: 'Its records are removed from the zone; players who use the name do not find the server any more.', button: 'Remove the name', then: () => remove.mutate(row) })}>Remove…</Button> },
  ];
  // Who may not see the zones cannot choose one.
  const add = may(permissions, 'admin.dns-zones.list') && <Button size="xs" leftSection={<IconPlus size={16} />} onClick={show}>Add name</Button>;
  return (
    <Section title="Names" actions={add}>
      <DataTable label="Names" query={query} columns={columns} id={(row) => row.id} empty={{ icon: <IconWorldWww size={40} stroke={1.3} />, title: 'No names', what: 'A name in DNS leads players to the server and follows it when it moves. Admins give it.' }} />
      <Modal opened={open} onClose={close} title="Add name">{open && <Add server={server} close={close} stale={key} />}</Modal>
    </Section>
  );
}

function Add({ server, close, stale }: { server: string; close: () => void; stale: string[] }) {
  const zones = useQuery({ queryKey: ['dns-zones', 'all'], queryFn: () => takePage(api.GET('/api/v1/admin/dns-zones', { params: { query: { per_page: 100 } } })) });
  const [zone, setZone] = useState<string | null>(null);
  const [name, setName] = useState('');
  const [service, setService] = useState('');
  const add = useAct({ run: () => done(api.POST('/api/v1/servers/{id}/dns-names', { params: { path: { id: server } }, body: { zone_id: zone ?? '', name: name.trim(), service: service.trim() || undefined } })), said: 'The name is being written.', stale: [stale], then: close, quiet: true });
  return (
    <form onSubmit={(event) => { event.preventDefault(); add.mutate(); }}>
      <Stack gap="md">
        {add.error && <Note tone="bad" role="alert">{failureOf(add.error).full}</Note>}
        <Select label="Zone" required data={(zones.data?.rows ?? []).map((one) => ({ value: one.id, label: one.name }))} value={zone} onChange={setZone} error={zones.data?.rows.length === 0 ? 'There is no zone yet: add one under DNS zones' : null} />
        <TextInput label="Name" description="The part before the zone" required value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <TextInput label="Service" description="For an SRV record, for example _minecraft._tcp; empty for none" value={service} onChange={(event) => setService(event.currentTarget.value)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={add.isPending} disabled={zone === null}>Add</Button></Group>
      </Stack>
    </form>
  );
}
