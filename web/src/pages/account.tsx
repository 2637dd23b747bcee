// One's own account: the password, and where one is logged in.
import { Badge, Button, Group, PasswordInput, Stack } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, type Schemas } from '../api/client';
import { failureOf } from '../api/failure';
import { useMe } from '../api/session';
import { useAct } from '../components/act';
import { Ago, Facts, Note, PageHeader, Section } from '../components/bits';
import { DataTable, type Column } from '../components/table';
import { Password } from './settings/users';

type Session = Schemas['SessionView'];

export default function Account() {
  const me = useMe();
  return (
    <>
      <PageHeader title="Account" />
      <Stack gap="md" maw={860}>
        <Section title="About"><Facts rows={[['User name', me.username], ['E-mail', me.email], ['Role', me.role]]} /></Section>
        <ChangePassword />
        <Sessions />
      </Stack>
    </>
  );
}

function ChangePassword() {
  const [current, setCurrent] = useState('');
  const [next, setNext] = useState('');
  const save = useAct({
    run: () => done(api.POST('/api/v1/auth/password', { body: { current_password: current, new_password: next } })),
    said: 'Your password is changed; all your other sessions have ended.', stale: [['sessions']], quiet: true,
    then: () => { setCurrent(''); setNext(''); },
  });
  return (
    <Section title="Password">
      <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
        <Stack gap="md" maw={420}>
          {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
          <PasswordInput label="Current password" required autoComplete="current-password" value={current} onChange={(event) => setCurrent(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the current password', tabIndex: 0 }} />
          <Password label="New password" value={next} change={setNext} />
          <Group><Button type="submit" loading={save.isPending}>Change the password</Button></Group>
        </Stack>
      </form>
    </Section>
  );
}

function Sessions() {
  const found = useQuery({ queryKey: ['sessions'], queryFn: async () => {
    const rows = await take(api.GET('/api/v1/auth/sessions'));
    return { rows, meta: { current_page: 1, per_page: rows.length, total: rows.length, total_pages: 1 } };
  } });
  const end = useAct({ run: (id: string) => done(api.DELETE('/api/v1/auth/sessions/{id}', { params: { path: { id } } })), said: 'That session has ended.', stale: [['sessions']] });
  const columns: Column<Session>[] = [
    { name: 'Address', lead: true, cell: (row) => <Group gap="xs"><span className="bp-mono">{row.address}</span>{row.current && <Badge variant="default">this one</Badge>}</Group> },
    { name: 'Logged in', cell: (row) => <Ago at={row.created_at} /> },
    { name: 'Last used', cell: (row) => <Ago at={row.refreshed_at} /> },
    { name: '', end: true, cell: (row) => (row.current ? null : <Button size="xs" variant="default" onClick={() => end.mutate(row.id)}>End it</Button>) },
  ];
  return <Section title="Where you are logged in"><DataTable label="Sessions" query={found} columns={columns} id={(row) => row.id} empty={{ title: 'Nowhere', what: 'There is no session.' }} /></Section>;
}
