// The three byte counters: what the source has read, what went over the wire, what the target has written.
import { Group, SimpleGrid, Text } from '@mantine/core';
import type { Transfer } from '../../api/queries';
import { bytes, rate, seconds, whole } from '../../lib/format';

export function Counters({ progress, rests }: { progress: Transfer['progress']; rests: boolean }) {
  const { bytes_total: total, bytes_read: read, bytes_sent: sent, bytes_written: written } = progress;
  return (
    <>
      <SimpleGrid cols={{ base: 1, xs: 3 }} spacing="md">
        <Counter label="Read and compressed" value={read} total={total} />
        <Counter label="Sent" value={sent} total={total} note={written > 0 && sent > 0 && sent < written ? `${Math.round((1 - sent / written) * 100)} % saved on the wire` : undefined} />
        <Counter label="Written on the target" value={written} total={total} />
      </SimpleGrid>
      <Group gap="lg">
        <Text size="sm">{whole(progress.files_done)} of {whole(progress.files_total)} files, {bytes(total)} in all</Text>
        {!rests && <Text size="sm">Round {progress.round}</Text>}
        {!rests && progress.rate_bytes_per_s > 0 && <Text size="sm">{rate(progress.rate_bytes_per_s)}</Text>}
        {!rests && progress.eta_s > 0 && <Text size="sm">{seconds(progress.eta_s)} left in this round</Text>}
      </Group>
    </>
  );
}

function Counter({ label, value, total, note }: { label: string; value: number; total: number; note?: string }) {
  const part = total > 0 ? Math.min(100, (value / total) * 100) : 0;
  return (
    <div className="bp-counter" data-tone="good">
      <Text size="xs" c="dimmed">{label}</Text>
      <strong>{bytes(value)}</strong>
      <div className="bp-bar" role="img" aria-label={`${label}: ${bytes(value)} of ${bytes(total)}`}><span style={{ inlineSize: `${part}%` }} /></div>
      <Text size="xs" c="dimmed" mih="1.2em">{note ?? ''}</Text>
    </div>
  );
}
