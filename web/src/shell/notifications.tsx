// What has happened that concerns the user: a bell with the number of what is unread.
import { ActionIcon, Button, Group, Indicator, Popover, ScrollArea, Stack, Text } from '@mantine/core';
import { IconBell } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { Link } from 'react-router';
import { api, done, takePage } from '../api/client';
import { useAct } from '../components/act';
import { Ago } from '../components/bits';

export function Bell() {
  const { data } = useQuery({ queryKey: ['notifications'], queryFn: () => takePage(api.GET('/api/v1/notifications', { params: { query: { per_page: 20 } } })), refetchInterval: 15_000 });
  const stale = [['notifications']];
  const all = useAct({ run: () => done(api.POST('/api/v1/notifications/read-all', { body: {} })), stale });
  const read = useAct({ run: (id: string) => done(api.POST('/api/v1/notifications/{id}/read', { params: { path: { id } }, body: {} })), stale });
  const rows = data?.rows ?? [];
  const unread = rows.filter(({ read_at }) => read_at == null).length;
  return (
    <Popover position="bottom-end" width={340} withArrow trapFocus>
      <Indicator label={unread} size={16} disabled={unread === 0} color="red.9" offset={4}>
        <Popover.Target>
          <ActionIcon size="lg" aria-label={unread > 0 ? `Notifications, ${unread} unread` : 'Notifications'}><IconBell size={20} /></ActionIcon>
        </Popover.Target>
      </Indicator>
      <Popover.Dropdown aria-label="Notifications">
        <Group justify="space-between" mb="xs">
          <Text fw={600}>Notifications</Text>
          {unread > 0 && <Button size="compact-xs" variant="default" onClick={() => all.mutate()}>All read</Button>}
        </Group>
        {rows.length === 0 && <Text size="sm" c="dimmed">Nothing has happened.</Text>}
        <ScrollArea.Autosize mah={360} type="auto">
          <Stack gap="xs">
            {rows.map(({ id, message, server_id, at, read_at }) => (
              <div key={id}>
                <Text size="sm" fw={read_at == null ? 600 : 400}>{server_id ? <Link className="bp-plainlink" to={`/servers/${server_id}`} onClick={() => read.mutate(id)}>{message}</Link> : message}</Text>
                <Text size="xs" c="dimmed"><Ago at={at} /></Text>
              </div>
            ))}
          </Stack>
        </ScrollArea.Autosize>
      </Popover.Dropdown>
    </Popover>
  );
}
