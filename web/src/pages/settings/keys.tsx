// Settings > API Keys: for programs. A key is shown once.
import { Button, Card, Group, Modal, Select, Stack, TagsInput, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconKey, IconPlus } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Note, PageHeader, Snippet } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { Permissions } from './permissions';

type Key = Schemas['KeyView'];

export default function Keys() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['keys', page], queryFn: () => takePage(api.GET('/api/v1/admin/api-keys', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const remove = useAct({ run: (key: Key) => done(api.DELETE('/api/v1/admin/api-keys/{id}', { params: { path: { id: key.id } } })), said: (_, key) => `The key ${key.name} is gone.`, stale: [['keys']] });
  const columns: Column<Key>[] = [
    { name: 'Name', lead: true, cell: (row) => row.name },
    { name: 'May', cell: (row) => <span className="bp-mono">{row.scopes.join(', ')}</span> },
    { name: 'From', cell: (row) => (row.allowed_networks.length > 0 ? <span className="bp-mono">{row.allowed_networks.join(', ')}</span> : 'anywhere') },
    { name: 'Last used', cell: (row) => <Ago at={row.last_used_at} /> },
    { name: 'Ends', cell: (row) => <Ago at={row.expires_at} /> },
    { name: '', end: true, cell: (row) => (may(permissions, 'admin.api-keys.delete') ? <Button size="xs" variant="default" onClick={() => ask({ title: `Revoke ${row.name}?`, what: 'Programs that use it are refused from now on.', button: 'Revoke', then: () => remove.mutate(row) })}>Revoke…</Button> : null) },
  ];
  const add = may(permissions, 'admin.api-keys.create') && <Button leftSection={<IconPlus size={16} />} onClick={show}>New key</Button>;
  return (
    <>
      <PageHeader title="API Keys" actions={add} />
      <Card><DataTable label="API keys" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconKey size={40} stroke={1.3} />, title: 'No keys', what: 'A key lets a program use the API.', action: add }} /></Card>
      <Modal opened={open} onClose={close} title="New key" size="lg">{open && <NewKey close={close} />}</Modal>
    </>
  );
}

const ENDS = [['', 'Never'], ['30', 'In 30 days'], ['90', 'In 90 days'], ['365', 'In a year']];

function NewKey({ close }: { close: () => void }) {
  const [made, setMade] = useState<Key | null>(null);
  const [name, setName] = useState('');
  const [scopes, setScopes] = useState<string[]>([]);
  const [networks, setNetworks] = useState<string[]>([]);
  const [days, setDays] = useState('90');
  const create = useAct({
    run: () => take(api.POST('/api/v1/admin/api-keys', { body: { name: name.trim(), scopes, allowed_networks: networks, expires_at: days ? new Date(Date.now() + Number(days) * 86_400_000).toISOString() : undefined } })),
    stale: [['keys']], then: setMade, quiet: true,
  });
  if (made) {
    return (
      <Stack gap="md">
        <Text size="sm">This is the key <strong>{made.name}</strong>. It is shown now and never again.</Text>
        <Snippet label="Key" value={made.key ?? ''} />
        <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
      </Stack>
    );
  }
  return (
    <form onSubmit={(event) => { event.preventDefault(); create.mutate(); }}>
      <Stack gap="md">
        {create.error && <Note tone="bad" role="alert">{failureOf(create.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Permissions label="May" value={scopes} change={setScopes} own />
        <TagsInput label="Only from" description="Networks like 192.0.2.0/24; empty for anywhere" value={networks} onChange={setNetworks} acceptValueOnBlur />
        <Select label="Ends" data={ENDS.map(([value = '', label = '']) => ({ value, label }))} value={days} onChange={(value) => setDays(value ?? '')} allowDeselect={false} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={create.isPending} disabled={scopes.length === 0}>Make the key</Button></Group>
      </Stack>
    </form>
  );
}
