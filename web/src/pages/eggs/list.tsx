// Admin > Eggs: what servers can be, imported from files of Pterodactyl or Pelican.
import { Button, Card, FileButton, Group, Modal, Stack, Text, Textarea } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconEgg, IconUpload } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { Link, useNavigate } from 'react-router';
import { api, take, takePage } from '../../api/client';
import { failureOf } from '../../api/failure';
import type { Egg } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { useAct } from '../../components/act';
import { Ago, Note, PageHeader } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { count } from '../../lib/format';

const COLUMNS: Column<Egg>[] = [
  { name: 'Name', lead: true, cell: (row) => <Link className="bp-link" to={`/admin/eggs/${row.id}`}>{row.name}</Link> },
  { name: 'Author', cell: (row) => row.author || '–' },
  { name: 'Format', cell: (row) => row.version },
  { name: 'Variables', end: true, cell: (row) => row.variables.length },
  { name: 'Notes', cell: (row) => (row.warnings.length > 0 ? <Status value={count(row.warnings.length, 'note')} tone="warn" /> : '–') },
  { name: 'Imported', end: true, cell: (row) => <Ago at={row.created_at} /> },
];

export default function Eggs() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['eggs', 'page', page], queryFn: () => takePage(api.GET('/api/v1/admin/eggs', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const add = may(permissions, 'admin.eggs.create') && <Button leftSection={<IconUpload size={16} />} onClick={show}>Import egg</Button>;
  return (
    <>
      <PageHeader title="Eggs" actions={add} />
      <Card>
        <DataTable label="Eggs" query={query} columns={COLUMNS} id={(row) => row.id} onPage={setPage}
          empty={{ icon: <IconEgg size={40} stroke={1.3} />, title: 'No eggs yet', what: 'An egg says how a game is installed, started and stopped. Any egg of Pterodactyl or Pelican can be imported.', action: add }} />
      </Card>
      <Modal opened={open} onClose={close} title="Import egg" size="lg"><Import close={close} /></Modal>
    </>
  );
}

function Import({ close }: { close: () => void }) {
  const navigate = useNavigate();
  const [text, setText] = useState('');
  const send = useAct({
    run: () => take(api.POST('/api/v1/admin/eggs/import', { params: {}, body: {}, bodySerializer: () => text })),
    said: (egg) => `${egg.name} is imported.`, stale: [['eggs']], quiet: true,
    then: (egg) => {
      close();
      void navigate(`/admin/eggs/${egg.id}`);
    },
  });
  return (
    <Stack gap="md">
      {send.error && <Note tone="bad" role="alert">{failureOf(send.error).full}</Note>}
      <Group gap="sm">
        <FileButton accept=".json,.yaml,.yml,application/json,application/yaml" onChange={(file) => void file?.text().then(setText)}>{(props) => <Button variant="default" leftSection={<IconUpload size={16} />} {...props}>Choose a file</Button>}</FileButton>
        <Text size="sm" c="dimmed">or paste it:</Text>
      </Group>
      <Textarea label="Egg" description="JSON or YAML: PTDL v1 and v2, PLCN v1 to v3" autosize minRows={8} maxRows={18} value={text} onChange={(event) => setText(event.currentTarget.value)} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: '0.8rem' } }} spellCheck={false} />
      <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button onClick={() => send.mutate()} loading={send.isPending} disabled={text.trim() === ''}>Import</Button></Group>
    </Stack>
  );
}
