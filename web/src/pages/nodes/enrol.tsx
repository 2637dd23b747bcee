// The one command that makes a machine a node. Says so itself when the daemon has joined.
import { Button, Group, Stack, Text } from '@mantine/core';
import { useNode, type Node } from '../../api/queries';
import { Ago, Note, Snippet } from '../../components/bits';

export function Enrol({ node, close }: { node: Node; close: () => void }) {
  const { data: now } = useNode(node.id);
  const joined = now?.status === 'online';
  return (
    <Stack gap="md">
      <Text size="sm">Run this on the machine that is to be <strong>{node.name}</strong>. The token works once{node.enrolment && <>, and ends <Ago at={node.enrolment.expires_at} /></>}; it is not shown again.</Text>
      <Snippet label="Command" value={node.enrolment?.command ?? ''} />
      <Note tone={joined ? 'good' : 'calm'} role="status">{joined ? `${node.name} has joined and is online.` : 'Waiting for its daemon to join…'}</Note>
      <Group justify="flex-end"><Button onClick={close}>Done</Button></Group>
    </Stack>
  );
}
