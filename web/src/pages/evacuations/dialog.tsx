// Moving several servers at once: a target for all of them, the plan, then the start.
import { Button, Checkbox, Group, List, NumberInput, Select, Stack, Text } from '@mantine/core';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { useNavigate } from 'react-router';
import { api, pressKey, type Schemas } from '../../api/client';
import { ApiFailure, failureOf } from '../../api/failure';
import { useClusters, useNodes } from '../../api/queries';
import { useAct } from '../../components/act';
import { Loaded, Note } from '../../components/bits';
import { bytes, count, mebibytes, seconds, whole } from '../../lib/format';

type Plan = Schemas['PlanView'];
type Evacuation = Schemas['EvacuationView'];
export type Leaving = { server_ids: string[] } | { node_id: string } | { cluster_id: string };

/** The route answers with a plan or with what was started; which, is decided by `dry_run`. */
async function ask<T>(body: Schemas['StartEvacuation']): Promise<T> {
  const { data, error, response } = await api.POST('/api/v1/admin/evacuations', { params: { header: { 'Idempotency-Key': pressKey() } }, body });
  if (!response.ok || data === undefined) throw ApiFailure.from(response, error);
  return data.data as unknown as T;
}

export function Evacuate({ leaving, close }: { leaving: Leaving; close: () => void }) {
  const navigate = useNavigate();
  const nodes = useNodes().data ?? [];
  const clusters = useClusters().data ?? [];
  const [target, setTarget] = useState<string | null>(null);
  const [concurrency, setConcurrency] = useState<number | string>(2);
  const [cordon, setCordon] = useState(true);
  const place = 'server_ids' in leaving ? null : 'node_id' in leaving ? leaving.node_id : leaving.cluster_id;
  const [kind, id] = target?.split(':') ?? [];
  const body = { ...leaving, ...(kind === 'cluster' ? { target_cluster_id: id } : { target_node_id: id }), concurrency: Number(concurrency) || 2, cordon: place === null ? undefined : cordon };
  const plan = useQuery({ queryKey: ['evacuation-plan', body], queryFn: () => ask<Plan>({ ...body, dry_run: true }), enabled: target !== null, placeholderData: keepPreviousData, retry: false });
  const start = useAct({
    run: () => ask<Evacuation>({ ...body, dry_run: false }),
    said: 'It has begun.', stale: [['evacuations'], ['servers'], ['nodes']],
    then: (begun) => { close(); void navigate(`/admin/evacuations/${begun.id}`); }, quiet: true,
  });
  const choices = [...nodes.map((node) => ({ value: `node:${node.id}`, label: node.name })), ...clusters.map((cluster) => ({ value: `cluster:${cluster.id}`, label: `${cluster.name} (cluster)` }))].filter(({ value }) => !place || !value.endsWith(place));
  return (
    <Stack gap="md">
      {start.error && <Note tone="bad" role="alert">{failureOf(start.error).full}</Note>}
      <Select label="Target for all of them" placeholder="Choose" data={choices} value={target} onChange={setTarget} allowDeselect={false} searchable data-autofocus />
      <NumberInput label="At a time" description="The next one starts when the one before it is healthy and verified" min={1} max={32} allowDecimal={false} value={concurrency} onChange={setConcurrency} maw={240} />
      {place !== null && <Checkbox label="Take no new servers here from now on" checked={cordon} onChange={(event) => setCordon(event.currentTarget.checked)} />}
      {target !== null && <Loaded query={plan} lines={3}>{(found) => <PlanSummary plan={found} />}</Loaded>}
      <Group justify="flex-end">
        <Button variant="default" onClick={close}>Cancel</Button>
        <Button onClick={() => start.mutate()} loading={start.isPending} disabled={!plan.data || plan.data.movable === 0}>Start moving {plan.data ? count(plan.data.movable, 'server') : ''}</Button>
      </Group>
    </Stack>
  );
}

function PlanSummary({ plan }: { plan: Plan }) {
  const blocked = plan.servers.filter(({ ok }) => !ok);
  return (
    <Stack gap="sm">
      <Text size="sm">
        {whole(plan.movable)} of {count(plan.servers.length, 'server')} can move now{plan.bytes != null && `, ${bytes(plan.bytes)}`}{plan.estimated_duration_s != null && `, about ${seconds(plan.estimated_duration_s)}`}.
      </Text>
      {plan.targets.map((one) => (
        <Text key={one.name} size="sm" c="dimmed">
          {one.name}: needs {mebibytes(one.memory_mb.needed)} of memory{one.memory_mb.free != null && ` (${mebibytes(one.memory_mb.free)} free)`}, {mebibytes(one.disk_mb.needed)} of disk{one.disk_mb.free != null && ` (${mebibytes(one.disk_mb.free)} free)`}, {count(one.allocations.needed, 'address', 'addresses')}{one.allocations.free != null && ` (${one.allocations.free} free)`}
        </Text>
      ))}
      {blocked.length > 0 && (
        <Note tone="warn">
          <Text size="sm" fw={600}>Not possible now; they are tried when their turn comes, and the rest goes on</Text>
          <List size="sm">{blocked.map((one) => <List.Item key={one.server_id}>{one.name}: {one.checks.find(({ level }) => level === 'error')?.message ?? 'refused'}</List.Item>)}</List>
        </Note>
      )}
    </Stack>
  );
}
