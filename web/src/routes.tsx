// All pages by their address. Heavy ones are loaded when they are wanted.
import { lazy } from 'react';
import { createBrowserRouter, Navigate, Outlet } from 'react-router';
import { may, useMe } from './api/session';
import { Failed, PageHeader } from './components/bits';
import { ApiFailure } from './api/failure';
import { Login } from './pages/login';
import { Gate } from './shell/gate';
import { Shell } from './shell/shell';

const Servers = lazy(() => import('./pages/servers/list'));
const MyServers = lazy(() => import('./pages/servers/mine'));
const NewServer = lazy(() => import('./pages/servers/create'));
const Server = lazy(() => import('./pages/servers/server'));
const Nodes = lazy(() => import('./pages/nodes/list'));
const Node = lazy(() => import('./pages/nodes/node'));
const Clusters = lazy(() => import('./pages/clusters/list'));
const Cluster = lazy(() => import('./pages/clusters/cluster'));
const Transfers = lazy(() => import('./pages/transfers/list'));
const Transfer = lazy(() => import('./pages/transfers/transfer'));
const Evacuations = lazy(() => import('./pages/evacuations/list'));
const Evacuation = lazy(() => import('./pages/evacuations/evacuation'));
const Eggs = lazy(() => import('./pages/eggs/list'));
const Egg = lazy(() => import('./pages/eggs/egg'));
const Flags = lazy(() => import('./pages/settings/flags'));
const AnnouncementsPage = lazy(() => import('./pages/settings/announcements'));
const Keys = lazy(() => import('./pages/settings/keys'));
const Users = lazy(() => import('./pages/settings/users'));
const Roles = lazy(() => import('./pages/settings/roles'));
const Webhooks = lazy(() => import('./pages/settings/webhooks'));
const DatabaseHosts = lazy(() => import('./pages/settings/database-hosts'));
const DnsZones = lazy(() => import('./pages/settings/dns-zones'));
const BackupStorages = lazy(() => import('./pages/settings/backup-storages'));
const Audit = lazy(() => import('./pages/settings/audit'));
const Account = lazy(() => import('./pages/account'));

/** Beneath this only who may: the panel would refuse the rest anyway, and this says it at once. */
function Need({ permission }: { permission: string }) {
  const { permissions } = useMe();
  if (may(permissions, permission)) return <Outlet />;
  return <Failed error={new ApiFailure(403, 'forbidden', `You lack the permission ${permission}. An admin can give your role more.`)} />;
}

function Home() {
  const { permissions } = useMe();
  return <Navigate to={may(permissions, 'admin.servers.list') ? '/admin/servers' : '/servers'} replace />;
}

function NoSuchPage() {
  return <PageHeader title="No such page">Nothing is at this address. The navigation has all there is.</PageHeader>;
}

export const router = createBrowserRouter([
  { path: '/login', element: <Login /> },
  {
    element: <Gate />,
    children: [
      {
        element: <Shell />,
        children: [
          { index: true, element: <Home /> },
          { path: 'account', element: <Account /> },
          { path: 'servers', element: <MyServers /> },
          { path: 'servers/:id/:tab?', element: <Server scope="own" /> },
          {
            path: 'admin',
            children: [
              { index: true, element: <Home /> },
              {
                element: <Need permission="admin.servers.list" />,
                children: [
                  { path: 'servers', element: <Servers /> },
                  { path: 'servers/new', element: <NewServer /> },
                  { path: 'servers/:id/:tab?', element: <Server scope="admin" /> },
                  { path: 'transfers', element: <Transfers /> },
                  { path: 'evacuations', element: <Evacuations /> },
                  { path: 'evacuations/:id', element: <Evacuation /> },
                  { path: 'transfers/:id', element: <Transfer /> },
                ],
              },
              { element: <Need permission="admin.nodes.list" />, children: [{ path: 'nodes', element: <Nodes /> }, { path: 'nodes/:id', element: <Node /> }] },
              { element: <Need permission="admin.clusters.list" />, children: [{ path: 'clusters', element: <Clusters /> }, { path: 'clusters/:id', element: <Cluster /> }] },
              { element: <Need permission="admin.eggs.list" />, children: [{ path: 'eggs', element: <Eggs /> }, { path: 'eggs/:id', element: <Egg /> }] },
              {
                path: 'settings',
                children: [
                  { index: true, element: <Navigate to="feature-flags" replace /> },
                  { path: 'feature-flags', element: <Flags /> },
                  { path: 'announcements', element: <AnnouncementsPage /> },
                  { path: 'api-keys', element: <Keys /> },
                  { path: 'users', element: <Users /> },
                  { path: 'roles', element: <Roles /> },
                  { path: 'webhooks', element: <Webhooks /> },
                  { path: 'database-hosts', element: <DatabaseHosts /> },
                  { path: 'dns-zones', element: <DnsZones /> },
                  { path: 'backup-storages', element: <BackupStorages /> },
                  { path: 'audit', element: <Audit /> },
                ],
              },
            ],
          },
          { path: '*', element: <NoSuchPage /> },
        ],
      },
    ],
  },
]);
