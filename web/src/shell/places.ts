// Where one can go, and what one must be allowed to for it.
import {
  IconApi, IconArchive, IconArrowsExchange, IconBuildingWarehouse, IconCloud, IconDatabase, IconEgg, IconFlag, IconHistory, IconKey, IconSpeakerphone,
  IconRoute, IconServer, IconServer2, IconShieldLock, IconUsers, IconWebhook, IconWorldWww,
} from '@tabler/icons-react';
import type { ComponentType } from 'react';
import { may } from '../api/session';

export interface Place {
  label: string;
  to: string;
  icon: ComponentType<{ size?: number | string; stroke?: number | string }>;
  permission: string | null;
}

export const PLACES: { group: string; places: Place[] }[] = [
  { group: 'Play', places: [{ label: 'My servers', to: '/servers', icon: IconServer, permission: null }] },
  {
    group: 'Admin',
    places: [
      { label: 'Servers', to: '/admin/servers', icon: IconServer2, permission: 'admin.servers.list' },
      { label: 'Nodes', to: '/admin/nodes', icon: IconBuildingWarehouse, permission: 'admin.nodes.list' },
      { label: 'Clusters', to: '/admin/clusters', icon: IconCloud, permission: 'admin.clusters.list' },
      { label: 'Transfers', to: '/admin/transfers', icon: IconArrowsExchange, permission: 'admin.servers.list' },
      { label: 'Evacuations', to: '/admin/evacuations', icon: IconRoute, permission: 'admin.servers.list' },
      { label: 'Eggs', to: '/admin/eggs', icon: IconEgg, permission: 'admin.eggs.list' },
    ],
  },
  {
    group: 'Settings',
    places: [
      { label: 'Feature Flags', to: '/admin/settings/feature-flags', icon: IconFlag, permission: 'admin.feature-flags.list' },
      { label: 'Announcements', to: '/admin/settings/announcements', icon: IconSpeakerphone, permission: 'admin.announcements.list' },
      { label: 'API Keys', to: '/admin/settings/api-keys', icon: IconKey, permission: 'admin.api-keys.list' },
      { label: 'Users', to: '/admin/settings/users', icon: IconUsers, permission: 'admin.users.list' },
      { label: 'Roles', to: '/admin/settings/roles', icon: IconShieldLock, permission: 'admin.roles.list' },
      { label: 'Webhooks', to: '/admin/settings/webhooks', icon: IconWebhook, permission: 'admin.webhooks.list' },
      { label: 'Backup storage', to: '/admin/settings/backup-storages', icon: IconArchive, permission: 'admin.backup-storages.list' },
      { label: 'Database hosts', to: '/admin/settings/database-hosts', icon: IconDatabase, permission: 'admin.database-hosts.list' },
      { label: 'DNS zones', to: '/admin/settings/dns-zones', icon: IconWorldWww, permission: 'admin.dns-zones.list' },
      { label: 'Audit', to: '/admin/settings/audit', icon: IconHistory, permission: 'admin.audit.list' },
    ],
  },
];

export const reference = { label: 'API reference', to: '/api/docs', icon: IconApi };

/** What is to be seen with these permissions. */
export function placesOf(permissions: readonly string[]) {
  return PLACES.map(({ group, places }) => ({ group, places: places.filter(({ permission }) => permission === null || may(permissions, permission)) })).filter(({ places }) => places.length > 0);
}
