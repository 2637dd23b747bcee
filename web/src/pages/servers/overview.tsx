// What a server is, and its console.
import { Grid } from '@mantine/core';
import { useEggs, usePlaceNames } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { Ago, cores, Copy, Facts, millicores, Section } from '../../components/bits';
import { mebibytes } from '../../lib/format';
import { Console } from './console';
import { addressOf } from './list';
import type { TabProps } from './server';

export default function Overview({ server, scope }: TabProps) {
  const address = addressOf(server);
  const cpu = server.deployment_type === 'daemon' ? cores(server.cpu_limit) : millicores(server.cpu_limit);
  return (
    <Grid gap="md">
      <Grid.Col span={{ base: 12, lg: 8 }}><Console server={server} /></Grid.Col>
      <Grid.Col span={{ base: 12, lg: 4 }}>
        <Section title="About">
          <Facts rows={[
            ['Address', address && <><span className="bp-mono">{address}</span> <Copy value={address} label="Copy the address" /></>],
            ['Memory', server.memory_limit > 0 ? mebibytes(server.memory_limit) : 'no limit'],
            ['Disk', server.disk_limit > 0 ? mebibytes(server.disk_limit) : 'no limit'],
            ['CPU', server.cpu_limit > 0 ? cpu : 'no limit'],
            ['Image', server.docker_image && <span className="bp-mono">{server.docker_image}</span>],
            ['Id', <span key="id" className="bp-mono">{server.id}</span>],
            ['Made', <Ago key="made" at={server.created_at} />],
          ]} />
          {scope === 'admin' && <AdminFacts server={server} />}
        </Section>
      </Grid.Col>
    </Grid>
  );
}

function AdminFacts({ server }: Pick<TabProps, 'server'>) {
  const { permissions } = useMe();
  const nameOf = usePlaceNames();
  return (
    <Facts rows={[
      [server.node_id ? 'Node' : 'Cluster', nameOf(server)],
      ['Egg', may(permissions, 'admin.eggs.list') ? <EggName key="egg" id={server.egg_id} /> : null],
      ['Epoch', server.epoch],
    ]} />
  );
}

function EggName({ id }: { id: string }) {
  return <>{useEggs().data?.find((egg) => egg.id === id)?.name ?? id.slice(0, 8)}</>;
}
