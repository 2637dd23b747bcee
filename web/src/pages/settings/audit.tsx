// Settings > Audit: who did what, and when.
import { Card, Code, Group, TextInput } from '@mantine/core';
import { useDebouncedCallback } from '@mantine/hooks';
import { IconHistory } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, takePage, type Schemas } from '../../api/client';
import { Actor, Ago, PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { useAddressState, usePage } from '../../lib/address';

const COLUMNS: Column<Schemas['EntryView']>[] = [
  { name: 'What', lead: true, cell: (row) => <span className="bp-mono">{row.action}</span> },
  { name: 'Who', cell: (row) => <Actor of={row.actor} /> },
  { name: 'On', cell: (row) => <span className="bp-mono" title={row.subject}>{row.subject.length > 36 ? `${row.subject.slice(0, 36)}…` : row.subject}</span> },
  { name: 'Details', cell: (row) => <Code className="bp-details">{JSON.stringify(row.details)}</Code> },
  { name: 'When', end: true, cell: (row) => <Ago at={row.at} /> },
];

export default function Audit() {
  const [page, setPage] = usePage();
  const [action, setAction] = useAddressState('action');
  const [subject, setSubject] = useAddressState('subject');
  const query = useQuery({
    queryKey: ['audit', page, action, subject],
    queryFn: () => takePage(api.GET('/api/v1/admin/audit', { params: { query: { page, 'filter[action]': action || undefined, 'filter[subject]': subject || undefined } } })),
    placeholderData: keepPreviousData, refetchInterval: 10_000,
  });
  return (
    <>
      <PageHeader title="Audit" />
      <Card>
        <Group mb="md" gap="sm">
          <Filter label="Action" placeholder="transfer.start" value={action} change={setAction} />
          <Filter label="Subject" placeholder="An id" value={subject} change={setSubject} />
        </Group>
        <DataTable label="Audit" query={query} columns={COLUMNS} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconHistory size={40} stroke={1.3} />, title: 'Nothing', what: 'Nothing fits what you are looking for.' }} />
      </Card>
    </>
  );
}

function Filter({ label, placeholder, value, change }: { label: string; placeholder: string; value: string; change: (value: string) => void }) {
  const [typed, setTyped] = useState(value);
  const search = useDebouncedCallback(change, 300);
  return <TextInput label={label} placeholder={placeholder} value={typed} onChange={(event) => { setTyped(event.currentTarget.value); search(event.currentTarget.value); }} style={{ flex: '1 1 12rem' }} />;
}
