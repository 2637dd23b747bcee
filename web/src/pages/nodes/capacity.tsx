// What a node has, and what of it is given away.
import { Skeleton, Stack, Text } from '@mantine/core';
import { useCapacity } from '../../api/queries';
import { Capacity, cores, servers } from '../../components/bits';
import { mebibytes, whole } from '../../lib/format';

export function NodeCapacity({ id }: { id: string }) {
  const { data } = useCapacity(id);
  if (!data) return <Skeleton h={150} />;
  return (
    <Stack gap="xs">
      <Capacity label="Memory" share={data.memory_mb} show={mebibytes} />
      <Capacity label="Disk" share={data.disk_mb} show={mebibytes} />
      <Capacity label="CPU" share={data.cpu_percent} show={cores} />
      <Capacity label="Addresses" share={data.allocations} show={whole} countable />
      <Text size="sm">{servers(data.servers)}, {data.servers === 1 ? 'needs' : 'need'} {mebibytes(data.memory_mb.allocated)} of memory and {mebibytes(data.disk_mb.allocated)} of disk</Text>
    </Stack>
  );
}
