// The backups of a server. They lie in object storage and stay there when the server moves.
import { ActionIcon, Button, Group, Menu, Modal, Progress, Stack, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconArchive, IconDotsVertical, IconLock, IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, pressKey, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { ask, useAct } from '../../components/act';
import { Ago, Note, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { bytes, count } from '../../lib/format';
import type { TabProps } from './server';

type Backup = Schemas['BackupView'];

export default function Backups({ server }: TabProps) {
  const path = { id: server.id };
  const key = ['server', server.id, 'backups'];
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/servers/{id}/backups', { params: { path, query: { per_page: 100 } } })), refetchInterval: 3_000 });
  const of = (one: Backup) => ({ path: { ...path, backup_id: one.id } });
  const lock = useAct({ run: (one: Backup) => done(api.PATCH('/api/v1/servers/{id}/backups/{backup_id}', { params: of(one), body: { locked: !one.locked } })), stale: [key] });
  const restore = useAct({ run: (one: Backup) => done(api.POST('/api/v1/servers/{id}/backups/{backup_id}/restore', { params: { ...of(one), header: { 'Idempotency-Key': pressKey() } }, body: { stop: true } })), said: 'It is being restored.', stale: [key, ['server', server.id]] });
  const remove = useAct({ run: (one: Backup) => done(api.DELETE('/api/v1/servers/{id}/backups/{backup_id}', { params: of(one) })), said: (_, one) => `${one.name} is deleted.`, stale: [key] });
  const get = useAct({ run: (one: Backup) => take(api.GET('/api/v1/servers/{id}/backups/{backup_id}/download', { params: of(one) })), then: ({ url }) => void window.open(url, '_blank', 'noopener') });
  const columns: Column<Backup>[] = [
    { name: 'Name', lead: true, cell: (row) => <Group gap="xs">{row.name}{row.locked && <IconLock size={16} role="img" aria-label="Locked" />}</Group> },
    { name: 'State', cell: (row) => <State backup={row} /> },
    { name: 'Size', end: true, cell: (row) => (row.bytes == null ? '–' : bytes(row.bytes)) },
    { name: 'Made', cell: (row) => <Ago at={row.created_at} /> },
    { name: '', end: true, cell: (row) => (
      <Menu position="bottom-end">
        <Menu.Target><ActionIcon aria-label={`Actions for ${row.name}`}><IconDotsVertical size={18} /></ActionIcon></Menu.Target>
        <Menu.Dropdown>
          {row.state === 'completed' && <Menu.Item onClick={() => ask({ title: `Restore ${row.name}?`, what: 'The server is stopped, and its files become those of the backup. What was changed since is lost.', button: 'Restore it', then: () => restore.mutate(row) })} disabled={server.locked}>Restore…</Menu.Item>}
          {row.state === 'completed' && <Menu.Item onClick={() => get.mutate(row)}>Download</Menu.Item>}
          <Menu.Item onClick={() => lock.mutate(row)}>{row.locked ? 'Unlock' : 'Lock'}</Menu.Item>
          <Menu.Item c="var(--mantine-color-error)" disabled={row.locked} onClick={() => ask({ title: `Delete ${row.name}?`, what: 'It is removed from the storage. This cannot be taken back.', button: 'Delete the backup', then: () => remove.mutate(row) })}>Delete…</Menu.Item>
        </Menu.Dropdown>
      </Menu>
    ) },
  ];
  return (
    <Section title="Backups" actions={<Button size="xs" leftSection={<IconPlus size={16} />} onClick={show} disabled={server.locked}>Make a backup</Button>}>
      <DataTable label="Backups" query={query} columns={columns} id={(row) => row.id} empty={{ icon: <IconArchive size={40} stroke={1.3} />, title: 'No backups', what: 'A backup holds all files of the server. It stays where it is when the server moves.' }} />
      <Modal opened={open} onClose={close} title="Make a backup">{open && <Make server={server.id} close={close} stale={key} />}</Modal>
    </Section>
  );
}

function State({ backup }: { backup: Backup }) {
  const running = backup.restore && backup.restore.finished_at == null ? backup.restore : backup.finished_at == null ? backup : null;
  const failure = backup.restore?.failure ?? backup.failure;
  return (
    <div style={{ minWidth: 130 }}>
      <Status value={running === backup.restore && running ? 'restoring_backup' : backup.state} moving={running !== null} />
      {running && running.progress.bytes_total > 0 && <Progress mt={4} size="sm" value={(running.progress.bytes_done / running.progress.bytes_total) * 100} aria-label="Progress" />}
      {backup.changed_count > 0 && <Text size="xs" c="dimmed">{count(backup.changed_count, 'file')} changed while {backup.changed_count === 1 ? 'it was' : 'they were'} read</Text>}
      {failure && <Text size="xs" c="dimmed">{failure.message}</Text>}
    </div>
  );
}

function Make({ server, close, stale }: { server: string; close: () => void; stale: string[] }) {
  const [name, setName] = useState('');
  const make = useAct({ run: () => done(api.POST('/api/v1/servers/{id}/backups', { params: { path: { id: server }, header: { 'Idempotency-Key': pressKey() } }, body: { name: name.trim() || undefined, locked: false } })), said: 'The backup is being made.', stale: [stale], then: close, quiet: true });
  return (
    <form onSubmit={(event) => { event.preventDefault(); make.mutate(); }}>
      <Stack gap="md">
        {make.error && <Note tone="bad" role="alert">{failureOf(make.error).full}</Note>}
        <TextInput label="Name" description="Empty for the date" data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={make.isPending}>Make it</Button></Group>
      </Stack>
    </form>
  );
}
