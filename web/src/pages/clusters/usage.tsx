// What a cluster has, and what of it is given away.
import { Stack, Text } from '@mantine/core';
import type { Cluster } from '../../api/queries';
import { Capacity, millicores, servers } from '../../components/bits';
import { mebibytes } from '../../lib/format';

export function Usage({ cluster: { usage } }: { cluster: Cluster }) {
  return (
    <Stack gap="xs">
      <Capacity label="Memory" share={usage.memory_mb} show={mebibytes} />
      <Capacity label="Disk" share={usage.disk_mb} show={mebibytes} />
      <Capacity label="CPU" share={usage.cpu_millicores} show={millicores} />
      <Text size="sm">{servers(usage.servers)}, {usage.servers === 1 ? 'needs' : 'need'} {mebibytes(usage.memory_mb.allocated)} of memory and {mebibytes(usage.disk_mb.allocated)} of disk</Text>
    </Stack>
  );
}
