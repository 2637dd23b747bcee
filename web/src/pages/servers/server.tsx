// One server, for admins (with the Transfer tab) and for its owner: the same tabs, other rights.
import { Stack, Tabs } from '@mantine/core';
import { lazy, Suspense, type ComponentType } from 'react';
import { useNavigate, useParams } from 'react-router';
import { useServer, type Scope, type Server } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { Loaded, Note, PageHeader, Waiting } from '../../components/bits';
import { MovingBanner } from './moving';
import { PowerButtons } from './power';
import { ServerStatus } from './status';

export interface TabProps {
  server: Server;
  scope: Scope;
}

interface Tab {
  path: string;
  label: string;
  page: ComponentType<TabProps>;
  /** A permission of a role that is needed; owners need none of those. */
  permission?: string;
  /** Only for admins. */
  admin?: boolean;
}

const TABS: Tab[] = [
  { path: 'overview', label: 'Overview', page: lazy(() => import('./overview')) },
  { path: 'transfer', label: 'Transfer', page: lazy(() => import('../transfers/tab')), permission: 'admin.servers.transfer', admin: true },
  { path: 'startup', label: 'Startup', page: lazy(() => import('./startup')), permission: 'admin.servers.update' },
  { path: 'allocations', label: 'Allocations', page: lazy(() => import('./allocations')), permission: 'admin.servers.update' },
  { path: 'backups', label: 'Backups', page: lazy(() => import('./backups')), permission: 'admin.servers.backups' },
  { path: 'schedules', label: 'Schedules', page: lazy(() => import('./schedules')), permission: 'admin.servers.update' },
  { path: 'databases', label: 'Databases', page: lazy(() => import('./databases')), permission: 'admin.servers.update' },
  { path: 'subusers', label: 'Subusers', page: lazy(() => import('./subusers')), permission: 'admin.servers.update' },
  { path: 'settings', label: 'Settings', page: lazy(() => import('./settings')), permission: 'admin.servers.update', admin: true },
];

export default function ServerPage({ scope }: { scope: Scope }) {
  const { id = '' } = useParams();
  const query = useServer(id, scope);
  return <Loaded query={query}>{(server) => <Opened key={server.id} server={server} scope={scope} />}</Loaded>;
}

function Opened({ server, scope }: TabProps) {
  const { permissions } = useMe();
  const { tab } = useParams();
  const navigate = useNavigate();
  const base = scope === 'admin' ? `/admin/servers/${server.id}` : `/servers/${server.id}`;
  const tabs = TABS.filter((one) => (scope === 'own' ? !one.admin : !one.permission || may(permissions, one.permission)));
  const current = tabs.find(({ path }) => path === tab) ?? tabs[0];
  return (
    <>
      <PageHeader title={server.name} badge={<ServerStatus server={server} />} actions={<PowerButtons server={server} />}
        crumb={scope === 'admin' ? { label: 'Servers', to: '/admin/servers' } : { label: 'My servers', to: '/servers' }} />
      <Stack gap="md">
        {server.attention.map((sentence) => <Note key={sentence} tone="bad" role="alert">{sentence}</Note>)}
        {server.install_error && <Note tone="bad" role="alert">The installation failed: {server.install_error}</Note>}
        {server.transfer_state && current?.path !== 'transfer' && <MovingBanner server={server} scope={scope} />}
        <Tabs value={current?.path ?? null} onChange={(path) => void navigate(path === 'overview' ? base : `${base}/${path ?? ''}`)} keepMounted={false} className="bp-tabs">
          <Tabs.List mb="md">
            {tabs.map(({ path, label }) => <Tabs.Tab key={path} value={path}>{label}</Tabs.Tab>)}
          </Tabs.List>
          {tabs.map(({ path, page: Page }) => (
            <Tabs.Panel key={path} value={path} tabIndex={-1}>
              <Suspense fallback={<Waiting />}><Page server={server} scope={scope} /></Suspense>
            </Tabs.Panel>
          ))}
        </Tabs>
      </Stack>
    </>
  );
}
