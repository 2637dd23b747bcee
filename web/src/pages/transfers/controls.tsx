// What can be done to a transfer while it goes on.
import { Button } from '@mantine/core';
import { IconX } from '@tabler/icons-react';
import { api, done } from '../../api/client';
import type { Transfer } from '../../api/queries';
import { ask, useAct } from '../../components/act';

export function Controls({ transfer }: { transfer: Transfer }) {
  const path = { params: { path: { id: transfer.id } } };
  const stale = [['transfer', transfer.id], ['transfer-of'], ['server']];
  const cancel = useAct({ run: () => done(api.POST('/api/v1/admin/transfers/{id}/cancel', { ...path, body: {} })), said: 'It is called off. The server stays where it was.', stale });
  const ending = transfer.cancel_requested || transfer.state === 'cancelling' || transfer.state === 'rolling_back';
  const really = () => ask({
    title: 'Cancel this migration?',
    what: 'The server stays on the source as it was, and what has been copied to the target is removed. If it is stopped at this moment, it is started again.',
    button: 'Cancel the migration',
    then: () => cancel.mutate(),
  });
  return <Button size="xs" variant="default" leftSection={<IconX size={16} />} onClick={really} loading={cancel.isPending} disabled={ending}>{ending ? 'Being called off' : 'Cancel'}</Button>;
}
