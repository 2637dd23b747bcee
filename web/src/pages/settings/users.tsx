// Settings > Users.
import { Button, Card, Group, Menu, Modal, PasswordInput, Select, Stack, TextInput } from '@mantine/core';
import { useDebouncedCallback, useDisclosure } from '@mantine/hooks';
import { IconChevronDown, IconPlus, IconSearch, IconUsers } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useRoles } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Note, PageHeader } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { useAddressState, usePage } from '../../lib/address';

type User = Schemas['UserView'];
type Dialog = { kind: 'edit'; user: User | null } | { kind: 'password'; user: User };

export default function Users() {
  const me = useMe();
  const [page, setPage] = usePage();
  const [name, setName] = useAddressState('name');
  const [typed, setTyped] = useState(name);
  const search = useDebouncedCallback(setName, 250);
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['users', page, name], queryFn: () => takePage(api.GET('/api/v1/admin/users', { params: { query: { page, sort: 'username', 'filter[username]': name || undefined } } })), placeholderData: keepPreviousData });
  const of = (user: User) => ({ params: { path: { id: user.id } } });
  const stale = [['users']];
  const disable = useAct({ run: (user: User) => done(api.PATCH('/api/v1/admin/users/{id}', { ...of(user), body: { disabled: !user.disabled } })), said: 'Saved.', stale });
  const end = useAct({ run: (user: User) => done(api.DELETE('/api/v1/admin/users/{id}/sessions', of(user))), said: (_, user) => `${user.username} is logged out everywhere.` });
  const remove = useAct({ run: (user: User) => done(api.DELETE('/api/v1/admin/users/{id}', of(user))), said: (_, user) => `${user.username} is deleted.`, stale });
  const act = (next: Dialog) => { setDialog(next); show(); };
  const columns: Column<User>[] = [
    { name: 'User name', lead: true, cell: (row) => row.username },
    { name: 'E-mail', cell: (row) => row.email ?? '–' },
    { name: 'Role', cell: (row) => row.role },
    { name: 'State', cell: (row) => <Status value={row.disabled ? 'disabled' : 'active'} tone={row.disabled ? 'calm' : 'good'} /> },
    { name: 'Last log-in', cell: (row) => <Ago at={row.last_login_at} /> },
    { name: '', end: true, cell: (row) => (
      <Menu position="bottom-end">
        <Menu.Target><Button size="xs" variant="default" rightSection={<IconChevronDown size={14} />} aria-label={`Actions for ${row.username}`}>Actions</Button></Menu.Target>
        <Menu.Dropdown>
          {may(me.permissions, 'admin.users.update') && <Menu.Item onClick={() => act({ kind: 'edit', user: row })}>Change…</Menu.Item>}
          {may(me.permissions, 'admin.users.update') && <Menu.Item onClick={() => act({ kind: 'password', user: row })}>Set a password…</Menu.Item>}
          {may(me.permissions, 'admin.users.update') && <Menu.Item onClick={() => end.mutate(row)}>Log out everywhere</Menu.Item>}
          {may(me.permissions, 'admin.users.update') && row.id !== me.id && <Menu.Item onClick={() => disable.mutate(row)}>{row.disabled ? 'Enable' : 'Disable'}</Menu.Item>}
          {may(me.permissions, 'admin.users.delete') && row.id !== me.id && <Menu.Item c="var(--mantine-color-error)" onClick={() => ask({ title: `Delete ${row.username}?`, what: 'Their servers stay, without an owner.', button: 'Delete the user', then: () => remove.mutate(row) })}>Delete…</Menu.Item>}
        </Menu.Dropdown>
      </Menu>
    ) },
  ];
  const add = may(me.permissions, 'admin.users.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => act({ kind: 'edit', user: null })}>New user</Button>;
  const title = dialog?.kind === 'password' ? `Password of ${dialog.user.username}` : dialog?.user ? `Change ${dialog.user.username}` : 'New user';
  return (
    <>
      <PageHeader title="Users" actions={add} />
      <Card>
        <TextInput label="User name" placeholder="The whole name" mb="md" maw={320} leftSection={<IconSearch size={16} />} value={typed} onChange={(event) => { setTyped(event.currentTarget.value); search(event.currentTarget.value); }} />
        <DataTable label="Users" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconUsers size={40} stroke={1.3} />, title: 'No such user', what: 'Nobody fits what you are looking for.' }} />
      </Card>
      <Modal opened={open} onClose={close} title={title}>
        {open && dialog?.kind === 'edit' && <EditUser user={dialog.user} close={close} />}
        {open && dialog?.kind === 'password' && <SetPassword user={dialog.user} close={close} />}
      </Modal>
    </>
  );
}

function EditUser({ user, close }: { user: User | null; close: () => void }) {
  const roles = useRoles().data ?? [];
  const [username, setUsername] = useState(user?.username ?? '');
  const [email, setEmail] = useState(user?.email ?? '');
  const [password, setPassword] = useState('');
  const [role, setRole] = useState<string | null>(user?.role_id ?? null);
  const save = useAct({
    run: () => (user
      ? done(api.PATCH('/api/v1/admin/users/{id}', { params: { path: { id: user.id } }, body: { username: username.trim(), email: email.trim() || null, role_id: role } }))
      : done(api.POST('/api/v1/admin/users', { body: { username: username.trim(), email: email.trim() || undefined, password, role_id: role ?? undefined } }))),
    said: 'Saved.', stale: [['users']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="User name" required data-autofocus autoComplete="off" value={username} onChange={(event) => setUsername(event.currentTarget.value)} />
        <TextInput label="E-mail" type="email" value={email} onChange={(event) => setEmail(event.currentTarget.value)} />
        {!user && <Password value={password} change={setPassword} />}
        <Select label="Role" placeholder="User" data={roles.map(({ id, name }) => ({ value: id, label: name }))} value={role} onChange={setRole} allowDeselect={!user} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}

export function Password({ value, change, label = 'Password' }: { value: string; change: (value: string) => void; label?: string }) {
  return <PasswordInput label={label} description="At least 10 characters" required autoComplete="new-password" value={value} onChange={(event) => change(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password', tabIndex: 0 }} />;
}

function SetPassword({ user, close }: { user: User; close: () => void }) {
  const [password, setPassword] = useState('');
  const save = useAct({ run: () => done(api.POST('/api/v1/admin/users/{id}/password', { params: { path: { id: user.id } }, body: { password } })), said: 'The password is set; all sessions of the user have ended.', then: close, quiet: true });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <Password value={password} change={setPassword} label="New password" />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Set it</Button></Group>
      </Stack>
    </form>
  );
}
