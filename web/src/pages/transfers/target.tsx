// One candidate: what it has left, and what the preflight says.
import { Group, Stack, Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { useCapacity, useCluster, type Server } from '../../api/queries';
import { Capacity, cores, millicores } from '../../components/bits';
import { Status } from '../../components/status';
import { count, mebibytes, rate, seconds, whole } from '../../lib/format';

type Preflight = Schemas['PreflightView'];

export function TargetCard({ server, target, checked, choose }: { server: Server; target: Preflight; checked: boolean; choose: () => void }) {
  const errors = target.checks.filter(({ level }) => level === 'error').length;
  const warnings = target.checks.filter(({ level }) => level === 'warning').length;
  return (
    <label className="bp-target">
      <Stack gap="xs">
        <Group justify="space-between" wrap="nowrap" gap="xs">
          <Group gap="xs" wrap="nowrap" style={{ minWidth: 0 }}>
            <input type="radio" name="target" checked={checked} onChange={choose} aria-label={`${target.name}${target.ok ? '' : ', not possible now'}`} />
            <Text fw={650} truncate>{target.name}</Text>
          </Group>
          {errors > 0 ? <Status value={count(errors, 'obstacle')} tone="bad" /> : warnings > 0 ? <Status value={count(warnings, 'warning')} tone="warn" /> : <Status value="Ready" tone="good" />}
        </Group>
        <Text size="xs" c="dimmed">{target.node_id ? 'Daemon node' : 'Kubernetes cluster'}</Text>
        {target.node_id ? <NodeBars id={target.node_id} server={server} /> : <ClusterBars id={target.cluster_id ?? ''} server={server} />}
        <Text size="xs">{estimate(target)}</Text>
      </Stack>
    </label>
  );
}

function estimate(target: Preflight): string {
  const parts = [
    target.estimated_duration_s != null ? `about ${seconds(target.estimated_duration_s)} in all` : null,
    target.estimated_freeze_s == null ? null : target.estimated_freeze_s > 0 ? `${seconds(target.estimated_freeze_s)} of freeze` : 'no freeze',
    target.path != null ? `${target.path} path${target.bandwidth != null ? ` at ${rate(target.bandwidth)}` : ''}` : null,
  ].filter((part) => part !== null);
  return parts.length > 0 ? parts.join(', ') : 'No estimate yet: nothing was copied between the two before.';
}

function NodeBars({ id, server }: { id: string; server: Server }) {
  const { data } = useCapacity(id);
  return (
    <Stack gap={6} mih={132}>
      {data && (
        <>
          <Capacity label="Memory" share={data.memory_mb} show={mebibytes} more={server.memory_limit} />
          <Capacity label="Disk" share={data.disk_mb} show={mebibytes} more={server.disk_limit} />
          <Capacity label="CPU" share={data.cpu_percent} show={cores} more={server.deployment_type === 'daemon' ? server.cpu_limit : server.cpu_limit / 10} />
          <Capacity label="Addresses" share={data.allocations} show={whole} more={1} countable />
        </>
      )}
    </Stack>
  );
}

function ClusterBars({ id, server }: { id: string; server: Server }) {
  const { data } = useCluster(id);
  return (
    <Stack gap={6} mih={132}>
      {data && (
        <>
          <Capacity label="Memory" share={data.usage.memory_mb} show={mebibytes} more={server.memory_limit} />
          <Capacity label="Disk" share={data.usage.disk_mb} show={mebibytes} more={server.disk_limit} />
          <Capacity label="CPU" share={data.usage.cpu_millicores} show={millicores} more={server.deployment_type === 'daemon' ? server.cpu_limit * 10 : server.cpu_limit} />
        </>
      )}
    </Stack>
  );
}
