// Settings > DNS zones: where names of servers are written, by signed updates.
import { Button, Card, Group, Modal, NumberInput, PasswordInput, Select, SimpleGrid, Stack, TextInput } from '@mantine/core';
import { IconPlus, IconWorldWww } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, take, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { may, useMe } from '../../api/session';
import { ask, tell, tellFailure, useAct } from '../../components/act';
import { Note, PageHeader } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { usePage } from '../../lib/address';
import { seconds } from '../../lib/format';

type Zone = Schemas['ZoneView'];

export default function DnsZones() {
  const { permissions } = useMe();
  const [page, setPage] = usePage();
  const [dialog, setDialog] = useState<{ zone: Zone | null } | null>(null);
  const query = useQuery({ queryKey: ['dns-zones', page], queryFn: () => takePage(api.GET('/api/v1/admin/dns-zones', { params: { query: { page } } })), placeholderData: keepPreviousData });
  const of = (zone: Zone) => ({ params: { path: { id: zone.id } } });
  const test = useAct({
    run: (zone: Zone) => take(api.POST('/api/v1/admin/dns-zones/{id}/test', { ...of(zone), body: {} })),
    then: (found, zone) => (found.ok ? tell(`${zone.name} takes our updates.`) : tellFailure(new Error(found.error ?? 'It takes no updates.'), `${zone.name} cannot be used`)),
  });
  const remove = useAct({ run: (zone: Zone) => done(api.DELETE('/api/v1/admin/dns-zones/{id}', of(zone))), said: (_, zone) => `${zone.name} is gone.`, stale: [['dns-zones']] });
  const columns: Column<Zone>[] = [
    { name: 'Zone', lead: true, cell: (row) => row.name },
    { name: 'Server', cell: (row) => <span className="bp-mono">{row.server}</span> },
    { name: 'Key', cell: (row) => <span className="bp-mono">{row.key_name} ({row.key_algorithm})</span> },
    { name: 'Time to live', end: true, cell: (row) => seconds(row.ttl) },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        {may(permissions, 'admin.dns-zones.update') && <Button size="xs" variant="default" onClick={() => test.mutate(row)}>Test</Button>}
        {may(permissions, 'admin.dns-zones.update') && <Button size="xs" variant="default" onClick={() => setDialog({ zone: row })}>Change</Button>}
        {may(permissions, 'admin.dns-zones.delete') && <Button size="xs" variant="default" onClick={() => ask({ title: `Remove ${row.name}?`, what: 'The zone itself is not touched. No server may have a name in it.', button: 'Remove', then: () => remove.mutate(row) })}>Remove…</Button>}
      </Group>
    ) },
  ];
  const add = may(permissions, 'admin.dns-zones.create') && <Button leftSection={<IconPlus size={16} />} onClick={() => setDialog({ zone: null })}>Add zone</Button>;
  return (
    <>
      <PageHeader title="DNS zones" actions={add} />
      <Card><DataTable label="DNS zones" query={query} columns={columns} id={(row) => row.id} onPage={setPage} empty={{ icon: <IconWorldWww size={40} stroke={1.3} />, title: 'No zones', what: 'A zone on a name server that takes signed updates (RFC 2136). Names of servers in it follow them when they move.', action: add }} /></Card>
      <Modal opened={dialog !== null} onClose={() => setDialog(null)} title={dialog?.zone ? `Change ${dialog.zone.name}` : 'Add zone'} size="lg">{dialog && <Form zone={dialog.zone} close={() => setDialog(null)} />}</Modal>
    </>
  );
}

const ALGORITHMS = ['hmac-sha256', 'hmac-sha384', 'hmac-sha512'];

function Form({ zone, close }: { zone: Zone | null; close: () => void }) {
  const [text, setText] = useState({ name: zone?.name ?? '', server: zone?.server ?? '', key_name: zone?.key_name ?? '' });
  const [algorithm, setAlgorithm] = useState(zone?.key_algorithm ?? 'hmac-sha256');
  const [secret, setSecret] = useState('');
  const [ttl, setTtl] = useState<number | string>(zone?.ttl ?? 300);
  const save = useAct({
    run: () => {
      const body = { server: text.server.trim(), key_name: text.key_name.trim(), key_algorithm: algorithm, ttl: Number(ttl) };
      return zone
        ? done(api.PATCH('/api/v1/admin/dns-zones/{id}', { params: { path: { id: zone.id } }, body: { ...body, key_secret: secret || undefined } }))
        : done(api.POST('/api/v1/admin/dns-zones', { body: { ...body, name: text.name.trim(), key_secret: secret } }));
    },
    said: 'Saved.', stale: [['dns-zones']], then: close, quiet: true,
  });
  const field = (name: keyof typeof text) => ({ value: text[name], onChange: (event: { currentTarget: { value: string } }) => setText({ ...text, [name]: event.currentTarget.value }) });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Zone" required data-autofocus placeholder="play.example" readOnly={zone !== null} {...field('name')} />
        <SimpleGrid cols={{ base: 1, xs: 2 }}>
          <TextInput label="Name server" required placeholder="ns1.example:53" {...field('server')} />
          <NumberInput label="Time to live" suffix=" s" min={1} value={ttl} onChange={setTtl} />
          <TextInput label="Key name" required autoComplete="off" {...field('key_name')} />
          <Select label="Algorithm" data={ALGORITHMS.includes(algorithm) ? ALGORITHMS : [algorithm, ...ALGORITHMS]} value={algorithm} onChange={(value) => value && setAlgorithm(value)} allowDeselect={false} />
        </SimpleGrid>
        <PasswordInput label="Secret" description="Base64, as the name server has it" required={!zone} placeholder={zone ? 'As it is' : ''} autoComplete="new-password" value={secret} onChange={(event) => setSecret(event.currentTarget.value)} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the secret', tabIndex: 0 }} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending}>Save</Button></Group>
      </Stack>
    </form>
  );
}
