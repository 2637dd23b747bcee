// What happens at this server by the clock: each schedule a time and tasks, one after the other.
import { ActionIcon, Button, Checkbox, Group, Modal, NumberInput, Select, Stack, Switch, Text, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconCalendarTime, IconPlayerPlay, IconPlus, IconTrash } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, done, pressKey, takePage, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { ask, useAct } from '../../components/act';
import { Ago, Note, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { DataTable, type Column } from '../../components/table';
import { count } from '../../lib/format';
import type { TabProps } from './server';

type Schedule = Schemas['ScheduleView'];
type Task = Schemas['Task'];

export default function Schedules({ server }: TabProps) {
  const path = { id: server.id };
  const key = ['server', server.id, 'schedules'];
  const [editing, setEditing] = useState<Schedule | null>(null);
  const [open, { open: show, close }] = useDisclosure(false);
  const query = useQuery({ queryKey: key, queryFn: () => takePage(api.GET('/api/v1/servers/{id}/schedules', { params: { path, query: { per_page: 100 } } })), refetchInterval: 10_000 });
  const of = (one: Schedule) => ({ path: { ...path, schedule_id: one.id } });
  const run = useAct({ run: (one: Schedule) => done(api.POST('/api/v1/servers/{id}/schedules/{schedule_id}/run', { params: { ...of(one), header: { 'Idempotency-Key': pressKey() } }, body: {} })), said: (_, one) => `${one.name} runs.`, stale: [key] });
  const enable = useAct({ run: (one: Schedule) => done(api.PATCH('/api/v1/servers/{id}/schedules/{schedule_id}', { params: of(one), body: { enabled: !one.enabled } })), stale: [key] });
  const remove = useAct({ run: (one: Schedule) => done(api.DELETE('/api/v1/servers/{id}/schedules/{schedule_id}', { params: of(one) })), said: (_, one) => `${one.name} is gone.`, stale: [key] });
  const edit = (one: Schedule | null) => { setEditing(one); show(); };
  const columns: Column<Schedule>[] = [
    { name: 'Name', lead: true, cell: (row) => row.name },
    { name: 'When', cell: (row) => <><span className="bp-mono">{row.cron}</span> <Text span size="sm" c="dimmed">{row.time_zone}</Text></> },
    { name: 'Does', cell: (row) => count(row.tasks.length, 'task') },
    { name: 'Next', cell: (row) => <Ago at={row.enabled ? row.next_run_at : null} none="not while it is off" /> },
    { name: 'Last', cell: (row) => (row.last_run ? <span title={row.last_run.message ?? undefined}><Status value={row.last_run.state} /></span> : '–') },
    { name: 'On', cell: (row) => <Switch checked={row.enabled} onChange={() => enable.mutate(row)} aria-label={`${row.name} is on`} /> },
    { name: '', end: true, cell: (row) => (
      <Group gap="xs" justify="flex-end" wrap="nowrap">
        <Button size="xs" variant="default" leftSection={<IconPlayerPlay size={14} />} onClick={() => run.mutate(row)}>Run</Button>
        <Button size="xs" variant="default" onClick={() => edit(row)}>Change</Button>
        <ActionIcon onClick={() => ask({ title: `Delete ${row.name}?`, what: 'It does not run any more.', button: 'Delete', then: () => remove.mutate(row) })} aria-label={`Delete ${row.name}`}><IconTrash size={18} /></ActionIcon>
      </Group>
    ) },
  ];
  return (
    <Section title="Schedules" actions={<Button size="xs" leftSection={<IconPlus size={16} />} onClick={() => edit(null)}>New schedule</Button>}>
      <DataTable label="Schedules" query={query} columns={columns} id={(row) => row.id} empty={{ icon: <IconCalendarTime size={40} stroke={1.3} />, title: 'No schedules', what: 'Restart every night, save every hour: a schedule does it by the clock. Schedules move with the server.' }} />
      <Modal opened={open} onClose={close} title={editing ? `Change ${editing.name}` : 'New schedule'} size="xl">{open && <Form server={server.id} editing={editing} close={close} stale={key} />}</Modal>
    </Section>
  );
}

const NIGHTLY: Task[] = [{ action: 'command', command: 'say Restart in a minute' }, { action: 'power', signal: 'restart', time_offset_s: 60 }];

function Form({ server, editing, close, stale }: { server: string; editing: Schedule | null; close: () => void; stale: string[] }) {
  const [name, setName] = useState(editing?.name ?? '');
  const [cron, setCron] = useState(editing?.cron ?? '0 4 * * *');
  const [zone, setZone] = useState(editing?.time_zone ?? Intl.DateTimeFormat().resolvedOptions().timeZone);
  const [online, setOnline] = useState(editing?.only_when_online ?? true);
  const [tasks, setTasks] = useState<Task[]>(editing?.tasks ?? NIGHTLY);
  const save = useAct({
    run: () => {
      const body = { name: name.trim(), cron, time_zone: zone, only_when_online: online, tasks };
      return editing
        ? done(api.PATCH('/api/v1/servers/{id}/schedules/{schedule_id}', { params: { path: { id: server, schedule_id: editing.id } }, body }))
        : done(api.POST('/api/v1/servers/{id}/schedules', { params: { path: { id: server } }, body }));
    },
    said: 'Saved.', stale: [stale], then: close, quiet: true,
  });
  const change = (index: number, task: Task) => setTasks(tasks.map((before, at) => (at === index ? task : before)));
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <TextInput label="Name" required data-autofocus value={name} onChange={(event) => setName(event.currentTarget.value)} />
        <Group grow align="flex-start">
          <TextInput label="When" description="Minute, hour, day, month, weekday" required value={cron} onChange={(event) => setCron(event.currentTarget.value)} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)' } }} />
          <TextInput label="Time zone" description="For example Europe/Berlin" required value={zone} onChange={(event) => setZone(event.currentTarget.value)} />
        </Group>
        <Checkbox label="Only while the server runs" checked={online} onChange={(event) => setOnline(event.currentTarget.checked)} />
        <Text fw={600} size="sm">Tasks</Text>
        {tasks.map((task, index) => <TaskRow key={index} number={index + 1} task={task} change={(next) => change(index, next)} remove={() => setTasks(tasks.filter((_, at) => at !== index))} />)}
        <Group><Button size="xs" variant="default" leftSection={<IconPlus size={14} />} onClick={() => setTasks([...tasks, { action: 'command', command: '' }])}>Add a task</Button></Group>
        <Group justify="flex-end"><Button variant="default" onClick={close}>Cancel</Button><Button type="submit" loading={save.isPending} disabled={tasks.length === 0}>Save</Button></Group>
      </Stack>
    </form>
  );
}

const SIGNALS = ['start', 'stop', 'restart', 'kill'] as const;

function fresh(action: string | null, wait: number): Task {
  if (action === 'power') return { action, signal: 'restart', time_offset_s: wait };
  if (action === 'backup') return { action, time_offset_s: wait };
  return { action: 'command', command: '', time_offset_s: wait };
}

function TaskRow({ number, task, change, remove }: { number: number; task: Task; change: (task: Task) => void; remove: () => void }) {
  const wait = task.time_offset_s ?? 0;
  return (
    <Group gap="xs" align="flex-end" role="group" aria-label={`Task ${number}`}>
      <NumberInput label="Wait" suffix=" s" min={0} w={100} value={wait} onChange={(value) => change({ ...task, time_offset_s: typeof value === 'number' ? value : 0 })} />
      <Select label="Do" w={130} allowDeselect={false} data={[{ value: 'command', label: 'Say a line' }, { value: 'power', label: 'Power' }, { value: 'backup', label: 'Back up' }]} value={task.action}
        onChange={(action) => change(fresh(action, wait))} />
      {task.action === 'backup'
        ? <TextInput label="Name of the backup" placeholder="the time" style={{ flex: 1, minWidth: 160 }} value={task.name ?? ''} onChange={(event) => change({ ...task, name: event.currentTarget.value || null })} />
        : task.action === 'command'
          ? <TextInput label="Line" style={{ flex: 1, minWidth: 160 }} value={task.command} onChange={(event) => change({ ...task, command: event.currentTarget.value })} />
          : <Select label="Signal" style={{ flex: 1 }} allowDeselect={false} data={[...SIGNALS]} value={task.signal} onChange={(signal) => signal && change({ ...task, signal })} />}
      <ActionIcon size="lg" onClick={remove} aria-label={`Remove task ${number}`}><IconTrash size={18} /></ActionIcon>
    </Group>
  );
}
