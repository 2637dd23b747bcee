// What the preflight has found at a target, each with what to do about it.
import { Text } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { Note } from '../../components/bits';
import type { Tone } from '../../components/status';
import { bytes, count } from '../../lib/format';

const TONES: Record<string, Tone> = { error: 'bad', warning: 'warn', info: 'calm' };

export function Checks({ target }: { target: Schemas['PreflightView'] }) {
  const size = target.bytes == null ? null : `${bytes(target.bytes)} in ${count(target.files ?? 0, 'file')} will be copied to ${target.name}.`;
  return (
    <section aria-label={`Preflight of ${target.name}`}>
      <Text fw={600} mb="xs">{target.ok ? 'Nothing speaks against it' : 'This stands in the way'}</Text>
      <ul className="bp-checks">
        {target.checks.map(({ code, level, message, remedy }, index) => (
          <li key={`${code}-${index}`}>
            <Note tone={TONES[level] ?? 'calm'}>
              <Text size="sm" fw={600}>{message}</Text>
              {remedy && <Text size="sm">{remedy}</Text>}
            </Note>
          </li>
        ))}
      </ul>
      {size && <Text size="sm" c="dimmed" mt="xs">{size}</Text>}
    </section>
  );
}
