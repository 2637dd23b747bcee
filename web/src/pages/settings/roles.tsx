// Settings > Roles: what users may.
import { Badge, Button, Card, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus, IconShieldLock } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Note, PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { Permissions } from './permissions';

type Role = Schemas['RoleView'];

export default function Roles() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [editing, setEditing] = useState<Role | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['roles', page], queryFn: () => takePage(api.GET('/api/v1/admin/roles', { params: { query: { page } } })) });
  const remove = useAct({ run: (role: Role) => done(api.DELETE('/api/v1/admin/roles/{id}', { params: { path: { id: role.id } } })), said: (_, role) => `${role.name} is deleted.`, stale: [['roles']] });
  const edit = (role: Role | null) => { setEditing(role); show(); };
  const columns: Column<Role>[] = [
    { name: 'Name', lead: true, cell: (row) => <Group gap="xs">{row.name}{row.built_in && <Badge color="gray" variant="default">built in</Badge>}</Group> },
    { name: 'May', cell: (row) => (row.permissions.length > 0 ? <span className="bp-mono">{row.permissions.join(', ')}</span> : 'only what is theirs') },
    { name: 'Users', end: true, cell: (row) => row.users },
    { name: '', end: true, cell: (row) => (row.built_in ? null : (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        {may(permissions, 'admin.roles.update') && <Button size="xs" variant="default" onClick={() => edit(row)}>Change</Button>}
        {may(permissions, 'admin.roles.delete') && <Button size="xs" variant="default" onClick={() => ask({ title: `Delete ${row.name}?`, what: 'No user may have it any more.', button: 'Delete the role', then: () => remove.mutate(row) })}>Delete…</Button>}
      </Group>
    )) },
  ];
  const add = may(permissions, 'admin.roles.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => edit(null)}>New role</Button>;
  return (
    <>
      <PageHeader title="Roles" actions={add} />
      <Card><DataTable label="Roles" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconShieldLock size={40} stroke={1.3} />, title: 'No roles', what: 'There are always three.' }} /></Card>
      <Modal opened={open} onClose={close} title={editing ? `Change ${editing.name}` : 'New role'} size="lg">{open && <Form role={editing} close={close} />}</Modal>
    </>
  );
}

function Form({ role, close }: { role: Role | null; close: () => void }) {
  const [name, setName] = useState(role?.name ?? '');
  const [held, setHeld] = useState<string[]>(role?.permissions ?? []);
  const save = useAct({
    run: () => (role
      ? done(api.PATCH('/api/v1/admin/roles/{id}', { params: { path: { id: role.id } }, body: { name: name.trim(), permissions: held } }))
      : done(api.POST('/api/v1/admin/roles', { body: { name: name.trim(), permissions: held } }))),
    said: 'Saved.', stale: [['roles']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Permissions label="May" value={held} change={setHeld} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}
