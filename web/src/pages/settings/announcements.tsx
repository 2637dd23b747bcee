// Settings > Announcements: what everybody reads above every page.
import { Button, Card, Group, Modal, Select, SimpleGrid, Stack, Textarea, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus, IconSpeakerphone } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Note, PageHeader } from '../../components/bits';
import { Status, type Tone } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { instant, local } from '../../lib/format';

type Announcement = Schemas['AnnouncementView'];
const LEVELS: Record<string, Tone> = { info: 'busy', warning: 'warn', critical: 'bad' };

export default function Announcements() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [editing, setEditing] = useState<Announcement | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['announcements', page], queryFn: () => takePage(api.GET('/api/v1/admin/announcements', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const remove = useAct({ run: (one: Announcement) => done(api.DELETE('/api/v1/admin/announcements/{id}', { params: { path: { id: one.id } } })), said: 'It is gone.', stale: [['announcements']] });
  const edit = (one: Announcement | null) => { setEditing(one); show(); };
  const columns: Column<Announcement>[] = [
    { name: 'Title', lead: true, cell: (row) => row.title },
    { name: 'Level', cell: (row) => <Status value={row.level} tone={LEVELS[row.level]} /> },
    { name: 'From', cell: (row) => <Ago at={row.starts_at} /> },
    { name: 'Until', cell: (row) => <Ago at={row.ends_at} none="it is removed" /> },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        {may(permissions, 'admin.announcements.update') && <Button size="xs" variant="default" onClick={() => edit(row)}>Change</Button>}
        {may(permissions, 'admin.announcements.delete') && <Button size="xs" variant="default" onClick={() => ask({ title: `Remove “${row.title}”?`, what: 'Nobody sees it any more.', button: 'Remove', then: () => remove.mutate(row) })}>Remove…</Button>}
      </Group>
    ) },
  ];
  const add = may(permissions, 'admin.announcements.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => edit(null)}>New announcement</Button>;
  return (
    <>
      <PageHeader title="Announcements" actions={add} />
      <Card><DataTable label="Announcements" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconSpeakerphone size={40} stroke={1.3} />, title: 'Nothing announced', what: 'Tell everybody about maintenance before it begins.', action: add }} /></Card>
      <Modal opened={open} onClose={close} title={editing ? 'Change announcement' : 'New announcement'} size="lg"><Form key={editing?.id ?? 'new'} editing={editing} close={close} /></Modal>
    </>
  );
}

function Form({ editing, close }: { editing: Announcement | null; close: () => void }) {
  const [title, setTitle] = useState(editing?.title ?? '');
  const [body, setBody] = useState(editing?.body ?? '');
  const [level, setLevel] = useState(editing?.level ?? 'info');
  const [from, setFrom] = useState(local(editing?.starts_at));
  const [until, setUntil] = useState(local(editing?.ends_at));
  const save = useAct({
    run: () => {
      const given = { title: title.trim(), body, level, starts_at: instant(from) ?? undefined, ends_at: instant(until) };
      return editing ? done(api.PATCH('/api/v1/admin/announcements/{id}', { params: { path: { id: editing.id } }, body: given })) : done(api.POST('/api/v1/admin/announcements', { body: given }));
    },
    said: 'Saved.', stale: [['announcements']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Title" required data-autofocus value={title} onChange={(event) => setTitle(event.currentTarget.value)} />
        <Textarea label="Text" autosize minRows={3} value={body} onChange={(event) => setBody(event.currentTarget.value)} />
        <SimpleGrid cols={{ base: 1, xs: 3 }}>
          <Select label="Level" data={Object.keys(LEVELS)} value={level} onChange={(value) => value && setLevel(value)} allowDeselect={false} />
          <TextInput label="From" type="datetime-local" value={from} onChange={(event) => setFrom(event.currentTarget.value)} />
          <TextInput label="Until" type="datetime-local" value={until} onChange={(event) => setUntil(event.currentTarget.value)} />
        </SimpleGrid>
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}
