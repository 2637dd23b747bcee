// Which of the node's free addresses the server gets.
import { Select } from '@mantine/core';
import { useAllocations } from '../../api/queries';
import { address } from '../../lib/format';

export function AllocationChoice({ node, value, change }: { node: string; value: string | null; change: (id: string | null) => void }) {
  const free = useAllocations({ node, free: true });
  const data = (free.data ?? []).map((one) => ({ value: one.id, label: `${address(one) ?? ''}${one.ip_alias ? ` (${one.ip_alias})` : ''}` }));
  return (
    <Select label="Allocation" description="Without a choice the server keeps its port if it is free there, else it gets the next one." placeholder="Chosen for you: the same port if it is free"
      data={data} value={value} onChange={change} clearable searchable nothingFoundMessage="No free address" maw={480} disabled={free.isPending} error={free.data?.length === 0 ? 'This node has no free address' : undefined} />
  );
}
