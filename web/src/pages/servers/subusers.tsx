// Who else may do what at this server.
import { Button, Checkbox, Group, Modal, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconUserPlus, IconUsers } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { ask, useAct } from '../../components/act';
import { Ago, Note, Section } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import type { TabProps } from './server';

type Subuser = Schemas['SubuserView'];
const RIGHTS: [string, string][] = [
  ['server.power', 'Start and stop'], ['server.console', 'Console'], ['server.files', 'Files'], ['server.backups', 'Backups'], ['server.schedules', 'Schedules'],
  ['server.databases', 'Databases'], ['server.allocations', 'Addresses'], ['server.startup', 'Startup'], ['server.subusers', 'Let others in'],
];

export default function Subusers({ server }: TabProps) {
  const path = { id: server.id };
  const key = ['server', server.id, 'subusers'];
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/servers/{id}/subusers', { params: { path, query: { per_page: 100 } } })), retry: false });
  const [editing, setEditing] = useState<Subuser | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const remove = useAct({ run: (one: Subuser) => done(api.DELETE('/api/v1/servers/{id}/subusers/{user_id}', { params: { path: { ...path, user_id: one.user_id } } })), said: (_, one) => `${one.username} is out.`, stale: [key] });
  const really = (one: Subuser) => ask({ title: `Remove ${one.username}?`, what: `${one.username} does not see this server any more.`, button: 'Remove', then: () => remove.mutate(one) });
  const edit = (one: Subuser | null) => {
    setEditing(one);
    show();
  };
  const columns: Column<Subuser>[] = [
    { name: 'User', lead: true, cell: (row) => row.username },
    { name: 'May', cell: (row) => row.permissions.map((right) => RIGHTS.find(([word]) => word === right)?.[1] ?? right).join(', ') },
    { name: 'Since', cell: (row) => <Ago at={row.created_at} /> },
    { name: '', end: true, cell: (row) => <Group gap="xs" justify="flex-end" wrap="nowrap"><Button size="xs" variant="default" onClick={() => edit(row)}>Change</Button><Button size="xs" variant="default" onClick={() => really(row)}>Remove…</Button></Group> },
  ];
  const add = <Button size="xs" leftSection={<IconUserPlus size={16} />} onClick={() => edit(null)}>Let somebody in</Button>;
  return (
    <Section title="Subusers" actions={add}>
      <DataTable label="Subusers" query={query} columns={columns} id={(row) => row.user_id} empty={{ icon: <IconUsers size={40} stroke={1.3} />, title: 'Nobody else', what: 'Only the owner and admins can use this server.' }} />
      <Modal opened={open} onClose={close} title={editing ? `What ${editing.username} may` : 'Let somebody in'} size="lg">
        <Form key={editing?.user_id ?? 'new'} server={server.id} editing={editing} close={close} stale={key} />
      </Modal>
    </Section>
  );
}

function Form({ server, editing, close, stale }: { server: string; editing: Subuser | null; close: () => void; stale: string[] }) {
  const [user, setUser] = useState('');
  const [rights, setRights] = useState<string[]>(editing?.permissions ?? ['server.power', 'server.console']);
  const save = useAct({
    run: () => (editing
      ? done(api.PATCH('/api/v1/servers/{id}/subusers/{user_id}', { params: { path: { id: server, user_id: editing.user_id } }, body: { permissions: rights } }))
      : done(api.POST('/api/v1/servers/{id}/subusers', { params: { path: { id: server } }, body: { user: user.trim(), permissions: rights } }))),
    said: 'Saved.', stale: [stale], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        {!editing && <TextInput label="User" description="User name or e-mail address" required data-autofocus value={user} onChange={(event) => setUser(event.currentTarget.value)} />}
        <Checkbox.Group label="May" value={rights} onChange={setRights}>
          <SimpleGrid cols={{ base: 1, xs: 2 }} spacing="xs" mt="xs">{RIGHTS.map(([value, label]) => <Checkbox key={value} value={value} label={label} />)}</SimpleGrid>
        </Checkbox.Group>
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending} disabled={rights.length === 0}>Save</Button></Group>
      </Stack>
    </form>
  );
}
