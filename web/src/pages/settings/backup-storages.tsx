// Settings > Backup storage: S3-compatible buckets that backups go to.
import { Badge, Button, Card, Group, Modal, PasswordInput, SimpleGrid, Stack, Switch, TextInput } from '@mantine/core';
import { IconArchive, IconPlus } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, tell, tellFailure, useAct } from '../../components/act';
import { Note, PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';

type Storage = Schemas['StorageView'];

export default function BackupStorages() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [dialog, setDialog] = useState<{ storage: Storage | null } | null>(null);
  const query = useQuery({ queryKey: ['backup-storages', page], queryFn: () => takePage(api.GET('/api/v1/admin/backup-storages', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const of = (one: Storage) => ({ params: { path: { id: one.id } } });
  const test = useAct({
    run: (one: Storage) => take(api.POST('/api/v1/admin/backup-storages/{id}/test', { ...of(one), body: {} })),
    then: (found, one) => (found.ok ? tell(`${one.name} can be written, read and cleared.`) : tellFailure(new Error(found.message ?? 'It cannot be used.'), `${one.name} cannot be used`)),
  });
  const remove = useAct({ run: (one: Storage) => done(api.DELETE('/api/v1/admin/backup-storages/{id}', of(one))), said: (_, one) => `${one.name} is gone.`, stale: [['backup-storages']] });
  const columns: Column<Storage>[] = [
    { name: 'Name', lead: true, cell: (row) => <Group gap="xs">{row.name}{row.is_default && <Badge variant="default">default</Badge>}</Group> },
    { name: 'Endpoint', cell: (row) => <span className="bp-mono">{row.endpoint}</span> },
    { name: 'Bucket', cell: (row) => <span className="bp-mono">{row.bucket}{row.prefix && `/${row.prefix}`}</span> },
    { name: 'Backups', end: true, cell: (row) => row.backups },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        {may(permissions, 'admin.backup-storages.update') && <Button size="xs" variant="default" onClick={() => test.mutate(row)}>Test</Button>}
        {may(permissions, 'admin.backup-storages.update') && <Button size="xs" variant="default" onClick={() => setDialog({ storage: row })}>Change</Button>}
        {may(permissions, 'admin.backup-storages.delete') && <Button size="xs" variant="default" onClick={() => ask({ title: `Remove ${row.name}?`, what: 'The bucket itself is not touched. It must have no backups of ours.', button: 'Remove', then: () => remove.mutate(row) })}>Remove…</Button>}
      </Group>
    ) },
  ];
  const add = may(permissions, 'admin.backup-storages.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => setDialog({ storage: null })}>Add storage</Button>;
  return (
    <>
      <PageHeader title="Backup storage" actions={add} />
      <Card><DataTable label="Backup storage" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconArchive size={40} stroke={1.3} />, title: 'No storage', what: 'A bucket in any S3-compatible object storage. Backups of all servers go to the default one.', action: add }} /></Card>
      <Modal opened={dialog !== null} onClose={() => setDialog(null)} title={dialog?.storage ? `Change ${dialog.storage.name}` : 'Add storage'} size="lg">{dialog && <Form storage={dialog.storage} close={() => setDialog(null)} />}</Modal>
    </>
  );
}

function Form({ storage, close }: { storage: Storage | null; close: () => void }) {
  const [text, setText] = useState({ name: storage?.name ?? '', endpoint: storage?.endpoint ?? '', region: storage?.region ?? 'us-east-1', bucket: storage?.bucket ?? '', prefix: storage?.prefix ?? '', access_key: storage?.access_key ?? '' });
  const [secret, setSecret] = useState('');
  const [byDefault, setByDefault] = useState(storage?.is_default ?? true);
  const save = useAct({
    run: () => {
      const body = { ...text, is_default: byDefault };
      return storage
        ? done(api.PATCH('/api/v1/admin/backup-storages/{id}', { params: { path: { id: storage.id } }, body: { ...body, secret_key: secret || undefined } }))
        : done(api.POST('/api/v1/admin/backup-storages', { body: { ...body, secret_key: secret } }));
    },
    said: 'Saved.', stale: [['backup-storages']], then: close, quiet: true,
  });
  const field = (name: keyof typeof text) => ({ value: text[name], onChange: (event: { currentTarget: { value: string } }) => setText({ ...text, [name]: event.currentTarget.value }) });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus {...field('name')} />
        <TextInput label="Endpoint" required type="url" placeholder="https://s3.example" {...field('endpoint')} />
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput label="Bucket" required {...field('bucket')} />
          <TextInput label="Prefix" {...field('prefix')} />
          <TextInput label="Region" required {...field('region')} />
          <TextInput label="Access key" required autoComplete="off" {...field('access_key')} />
        </SimpleGrid>
        <PasswordInput label="Secret key" required={!storage} placeholder={storage ? 'As it is' : ''} autoComplete="new-password" value={secret} onChange={(event) => setSecret(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the secret key', tabIndex: 0 }} />
        <Switch label="Backups go here unless somebody says otherwise" checked={byDefault} onChange={(event) => setByDefault(event.currentTarget.checked)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}
