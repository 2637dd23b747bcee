// Start, stop, restart, kill.
import { Button, Menu } from '@mantine/core';
import { IconChevronDown, IconPlayerPlay, IconPlayerStop, IconRefresh, IconSkull } from '@tabler/icons-react';
import { api, done, pressKey, type Schemas } from '../../api/client';
import type { Server } from '../../api/queries';
import { ask, useAct } from '../../components/act';

type Signal = Schemas['Signal'];
const SAID: Record<Signal, string> = { start: 'It starts.', stop: 'It is asked to stop.', restart: 'It restarts.', kill: 'It is killed.' };

export function PowerButtons({ server }: { server: Server }) {
  const power = useAct({
    run: (signal: Signal) => done(api.POST('/api/v1/servers/{id}/power', { params: { path: { id: server.id }, header: { 'Idempotency-Key': pressKey() } }, body: { signal } })),
    said: (_, signal) => SAID[signal],
    stale: [['server', server.id]],
  });
  const held = server.locked || server.transfer_state != null;
  const up = ['running', 'starting', 'stopping'].includes(server.status);
  const kill = () => ask({
    title: `Kill ${server.name}?`,
    what: 'The game ends at once, without saving. What it has not written to its files is lost.',
    button: 'Kill it',
    then: () => power.mutate('kill'),
  });
  if (!up) {
    const can = !held && ['offline', 'crashed'].includes(server.status);
    return <Button leftSection={<IconPlayerPlay size={16} />} onClick={() => power.mutate('start')} loading={power.isPending} disabled={!can}>Start</Button>;
  }
  return (
    <>
      <Button variant="default" leftSection={<IconPlayerStop size={16} />} onClick={() => power.mutate('stop')} loading={power.isPending} disabled={held || server.status === 'stopping'}>Stop</Button>
      <Menu position="bottom-end">
        <Menu.Target>
          <Button variant="default" rightSection={<IconChevronDown size={16} />} disabled={held}>More</Button>
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<IconRefresh size={16} />} onClick={() => power.mutate('restart')}>Restart</Menu.Item>
          <Menu.Item leftSection={<IconSkull size={16} />} c="var(--mantine-color-error)" onClick={kill}>Kill…</Menu.Item>
        </Menu.Dropdown>
      </Menu>
    </>
  );
}
