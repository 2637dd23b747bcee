// Settings > Database hosts: MySQL servers on which servers may have databases.
import { Button, Card, Group, Modal, NumberInput, PasswordInput, Select, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { IconDatabase, IconPlus } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useNodes, usePlaceNames } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, tell, tellFailure, useAct } from '../../components/act';
import { Note, PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';

type Host = Schemas['HostView'];

export default function DatabaseHosts() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const nameOf = usePlaceNames();
  const [dialog, setDialog] = useState<{ host: Host | null } | null>(null);
  const query = useQuery({ queryKey: ['database-hosts', page], queryFn: () => takePage(api.GET('/api/v1/admin/database-hosts', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const of = (host: Host) => ({ params: { path: { id: host.id } } });
  const test = useAct({
    run: (host: Host) => take(api.POST('/api/v1/admin/database-hosts/{id}/test', { ...of(host), body: {} })),
    then: (found, host) => (found.ok ? tell(`${host.name} answers: ${found.version ?? 'MySQL'}.`) : tellFailure(new Error(found.error ?? 'It does not answer.'), `${host.name} cannot be used`)),
  });
  const remove = useAct({ run: (host: Host) => done(api.DELETE('/api/v1/admin/database-hosts/{id}', of(host))), said: (_, host) => `${host.name} is gone.`, stale: [['database-hosts']] });
  const columns: Column<Host>[] = [
    { name: 'Name', lead: true, cell: (row) => row.name },
    { name: 'Address', cell: (row) => <span className="bp-mono">{row.host}:{row.port}</span> },
    { name: 'User', cell: (row) => <span className="bp-mono">{row.username}</span> },
    { name: 'For', cell: (row) => (row.node_id ? nameOf(row) : 'all nodes') },
    { name: 'Databases', end: true, cell: (row) => `${row.databases}${row.max_databases == null ? '' : ` of ${row.max_databases}`}` },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        {may(permissions, 'admin.database-hosts.update') && <Button size="xs" variant="default" onClick={() => test.mutate(row)}>Test</Button>}
        {may(permissions, 'admin.database-hosts.update') && <Button size="xs" variant="default" onClick={() => setDialog({ host: row })}>Change</Button>}
        {may(permissions, 'admin.database-hosts.delete') && <Button size="xs" variant="default" onClick={() => ask({ title: `Remove ${row.name}?`, what: 'The host itself is not touched. It must have no databases of ours.', button: 'Remove', then: () => remove.mutate(row) })}>Remove…</Button>}
      </Group>
    ) },
  ];
  const add = may(permissions, 'admin.database-hosts.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => setDialog({ host: null })}>Add host</Button>;
  return (
    <>
      <PageHeader title="Database hosts" actions={add} />
      <Card><DataTable label="Database hosts" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconDatabase size={40} stroke={1.3} />, title: 'No hosts', what: 'A MySQL or MariaDB server on which owners can make databases for their servers.', action: add }} /></Card>
      <Modal opened={dialog !== null} onClose={() => setDialog(null)} title={dialog?.host ? `Change ${dialog.host.name}` : 'Add host'} size="lg">{dialog && <Form host={dialog.host} close={() => setDialog(null)} />}</Modal>
    </>
  );
}

function Form({ host, close }: { host: Host | null; close: () => void }) {
  const nodes = useNodes().data ?? [];
  const [name, setName] = useState(host?.name ?? '');
  const [address, setAddress] = useState(host?.host ?? '');
  const [port, setPort] = useState<number | string>(host?.port ?? 3306);
  const [username, setUsername] = useState(host?.username ?? '');
  const [password, setPassword] = useState('');
  const [node, setNode] = useState<string | null>(host?.node_id ?? null);
  const save = useAct({
    run: () => {
      const body = { name: name.trim(), host: address.trim(), port: Number(port), username: username.trim(), node_id: node };
      return host
        ? done(api.PATCH('/api/v1/admin/database-hosts/{id}', { params: { path: { id: host.id } }, body: { ...body, password: password || undefined } }))
        : done(api.POST('/api/v1/admin/database-hosts', { body: { ...body, password } }));
    },
    said: 'Saved.', stale: [['database-hosts']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput label="Host" required value={address} onChange={(event) => setAddress(event.currentTarget.value)} />
          <NumberInput label="Port" required min={1} max={65_535} value={port} onChange={setPort} />
          <TextInput label="User" required autoComplete="off" value={username} onChange={(event) => setUsername(event.currentTarget.value)} />
          <PasswordInput label="Password" required={!host} placeholder={host ? 'As it is' : ''} autoComplete="new-password" value={password} onChange={(event) => setPassword(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password', tabIndex: 0 }} />
        </SimpleGrid>
        <Select label="For servers on" clearable placeholder="All nodes" data={nodes.map(({ id, name: label }) => ({ value: id, label }))} value={node} onChange={setNode} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}
