// The states of a server in one line: what it does, that it moves, that somebody must look.
import { Group, Tooltip } from '@mantine/core';
import { IconAlertTriangle, IconLock } from '@tabler/icons-react';
import type { Server } from '../../api/queries';
import { Status } from '../../components/status';

export function ServerStatus({ server }: { server: Server }) {
  return (
    <Group gap={6} wrap="wrap">
      <Status value={server.status} />
      {server.transfer_state && <Status value="moving" />}
      {server.locked && !server.transfer_state && (
        <Tooltip label="Another operation holds it">
          <span tabIndex={0} role="img" aria-label="Locked" style={{ display: 'inline-flex' }}><IconLock size={16} /></span>
        </Tooltip>
      )}
      {server.attention.length > 0 && (
        <Tooltip label={server.attention.join('; ')} multiline maw={360}>
          <span tabIndex={0} role="img" aria-label={`Needs attention: ${server.attention.join('; ')}`} style={{ display: 'inline-flex', color: 'var(--bp-bad)' }}><IconAlertTriangle size={18} /></span>
        </Tooltip>
      )}
    </Group>
  );
}
