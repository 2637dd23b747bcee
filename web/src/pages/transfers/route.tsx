// From where to where, with the addresses that players use.
import { Stack, Text } from '@mantine/core';
import { IconArrowRight } from '@tabler/icons-react';
import { Link } from 'react-router';
import { usePlaceNames, type Transfer } from '../../api/queries';
import { address, rate } from '../../lib/format';

type End = Transfer['source'];

export function Route({ transfer }: { transfer: Transfer }) {
  const { path } = transfer;
  return (
    <Stack gap={4}>
      <div className="bp-route">
        <Place end={transfer.source} />
        <IconArrowRight size={20} aria-label="to" />
        <Place end={transfer.target} />
      </div>
      {path?.kind && (
        <Text size="xs" c="dimmed">
          Data path: {path.kind}{path.bandwidth ? `, ${rate(path.bandwidth)} measured` : ''}{path.tried.length > 0 ? `; tried before: ${path.tried.map(({ kind, reason }) => `${kind} (${reason})`).join(', ')}` : ''}
        </Text>
      )}
    </Stack>
  );
}

function Place({ end }: { end: End }) {
  const nameOf = usePlaceNames();
  const to = end.node_id ? `/admin/nodes/${end.node_id}` : `/admin/clusters/${end.cluster_id ?? ''}`;
  return (
    <div>
      <Link className="bp-link" to={to}>{nameOf(end)}</Link>
      <div className="bp-mono">{address(end.allocation) ?? '–'}</div>
    </div>
  );
}
