// Settings > Feature Flags: what may be used at all.
import { Card, Group, Stack, Switch, Text } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { api, take, type Schemas } from '../../api/client';
import { may, useMe } from '../../api/session';
import { useAct } from '../../components/act';
import { Loaded, PageHeader } from '../../components/bits';
import { words } from '../../lib/format';

const SAID: Record<string, string> = {
  server_transfers: 'Servers may be moved between nodes and clusters. While it is off no migration can be started; those that run go on.',
};

export default function Flags() {
  const query = useQuery({ queryKey: ['flags'], queryFn: () => take(api.GET('/api/v1/admin/feature-flags')) });
  return (
    <>
      <PageHeader title="Feature Flags" />
      <Card maw={760}><Loaded query={query} lines={2}>{(flags) => <Stack gap="lg">{flags.map((flag) => <Flag key={flag.name} flag={flag} />)}</Stack>}</Loaded></Card>
    </>
  );
}

function Flag({ flag }: { flag: Schemas['FlagView'] }) {
  const { permissions } = useMe();
  const set = useAct({
    run: (enabled: boolean) => take(api.PATCH('/api/v1/admin/feature-flags/{name}', { params: { path: { name: flag.name } }, body: { enabled } })),
    said: ({ enabled }) => `${words(flag.name)} ${enabled ? 'is on' : 'is off'}.`,
    stale: [['flags'], ['preflight']],
  });
  return (
    <Group justify="space-between" wrap="nowrap" align="flex-start" gap="md">
      <div>
        <Text fw={600} id={`flag-${flag.name}`}>{words(flag.name)}</Text>
        <Text size="sm" c="dimmed">{SAID[flag.name] ?? flag.name}</Text>
      </div>
      <Switch size="md" checked={set.isPending ? set.variables : flag.enabled} onChange={(event) => set.mutate(event.currentTarget.checked)} disabled={!may(permissions, 'admin.feature-flags.update') || set.isPending} aria-labelledby={`flag-${flag.name}`} />
    </Group>
  );
}
