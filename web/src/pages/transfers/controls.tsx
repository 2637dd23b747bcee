// What can be done to a transfer while it goes on: hold it, change its limits, call it off.
import { Button, Group, Modal, NumberInput, Stack, TextInput } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconAdjustments, IconPlayerPause, IconPlayerPlay, IconX } from '@tabler/icons-react';
import { useState } from 'react';
import { api, done, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import type { Transfer } from '../../api/queries';
import { ask, useAct } from '../../components/act';
import { Note } from '../../components/bits';
import { instant, local } from '../../lib/format';
import { isFrozen } from './stages';

const MEBI = 1024 * 1024;
/** Before the server is stopped: until then it can be held, and its limits count. */
const BEFORE_STOP = ['preparing', 'copying_while_running'];

export function Controls({ transfer }: { transfer: Transfer }) {
  const path = { params: { path: { id: transfer.id } } };
  const stale = [['transfer', transfer.id], ['transfer-of'], ['server']];
  const [open, { open: show, close }] = useDisclosure(false);
  const cancel = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/cancel', { ...path, body: {} })), said: 'It is called off. The server stays where it was.', stale });
  const pause = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/pause', { ...path, body: {} })), said: 'It is held as soon as what it is at allows it. The server runs on.', stale });
  const resume = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/resume', { ...path, body: {} })), said: 'It goes on.', stale });
  const ending = transfer.cancel_requested || transfer.state === 'cancelling' || transfer.state === 'rolling_back';
  const early = BEFORE_STOP.includes(transfer.stage) && !isFrozen(transfer);
  const really = () => ask({
    title: 'Cancel this migration?',
    what: 'The server stays on the source as it was, and what has been copied to the target is removed. If it is stopped at this moment, it is started again.',
    button: 'Cancel the migration',
    then: () => cancel.mutate(),
  });
  return (
    <>
      {!ending && (transfer.pause_requested
        ? <Button size="xs" leftSection={<IconPlayerPlay size={16} />} onClick={() => resume.mutate()} loading={resume.isPending}>Resume</Button>
        : early && <Button size="xs" variant="default" leftSection={<IconPlayerPause size={16} />} onClick={() => pause.mutate()} loading={pause.isPending}>Pause</Button>)}
      {!ending && early && <Button size="xs" variant="default" leftSection={<IconAdjustments size={16} />} onClick={show}>Limits</Button>}
      <Button size="xs" variant="default" leftSection={<IconX size={16} />} onClick={really} loading={cancel.isPending} disabled={ending}>{ending ? 'Being called off' : 'Cancel'}</Button>
      <Modal opened={open} onClose={close} title="Limits of this migration">{open && <Limits transfer={transfer} close={close} />}</Modal>
    </>
  );
}

/** The limits as the form shows them. */
function given(options: Transfer['options']): { bandwidth: number | string; freeze: number | string; notBefore: string } {
  const { bandwidth_limit: limit, max_freeze_s: freeze, not_before: notBefore } = options;
  return { bandwidth: limit == null ? '' : Math.round((limit / MEBI) * 10) / 10, freeze, notBefore: local(notBefore) };
}

function Limits({ transfer, close }: { transfer: Transfer; close: () => void }) {
  const [before] = useState(() => given(transfer.options));
  const [bandwidth, setBandwidth] = useState(before.bandwidth);
  const [freeze, setFreeze] = useState(before.freeze);
  const [notBefore, setNotBefore] = useState(before.notBefore);
  const save = useAct({
    run: () => {
      // Only what was changed: what comes too late would be refused with the rest of it.
      const body: Schemas['TransferChange'] = {};
      if (bandwidth !== before.bandwidth) body.bandwidth_limit = typeof bandwidth === 'number' ? Math.round(bandwidth * MEBI) : null;
      if (notBefore !== before.notBefore) body.not_before = instant(notBefore);
      if (freeze !== before.freeze && typeof freeze === 'number') body.max_freeze_s = freeze;
      return done(api.PATCH('/api/v1/admin/transfers/{id}', { params: { path: { id: transfer.id } }, body }));
    },
    said: 'The limits count from now on.', stale: [['transfer', transfer.id], ['transfer-of']], then: close, quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <NumberInput label="Bandwidth limit" description="Empty for as fast as it goes" suffix=" MiB/s" min={0.1} decimalScale={1} value={bandwidth} onChange={setBandwidth} data-autofocus />
        <NumberInput label="Longest freeze" description="The server is stopped once the freeze is predicted to be this short" suffix=" s" min={1} max={3600} allowDecimal={false} value={freeze} onChange={setFreeze} />
        <TextInput label="Do not stop it before" description="Empty for as soon as it is copied" type="datetime-local" value={notBefore} onChange={(event) => setNotBefore(event.currentTarget.value)} />
        <Group justify="flex-end"><Button variant="default" onClick={close}>Leave them</Button><Button type="submit" loading={save.isPending}>Apply</Button></Group>
      </Stack>
    </form>
  );
}
