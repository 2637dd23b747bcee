// Choosing permissions: groups of the words that the panel knows, and room for any other.
import { TagsInput } from '@mantine/core';

const KNOWN = [
  { group: 'Everything', items: ['*', 'admin.*'] },
  { group: 'Servers', items: ['admin.servers.*', 'admin.servers.list', 'admin.servers.create', 'admin.servers.update', 'admin.servers.delete', 'admin.servers.transfer', 'admin.servers.power', 'admin.servers.console', 'admin.servers.files', 'admin.servers.backups'] },
  { group: 'Places', items: ['admin.nodes.*', 'admin.nodes.list', 'admin.nodes.create', 'admin.nodes.update', 'admin.nodes.delete', 'admin.clusters.*', 'admin.clusters.list', 'admin.clusters.create', 'admin.clusters.update', 'admin.clusters.delete', 'admin.allocations.*', 'admin.allocations.list', 'admin.allocations.create', 'admin.allocations.delete'] },
  { group: 'Eggs', items: ['admin.eggs.*', 'admin.eggs.list', 'admin.eggs.create', 'admin.eggs.delete'] },
  { group: 'Settings', items: ['admin.feature-flags.*', 'admin.announcements.*', 'admin.api-keys.*', 'admin.users.*', 'admin.roles.*', 'admin.audit.list'] },
  { group: 'Own servers', items: ['server.power', 'server.console', 'server.files', 'server.backups', 'server.schedules', 'server.databases', 'server.allocations', 'server.startup', 'server.subusers'] },
];

export function Permissions({ label, value, change, own = false }: { label: string; value: string[]; change: (value: string[]) => void; own?: boolean }) {
  return <TagsInput label={label} description="Choose, or type any permission and press Enter" data={own ? KNOWN : KNOWN.filter(({ group }) => group !== 'Own servers')} value={value} onChange={change} clearable maxDropdownHeight={260} clearButtonProps={{ 'aria-label': 'Remove all', tabIndex: 0 }} />;
}
