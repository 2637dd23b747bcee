// What the admins have to say to everybody, above every page.
import { CloseButton, Group, Stack, Text } from '@mantine/core';
import { useLocalStorage } from '@mantine/hooks';
import { useQuery } from '@tanstack/react-query';
import { api, takePage } from '../api/client';
import { Note } from '../components/bits';
import type { Tone } from '../components/status';

const TONES: Record<string, Tone> = { info: 'busy', warning: 'warn', critical: 'bad', danger: 'bad' };

export function Announcements() {
  const { data } = useQuery({ queryKey: ['announcements', 'shown'], queryFn: () => takePage(api.GET('/api/v1/announcements')), refetchInterval: 60_000 });
  const [closed, setClosed] = useLocalStorage<string[]>({ key: 'bp-announcements-closed', defaultValue: [] });
  const shown = data?.rows.filter(({ id }) => !closed.includes(id)) ?? [];
  if (shown.length === 0) return null;
  return (
    <Stack gap="xs" mb="md" role="region" aria-label="Announcements">
      {shown.map(({ id, title, body, level }) => (
        <Note key={id} tone={TONES[level] ?? 'busy'}>
          <Group justify="space-between" wrap="nowrap" align="flex-start">
            <div>
              <Text fw={600} size="sm">{title}</Text>
              {body && <Text size="sm" style={{ whiteSpace: 'pre-line' }}>{body}</Text>}
            </div>
            <CloseButton aria-label={`Close “${title}”`} size="sm" c="inherit" onClick={() => setClosed([...closed.slice(-49), id])} />
          </Group>
        </Note>
      ))}
    </Stack>
  );
}
