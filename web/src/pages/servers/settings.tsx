// What an admin can change about a server, and its end.
import { Button, Group, Select, Stack, Text, TextInput } from '@mantine/core';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { api, done, take } from '../../api/client';
import { useUsers } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Section } from '../../components/bits';
import type { TabProps } from './server';

export default function Settings({ server }: TabProps) {
  const { permissions } = useMe();
  return (
    <Stack gap="md">
      <General server={server} />
      {may(permissions, 'admin.servers.delete') && <Delete server={server} />}
    </Stack>
  );
}

function General({ server }: Pick<TabProps, 'server'>) {
  const { permissions } = useMe();
  const users = useUsers();
  const [name, setName] = useState(server.name);
  const [owner, setOwner] = useState<string | null>(server.owner_id ?? null);
  const save = useAct({
    run: () => take(api.PATCH('/api/v1/admin/servers/{id}', { params: { path: { id: server.id } }, body: { name: name.trim(), owner_id: owner } })),
    said: 'Saved.',
    stale: [['server', server.id], ['servers']],
  });
  return (
    <Section title="General">
      <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
        <Stack gap="md" maw={480}>
          <TextInput label="Name" required value={name} onChange={(event) => setName(event.currentTarget.value)} />
          {may(permissions, 'admin.users.list') && (
            <Select label="Owner" description="May do everything with this server except moving it" searchable clearable placeholder="Nobody" value={owner} onChange={setOwner} data={(users.data ?? []).map(({ id, username }) => ({ value: id, label: username }))} />
          )}
          <Group><Button type="submit" loading={save.isPending}>Save</Button></Group>
        </Stack>
      </form>
    </Section>
  );
}

function Delete({ server }: Pick<TabProps, 'server'>) {
  const navigate = useNavigate();
  const remove = useAct({
    run: () => done(api.DELETE('/api/v1/admin/servers/{id}', { params: { path: { id: server.id } } })),
    said: `${server.name} is deleted.`,
    stale: [['servers'], ['nodes']],
    then: () => void navigate('/admin/servers'),
  });
  const really = () => ask({
    title: `Delete ${server.name}?`,
    what: 'Its files are removed from its node, its addresses become free. This cannot be taken back.',
    button: 'Delete the server',
    then: () => remove.mutate(),
  });
  return (
    <Section title="Delete this server">
      <Group justify="space-between" gap="md">
        <Text size="sm" c="dimmed" maw="60ch">The server must be stopped. All of its files are removed.</Text>
        <Button variant="default" className="bp-danger" onClick={really} loading={remove.isPending}>Delete…</Button>
      </Group>
    </Section>
  );
}
