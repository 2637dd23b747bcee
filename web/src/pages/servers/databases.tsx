// The databases of a server. They stay where they are when the server moves.
import { ActionIcon, Button, Group, Modal, Stack, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconDatabase, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, pressKey, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { ask, useAct } from '../../components/act';
import { Facts, Note, Section, Snippet } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import type { TabProps } from './server';

type Database = Schemas['DatabaseView'];

export default function Databases({ server }: TabProps) {
  const path = { id: server.id };
  const key = ['server', server.id, 'databases'];
  const [shown, setShown] = useState<Database | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/servers/{id}/databases', { params: { path, query: { per_page: 100 } } })) });
  const of = (one: Database) => ({ params: { path: { ...path, database_id: one.id } } });
  const look = useAct({ run: (one: Database) => take(api.GET('/api/v1/servers/{id}/databases/{database_id}', of(one))), then: setShown });
  const rotate = useAct({ run: (one: Database) => take(api.POST('/api/v1/servers/{id}/databases/{database_id}/rotate-password', { ...of(one), body: {} })), said: 'The password is new.', then: setShown });
  const remove = useAct({ run: (one: Database) => done(api.DELETE('/api/v1/servers/{id}/databases/{database_id}', of(one))), said: (_, one) => `${one.name} is deleted.`, stale: [key] });
  const columns: Column<Database>[] = [
    { name: 'Name', lead: true, cell: (row) => <span className="bp-mono">{row.name}</span> },
    { name: 'Host', cell: (row) => <span className="bp-mono">{row.host}:{row.port}</span> },
    { name: 'User', cell: (row) => <span className="bp-mono">{row.username}</span> },
    { name: 'From', cell: (row) => <span className="bp-mono">{row.remote}</span> },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        <Button size="xs" variant="default" onClick={() => look.mutate(row)}>Connection</Button>
        <ActionIcon onClick={() => ask({ title: `Delete ${row.name}?`, what: 'The database with everything in it is removed from its host. This cannot be taken back.', button: 'Delete the database', then: () => remove.mutate(row) })} aria-label={`Delete ${row.name}`}><IconTrash size={18} /></ActionIcon>
      </Group>
    ) },
  ];
  return (
    <Section title="Databases" actions={<Button size="xs" leftSection={<IconPlus size={16} />} onClick={show}>New database</Button>}>
      <DataTable label="Databases" query={query} columns={columns} id={(row) => row.id} empty={{ icon: <IconDatabase size={40} stroke={1.3} />, title: 'No databases', what: 'A database on one of the MySQL hosts that the admins have set up.' }} />
      <Modal opened={open} onClose={close} title="New database">{open && <Form server={server.id} close={close} made={setShown} stale={key} />}</Modal>
      <Modal opened={shown !== null} onClose={() => setShown(null)} title={shown?.name} size="lg">
        {shown && (
          <Stack gap="md">
            <Facts rows={[['Host', <span key="host" className="bp-mono">{shown.host}:{shown.port}</span>], ['User', <span key="user" className="bp-mono">{shown.username}</span>], ['May come from', <span key="from" className="bp-mono">{shown.remote}</span>]]} />
            {shown.password != null && <Snippet label="Password" value={shown.password} />}
            <Group justify="flex-end"><Button variant="default" onClick={() => rotate.mutate(shown)} loading={rotate.isPending}>New password</Button><Button onClick={() => setShown(null)}>Done</Button></Group>
          </Stack>
        )}
      </Modal>
    </Section>
  );
}

function Form({ server, close, made, stale }: { server: string; close: () => void; made: (one: Database) => void; stale: string[] }) {
  const [name, setName] = useState('');
  const [remote, setRemote] = useState('');
  const save = useAct({
    run: () => take(api.POST('/api/v1/servers/{id}/databases', { params: { path: { id: server }, header: { 'Idempotency-Key': pressKey() } }, body: { name: name.trim(), remote: remote.trim() || undefined } })),
    stale: [stale], then: (one) => { close(); made(one); }, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <TextInput label="May be used from" description="An address or a pattern like 10.0.%; empty for anywhere" placeholder="%" value={remote} onChange={(event) => setRemote(event.currentTarget.value)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Make it</Button></Group>
      </Stack>
    </form>
  );
}
