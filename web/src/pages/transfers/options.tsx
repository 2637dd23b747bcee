// The options of a migration. The defaults are good; they are folded away until somebody wants them.
import { Accordion, NumberInput, SegmentedControl, Select, SimpleGrid, Stack, Switch, Text, TextInput } from '@mantine/core';
import type { Schemas } from '../../api/client';
import { instant } from '../../lib/format';

export interface Chosen {
  mode: 'live' | 'cold';
  maxFreeze: number | '';
  bandwidth: number | '';
  retain: string;
  startAfter: string;
  /** Of the reader's own time, as the field has it. */
  notBefore: string;
  backupFirst: boolean;
}

export const DEFAULTS: Chosen = { mode: 'live', maxFreeze: '', bandwidth: '', retain: '86400', startAfter: 'as_before', notBefore: '', backupFirst: false };

const MEBI = 1024 * 1024;

/** As the API takes them; what was left at its default is left to the panel. */
export function bodyOf(options: Chosen): Schemas['StartTransfer'] {
  return {
    mode: options.mode,
    max_freeze_s: options.maxFreeze === '' ? undefined : options.maxFreeze,
    bandwidth_limit: options.bandwidth === '' ? undefined : Math.round(options.bandwidth * MEBI),
    retain_source_for_s: Number(options.retain),
    start_after: options.startAfter,
    not_before: instant(options.notBefore),
    backup_first: options.backupFirst,
  };
}

const KEPT = [['0', 'Not at all'], ['3600', '1 hour'], ['86400', '1 day'], ['259200', '3 days'], ['604800', '7 days']];
const STARTS = [['as_before', 'As before: run if it ran'], ['yes', 'Start it'], ['no', 'Leave it off']];
const choices = (pairs: string[][]) => pairs.map(([value = '', label = '']) => ({ value, label }));

export function Options({ value, change }: { value: Chosen; change: (value: Chosen) => void }) {
  const set = (part: Partial<Chosen>) => change({ ...value, ...part });
  const number = (text: number | string): number | '' => (typeof text === 'number' ? text : '');
  return (
    <Stack gap="sm">
      <div>
        <Text size="sm" fw={500} mb={4} id="mode">How</Text>
        <SegmentedControl aria-labelledby="mode" maw="100%" styles={{ label: { whiteSpace: 'normal' } }} value={value.mode} onChange={(mode) => set({ mode })} data={[{ value: 'live', label: 'Live: copy while it runs' }, { value: 'cold', label: 'Cold: stop it first' }]} />
      </div>
      <Accordion variant="separated" chevronPosition="left">
        <Accordion.Item value="more">
          <Accordion.Control>More options</Accordion.Control>
          <Accordion.Panel>
            <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md">
              <NumberInput label="Longest freeze" description="Stop only once the freeze is predicted to be this short" suffix=" s" min={1} max={3600} allowDecimal={false} placeholder="Default: 5 s" value={value.maxFreeze} onChange={(text) => set({ maxFreeze: number(text) })} disabled={value.mode === 'cold'} />
              <NumberInput label="Bandwidth limit" description="For the copy; empty for none" suffix=" MiB/s" min={1} placeholder="No limit" value={value.bandwidth} onChange={(text) => set({ bandwidth: number(text) })} />
              <Select label="Keep the source's copy" description="As long as it is kept, the migration can be undone" data={choices(KEPT)} value={value.retain} onChange={(retain) => retain && set({ retain })} allowDeselect={false} />
              <Select label="Afterwards" description="Whether the server is started on the target" data={choices(STARTS)} value={value.startAfter} onChange={(startAfter) => startAfter && set({ startAfter })} allowDeselect={false} />
              <TextInput label="Do not stop it before" description="It is copied at once, and what changes until then once more" type="datetime-local" value={value.notBefore} onChange={(event) => set({ notBefore: event.currentTarget.value })} />
              <Switch label="Make a backup first" description="To the default storage; if that fails, nothing is moved" checked={value.backupFirst} onChange={(event) => set({ backupFirst: event.currentTarget.checked })} />
            </SimpleGrid>
          </Accordion.Panel>
        </Accordion.Item>
      </Accordion>
    </Stack>
  );
}
