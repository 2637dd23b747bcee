// Settings > Webhooks: who is told what happens, and how that went.
import { Button, Card, Group, Menu, Modal, Stack, Switch, TagsInput, Text, TextInput } from '@mantine/core';
import { IconChevronDown, IconPlus, IconWebhook } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Note, PageHeader, Snippet } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';

type Webhook = Schemas['WebhookView'];
type Delivery = Schemas['DeliveryView'];
type Dialog = { kind: 'edit'; hook: Webhook | null } | { kind: 'secret'; hook: Webhook } | { kind: 'deliveries'; hook: Webhook };

const EVENTS = ['*', 'server.*', 'server.transfer.*', 'server.transfer.started', 'server.transfer.stage', 'server.transfer.completed', 'server.transfer.failed', 'server.transfer.rolled_back', 'node.*', 'node.offline', 'node.evacuation.*', 'node.evacuation.started', 'node.evacuation.completed', 'user.*'];

export default function Webhooks() {
  const { permissions } = useMe();
  const change = may(permissions, 'admin.webhooks.update');
  const [page, setPage] = usePage();
  const [dialog, setDialog] = useState<Dialog | null>(null);
  const stale = [['webhooks']];
  const query = useQuery({ queryKey: ['webhooks', page], queryFn: () => takePage(api.GET('/api/v1/admin/webhooks', { params: { query: { page } } })), placeholderData: keepPreviousData, refetchInterval: 10_000 });
  const of = (hook: Webhook) => ({ params: { path: { id: hook.id } } });
  const test = useAct({ run: (hook: Webhook) => done(api.POST('/api/v1/admin/webhooks/{id}/test', { ...of(hook), body: {} })), said: 'A test event is on its way; see its deliveries.', stale });
  const rotate = useAct({ run: (hook: Webhook) => take(api.POST('/api/v1/admin/webhooks/{id}/rotate-secret', { ...of(hook), body: {} })), then: (hook) => setDialog({ kind: 'secret', hook }), stale });
  const remove = useAct({ run: (hook: Webhook) => done(api.DELETE('/api/v1/admin/webhooks/{id}', of(hook))), said: (_, hook) => `${hook.name} is gone.`, stale });
  const columns: Column<Webhook>[] = [
    { name: 'Name', lead: true, cell: (row) => row.name },
    { name: 'URL', cell: (row) => <span className="bp-mono">{row.url}</span> },
    { name: 'Told', cell: (row) => <span className="bp-mono">{row.events.join(', ')}</span> },
    { name: 'State', cell: (row) => <span title={row.disabled_reason ?? undefined}><Status value={row.enabled ? (row.failing_since ? 'failing' : 'enabled') : 'disabled'} tone={row.enabled && row.failing_since ? 'bad' : undefined} /></span> },
    { name: '', end: true, cell: (row) => (
      <Menu position="bottom-end">
        <Menu.Target><Button size="xs" variant="default" rightSection={<IconChevronDown size={14} />} aria-label={`Actions for ${row.name}`}>Actions</Button></Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => setDialog({ kind: 'deliveries', hook: row })}>Deliveries</Menu.Item>
          {change && <Menu.Item onClick={() => test.mutate(row)}>Send a test</Menu.Item>}
          {change && <Menu.Item onClick={() => setDialog({ kind: 'edit', hook: row })}>Change…</Menu.Item>}
          {change && <Menu.Item onClick={() => ask({ title: `A new secret for ${row.name}?`, what: 'Signatures are made with the new secret from now on; the receiver must know it.', button: 'Make a new secret', then: () => rotate.mutate(row) })}>New secret…</Menu.Item>}
          {may(permissions, 'admin.webhooks.delete') && <Menu.Item c="var(--mantine-color-error)" onClick={() => ask({ title: `Delete ${row.name}?`, what: 'It is told nothing any more, also not what waits for it.', button: 'Delete', then: () => remove.mutate(row) })}>Delete…</Menu.Item>}
        </Menu.Dropdown>
      </Menu>
    ) },
  ];
  const add = may(permissions, 'admin.webhooks.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => setDialog({ kind: 'edit', hook: null })}>New webhook</Button>;
  const close = () => setDialog(null);
  const titles = { edit: dialog?.hook ? `Change ${dialog.hook.name}` : 'New webhook', secret: 'Secret', deliveries: `Deliveries to ${dialog?.hook?.name ?? ''}` };
  return (
    <>
      <PageHeader title="Webhooks" actions={add} />
      <Card><DataTable label="Webhooks" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconWebhook size={40} stroke={1.3} />, title: 'No webhooks', what: 'Another program is told by a signed request when a server moves, a node goes offline and so on.', action: add }} /></Card>
      <Modal opened={dialog !== null} onClose={close} title={dialog ? titles[dialog.kind] : ''} size={dialog?.kind === 'deliveries' ? 'xl' : 'lg'}>
        {dialog?.kind === 'edit' && <Form hook={dialog.hook} close={close} made={(hook) => setDialog({ kind: 'secret', hook })} />}
        {dialog?.kind === 'secret' && <Secret hook={dialog.hook} close={close} />}
        {dialog?.kind === 'deliveries' && <Deliveries hook={dialog.hook} />}
      </Modal>
    </>
  );
}

function Secret({ hook, close }: { hook: Webhook; close: () => void }) {
  return (
    <Stack gap="md">
      <Text size="sm">Requests are signed with this (HMAC-SHA256, header <code>X-Webhook-Signature</code>). It is shown now and never again.</Text>
      <Snippet label="Secret" value={hook.secret ?? ''} />
      <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
    </Stack>
  );
}

function Form({ hook, close, made }: { hook: Webhook | null; close: () => void; made: (hook: Webhook) => void }) {
  const [name, setName] = useState(hook?.name ?? '');
  const [url, setUrl] = useState(hook?.url ?? '');
  const [events, setEvents] = useState<string[]>(hook?.events ?? ['server.transfer.*']);
  const [enabled, setEnabled] = useState(hook?.enabled ?? true);
  const save = useAct({
    run: () => {
      const body = { name: name.trim(), url: url.trim(), events, enabled };
      return hook ? take(api.PATCH('/api/v1/admin/webhooks/{id}', { params: { path: { id: hook.id } }, body })) : take(api.POST('/api/v1/admin/webhooks', { body }));
    },
    stale: [['webhooks']], then: (saved) => (hook ? close() : made(saved)), quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <TextInput label="URL" required type="url" value={url} onChange={(event) => setUrl(event.currentTarget.value)} />
        <TagsInput label="Events" description="Words, or patterns with * at their end" data={EVENTS} value={events} onChange={setEvents} />
        <Switch label="Enabled" checked={enabled} onChange={(event) => setEnabled(event.currentTarget.checked)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending} disabled={events.length === 0}>Save</Button></Group>
      </Stack>
    </form>
  );
}

function Deliveries({ hook }: { hook: Webhook }) {
  const [page, setPage] = useState(1);
  const key = ['webhooks', hook.id, 'deliveries', page];
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/admin/webhooks/{id}/deliveries', { params: { path: { id: hook.id }, query: { page, per_page: 10 } } })), refetchInterval: 3_000 });
  const again = useAct({ run: (one: Delivery) => done(api.POST('/api/v1/admin/webhooks/{id}/deliveries/{delivery_id}/redeliver', { params: { path: { id: hook.id, delivery_id: one.id } }, body: {} })), said: 'It is sent again.', stale: [key] });
  const columns: Column<Delivery>[] = [
    { name: 'Event', lead: true, cell: (row) => <span className="bp-mono">{row.event}</span> },
    { name: 'State', cell: (row) => <span title={row.error ?? undefined}><Status value={row.state} /></span> },
    { name: 'Answer', cell: (row) => row.response_status ?? row.error ?? '–' },
    { name: 'Attempts', end: true, cell: (row) => row.attempts },
    { name: 'When', cell: (row) => <Ago at={row.created_at} /> },
    { name: '', end: true, cell: (row) => <Button size="xs" variant="default" onClick={() => again.mutate(row)}>Send again</Button> },
  ];
  return <DataTable label="Deliveries" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ title: 'Nothing was sent', what: 'Nothing has happened that this webhook is told.' }} />;
}
