// One cluster: its capacity, what its orchestrator has found, its servers, and its end.
import { Button, Grid, Modal } from '@mantine/core';
import { IconArrowsExchange, IconKey } from '@tabler/icons-react';
import { useDisclosure } from '@mantine/hooks';
import { useState } from 'react';
import { useNavigate, useParams } from 'react-router';
import { api, done, take } from '../../api/client';
import { useCluster, type Cluster } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Facts, Loaded, PageHeader, Section } from '../../components/bits';
import { Status } from '../../components/status';
import { Evacuate } from '../evacuations/dialog';
import { ServersOn } from '../nodes/servers-on';
import { Join } from './list';
import { Usage } from './usage';

export default function ClusterPage() {
  const { id = '' } = useParams();
  return (
    <Loaded query={useCluster(id)}>
      {(cluster) => (
        <>
          <PageHeader title={cluster.name} badge={<Status value={cluster.status} />} crumb={{ label: 'Clusters', to: '/admin/clusters' }} actions={<Actions cluster={cluster} />} />
          <Grid gap="md">
            <Grid.Col span={{ base: 12, md: 6 }}><Section title="Capacity"><Usage cluster={cluster} /></Section></Grid.Col>
            <Grid.Col span={{ base: 12, md: 6 }}>
              <Section title="Orchestrator">
                <Facts rows={[
                  ['Kubernetes', cluster.facts?.kubernetes ?? 'its orchestrator has not joined yet'],
                  ['Machines', cluster.facts?.nodes],
                  ['Address', cluster.address ?? cluster.facts?.address],
                  ['Storage class', cluster.facts?.storage_class],
                  ['Node ports', cluster.facts?.node_ports ? `${cluster.facts.node_ports.first}–${cluster.facts.node_ports.last}` : null],
                  ['Software', cluster.version],
                  ['Last seen', <Ago key="seen" at={cluster.last_seen_at} />],
                  ['Id', <span key="id" className="bp-mono">{cluster.id}</span>],
                ]} />
              </Section>
            </Grid.Col>
            <Grid.Col span={12}><Section title="Servers"><ServersOn cluster={cluster.id} /></Section></Grid.Col>
          </Grid>
        </>
      )}
    </Loaded>
  );
}

function Actions({ cluster }: { cluster: Cluster }) {
  const { permissions } = useMe();
  const navigate = useNavigate();
  const [made, setMade] = useState<Cluster | null>(null);
  const [leaving, { open: leave, close: stay }] = useDisclosure(false);
  const path = { params: { path: { id: cluster.id } } };
  const stale = [['clusters']];
  const cordon = useAct({ run: (cordoned: boolean) => take(api.PATCH('/api/v1/admin/clusters/{id}', { ...path, body: { cordoned } })), said: (_, cordoned) => (cordoned ? 'It takes no new servers.' : 'It takes servers again.'), stale });
  const token = useAct({ run: () => take(api.POST('/api/v1/admin/clusters/{id}/enrolment-token', path)), then: setMade });
  const remove = useAct({ run: () => done(api.DELETE('/api/v1/admin/clusters/{id}', path)), said: `${cluster.name} is deleted.`, stale, then: () => void navigate('/admin/clusters') });
  const really = () => ask({ title: `Delete ${cluster.name}?`, what: 'The panel forgets the cluster; its orchestrator cannot come back with what it has. It must have no servers.', button: 'Delete the cluster', then: () => remove.mutate() });
  return (
    <>
      {may(permissions, 'admin.nodes.evacuate') && <Button leftSection={<IconArrowsExchange size={16} />} onClick={leave}>Evacuate…</Button>}
      {may(permissions, 'admin.clusters.update') && (
        <>
          <Button variant="default" onClick={() => cordon.mutate(!cluster.cordoned)} loading={cordon.isPending}>{cluster.cordoned ? 'Uncordon' : 'Cordon'}</Button>
          <Button variant="default" leftSection={<IconKey size={16} />} onClick={() => token.mutate()} loading={token.isPending}>New command</Button>
        </>
      )}
      {may(permissions, 'admin.clusters.delete') && <Button variant="default" onClick={really} loading={remove.isPending}>Delete…</Button>}
      <Modal opened={leaving} onClose={stay} title={`Evacuate ${cluster.name}`} size="lg">{leaving && <Evacuate leaving={{ cluster_id: cluster.id }} close={stay} />}</Modal>
      <Modal opened={made !== null} onClose={() => setMade(null)} title={`Join ${cluster.name}`} size="lg">{made && <Join cluster={made} close={() => setMade(null)} />}</Modal>
    </>
  );
}
