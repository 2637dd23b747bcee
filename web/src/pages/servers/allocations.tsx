// The addresses of a server. All of them move with it.
import { Badge, Button, Group, Modal, Select, Stack, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconPlus } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, pressKey, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useAllocations } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Note, Section } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { address } from '../../lib/format';
import { Names } from './names';
import type { TabProps } from './server';

type Address = Schemas['ServerAllocationView'];

export default function Allocations({ server, scope }: TabProps) {
  const { permissions } = useMe();
  const path = { id: server.id };
  const stale = [['server', server.id], ['allocations'], ['nodes']];
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: ['server', server.id, 'allocations'], queryFn: () => takePage(api.GET('/api/v1/servers/{id}/allocations', { params: { path, query: { per_page: 100 } } })) });
  const of = (one: Address) => ({ params: { path: { ...path, allocation_id: one.id } } });
  const first = useAct({ run: (one: Address) => done(api.PATCH('/api/v1/servers/{id}/allocations/{allocation_id}', { ...of(one), body: { is_primary: true } })), said: 'It is the first address from the next start on.', stale });
  const remove = useAct({ run: (one: Address) => done(api.DELETE('/api/v1/servers/{id}/allocations/{allocation_id}', of(one))), said: 'The address is free.', stale });
  const columns: Column<Address>[] = [
    { name: 'Address', lead: true, cell: (row) => <Group gap="xs"><span className="bp-mono">{address(row)}</span>{row.is_primary && <Badge variant="default">first</Badge>}</Group> },
    { name: 'Alias', cell: (row) => row.ip_alias ?? '–' },
    { name: 'Notes', cell: (row) => row.notes || '–' },
    { name: '', end: true, cell: (row) => (row.is_primary ? null : (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        <Button size="xs" variant="default" onClick={() => first.mutate(row)}>Make it the first</Button>
        <Button size="xs" variant="default" onClick={() => ask({ title: `Give up ${address(row) ?? ''}?`, what: 'Another server may get it.', button: 'Give it up', then: () => remove.mutate(row) })}>Give up…</Button>
      </Group>
    )) },
  ];
  const free = scope === 'admin' && server.node_id != null && may(permissions, 'admin.allocations.list');
  return (
    <Stack gap="md">
      <Section title="Allocations" actions={<Button size="xs" leftSection={<IconPlus size={16} />} onClick={show} disabled={server.locked}>Add address</Button>}>
      <DataTable label="Allocations" query={query} columns={columns} id={(row) => row.id} empty={{ title: 'No addresses', what: 'This server is reached by the address of its cluster.' }} />
      <Modal opened={open} onClose={close} title="Add address">{open && <Add server={server.id} node={free ? server.node_id ?? null : null} close={close} stale={stale} />}</Modal>
    </Section>
    <Names server={server.id} />
    </Stack>
  );
}

function Add({ server, node, close, stale }: { server: string; node: string | null; close: () => void; stale: string[][] }) {
  const free = useAllocations({ node: node ?? undefined, free: true }, node !== null);
  const [chosen, setChosen] = useState<string | null>(null);
  const [notes, setNotes] = useState('');
  const add = useAct({ run: () => done(api.POST('/api/v1/servers/{id}/allocations', { params: { path: { id: server }, header: { 'Idempotency-Key': pressKey() } }, body: { allocation_id: chosen ?? undefined, notes } })), said: 'The server has it from its next start on.', stale, then: close, quiet: true });
  return (
    <form onSubmit={(event) => { event.preventDefault(); add.mutate(); }}>
      <Stack gap="md">
        {add.error && <Note tone="bad" role="alert">{failureOf(add.error).full}</Note>}
        {node !== null && <Select label="Address" placeholder="The next free one" clearable searchable data={(free.data ?? []).map((one) => ({ value: one.id, label: address(one) ?? '' }))} value={chosen} onChange={setChosen} nothingFoundMessage="No free address" />}
        <TextInput label="Notes" description="What it is for" value={notes} onChange={(event) => setNotes(event.currentTarget.value)} data-autofocus />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={add.isPending}>Add</Button></Group>
      </Stack>
    </form>
  );
}
