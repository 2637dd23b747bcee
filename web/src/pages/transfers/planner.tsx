// Planning a migration: a target with what speaks for and against it, the address there, options, one button.
import { Alert, Button, Group, SimpleGrid, Stack, Text } from '@mantine/core';
import { IconArrowRight, IconRefresh } from '@tabler/icons-react';
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, pressKey, take, type Schemas } from '../../api/client';
import { usePlaceNames, type Server } from '../../api/queries';
import { useAct } from '../../components/act';
import { failureOf } from '../../api/failure';
import { Loaded, Note, Section } from '../../components/bits';
import { address } from '../../lib/format';
import { addressOf } from '../servers/list';
import { Checks } from './checks';
import { bodyOf, DEFAULTS, Options, type Chosen } from './options';
import { TargetCard } from './target';
import { AllocationChoice } from './allocation';

type Preflight = Schemas['PreflightView'];
export const targetId = (target: Preflight): string => target.node_id ?? target.cluster_id ?? '';
const targetOf = (target: Preflight) => (target.node_id ? { target_node_id: target.node_id } : { target_cluster_id: target.cluster_id });

export function Planner({ server, again }: { server: Server; again: boolean }) {
  const [chosenId, setChosenId] = useState<string | null>(null);
  const [allocation, setAllocation] = useState<string | null>(null);
  const [options, setOptions] = useState<Chosen>(DEFAULTS);
  const path = { params: { path: { id: server.id } } };
  const everywhere = useQuery({
    queryKey: ['preflight', server.id, options.mode, options.bandwidth],
    queryFn: () => take(api.POST('/api/v1/admin/servers/{id}/transfer/preflight', { ...path, body: { mode: options.mode, bandwidth_limit: bodyOf(options).bandwidth_limit } })),
    placeholderData: keepPreviousData,
    refetchInterval: 30_000,
  });
  const general = everywhere.data?.find((target) => targetId(target) === chosenId) ?? null;
  const precise = useQuery({
    queryKey: ['preflight', server.id, options.mode, options.bandwidth, chosenId, allocation],
    queryFn: () => take(api.POST('/api/v1/admin/servers/{id}/transfer/preflight', { ...path, body: { ...bodyOf(options), ...(general ? targetOf(general) : {}), allocation_id: allocation } })),
    enabled: general !== null && allocation !== null,
    placeholderData: keepPreviousData,
  });
  const chosen = (allocation !== null ? precise.data?.find((target) => targetId(target) === chosenId) : null) ?? general;
  const start = useAct({
    run: () => {
      if (!chosen) throw new Error('no target is chosen');
      return take(api.POST('/api/v1/admin/servers/{id}/transfer', { params: { ...path.params, header: { 'Idempotency-Key': pressKey() } }, body: { ...bodyOf(options), ...targetOf(chosen), allocation_id: allocation } }));
    },
    stale: [['transfer-of', server.id], ['server', server.id], ['nodes']],
    quiet: true,
  });
  const choose = (id: string) => {
    setChosenId(id);
    setAllocation(null);
    start.reset();
  };
  return (
    <Section title={again ? 'Migrate again' : 'Migrate this server'} actions={<Button size="xs" variant="subtle" color="gray" leftSection={<IconRefresh size={16} />} onClick={() => void everywhere.refetch()} loading={everywhere.isFetching}>Look again</Button>}>
      <Stack gap="lg">
        <Loaded query={everywhere} lines={6}>
          {(targets) => <Targets server={server} targets={targets} chosen={chosenId} choose={choose} />}
        </Loaded>
        {chosen && (
          <>
            <Checks target={chosen} />
            {chosen.node_id && <AllocationChoice node={chosen.node_id} value={allocation} change={setAllocation} />}
            <Preview server={server} target={chosen} />
            <Options value={options} change={setOptions} />
            {start.error && <Alert variant="default" role="alert" title="The panel refused it"><Text size="sm">{failureOf(start.error).full}</Text></Alert>}
            <Group gap="md">
              <Button size="md" onClick={() => start.mutate()} loading={start.isPending} disabled={!chosen.ok} rightSection={<IconArrowRight size={18} />} aria-describedby="start-why">Start Migration</Button>
              <Text size="sm" c="dimmed" id="start-why">{chosen.ok ? sentence(server, chosen, options) : 'It can begin once the obstacles above are out of the way.'}</Text>
            </Group>
          </>
        )}
      </Stack>
    </Section>
  );
}

function sentence(server: Server, target: Preflight, options: Chosen): string {
  if (server.status !== 'running') return `The files are copied to ${target.name}; the server is offline, so nobody waits.`;
  return options.mode === 'live' ? `It is played on while its files are copied to ${target.name}, then stops for a moment.` : `It is stopped first and stays so until all files are on ${target.name}.`;
}

function Targets({ server, targets, chosen, choose }: { server: Server; targets: Preflight[]; chosen: string | null; choose: (id: string) => void }) {
  // Where it can go stands first.
  const sorted = [...targets].sort((a, b) => Number(b.ok) - Number(a.ok) || a.name.localeCompare(b.name));
  if (sorted.length === 0) return <Note tone="calm">There is no other node or cluster. Add one under Nodes or Clusters, then it can be chosen here.</Note>;
  return (
    <fieldset className="bp-plain">
      <legend>Target</legend>
      <SimpleGrid cols={{ base: 1, sm: 2, lg: 3 }} spacing="sm">
        {sorted.map((target) => <TargetCard key={targetId(target)} server={server} target={target} checked={targetId(target) === chosen} choose={() => choose(targetId(target))} />)}
      </SimpleGrid>
    </fieldset>
  );
}

/** Another address, or a variable that follows a port. */
function Moved({ name, before, after }: { name?: string; before: string | null; after: string | null }) {
  return (
    <>
      <span className="bp-mono">{name && `${name}=`}{before ?? '–'}</span>
      <IconArrowRight size={16} aria-label="becomes" />
      <span className="bp-mono bp-end">{name && `${name}=`}{after ?? '–'}</span>
    </>
  );
}

function Preview({ server, target }: { server: Server; target: Preflight }) {
  const nameOf = usePlaceNames();
  return (
    <div className="bp-route bp-preview" role="group" aria-label="Address before and after">
      <div><Text size="xs" c="dimmed">Now, on {nameOf(server)}</Text><span className="bp-mono">{addressOf(server) ?? '–'}</span></div>
      <IconArrowRight size={20} aria-label="becomes" />
      <div><Text size="xs" c="dimmed">Then, on {target.name}</Text><strong className="bp-mono">{address(target.allocation) ?? 'chosen by the cluster'}</strong></div>
      {target.allocations.filter(({ is_primary }) => !is_primary).map((moved) => <Moved key={`${address(moved.old) ?? ''}-${address(moved.new) ?? ''}`} before={address(moved.old)} after={address(moved.new)} />)}
      {target.variables.map((moved) => <Moved key={moved.name} name={moved.name} before={moved.old} after={moved.new} />)}
    </div>
  );
}
