// How a server is started: its variables, and for admins the command line and the image.
import { Button, Group, Select, SimpleGrid, Stack, Text, Textarea, TextInput } from '@mantine/core';
import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, take, type Schemas } from '../../api/client';
import { failureOf } from '../../api/failure';
import { useAct } from '../../components/act';
import { Loaded, Note, Section, Snippet } from '../../components/bits';
import type { TabProps } from './server';

type Startup = Schemas['StartupView'];

export default function StartupTab({ server, scope }: TabProps) {
  const query = useQuery({ queryKey: ['server', server.id, 'startup'], queryFn: () => take(api.GET('/api/v1/servers/{id}/startup', { params: { path: { id: server.id } } })) });
  return <Loaded query={query}>{(startup) => <Form key={JSON.stringify(startup)} server={server.id} startup={startup} admin={scope === 'admin'} locked={server.locked} />}</Loaded>;
}

function Form({ server, startup, admin, locked }: { server: string; startup: Startup; admin: boolean; locked: boolean }) {
  const [values, setValues] = useState<Record<string, string>>({});
  const [line, setLine] = useState(startup.startup);
  const [image, setImage] = useState(startup.docker_image);
  const images = Object.entries(startup.docker_images).map(([label, value]) => ({ value: String(value), label: `${label}: ${String(value)}` }));
  const known = images.some(({ value }) => value === image) ? images : [{ value: image, label: image }, ...images];
  const save = useAct({
    run: () => take(api.PATCH('/api/v1/servers/{id}/startup', { params: { path: { id: server } }, body: {
      // An empty value is the egg's default again.
      environment: Object.fromEntries(Object.entries(values).map(([name, value]) => [name, value === '' ? null : value])),
      startup: line === startup.startup ? undefined : line,
      docker_image: image === startup.docker_image ? undefined : image,
    } })),
    said: 'Saved; it counts from the next start on.', stale: [['server', server]], quiet: true,
  });
  return (
    <form onSubmit={(event) => { event.preventDefault(); save.mutate(); }}>
      <Stack gap="md">
        {save.error && <Note tone="bad" role="alert">{failureOf(save.error).full}</Note>}
        <Section title="Command">
          <Stack gap="md">
            <Snippet label="Command as it is run" value={startup.command} />
            {admin && <Textarea label="Command line" description="With placeholders like {{SERVER_MEMORY}}" autosize minRows={2} value={line} onChange={(event) => setLine(event.currentTarget.value)} styles={{ input: { fontFamily: 'var(--mantine-font-family-monospace)', fontSize: '0.85rem' } }} />}
            <Select label="Image" data={known} value={image} onChange={(value) => value && setImage(value)} allowDeselect={false} maw={560} />
          </Stack>
        </Section>
        <Section title="Variables">
          {startup.variables.length === 0 && <Text size="sm" c="dimmed">There is nothing to set.</Text>}
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {startup.variables.map((variable) => (
              <TextInput key={variable.env_variable} label={variable.name} description={variable.description || variable.env_variable} placeholder={variable.default_value} inputWrapperOrder={['label', 'input', 'description', 'error']}
                value={values[variable.env_variable] ?? variable.value} readOnly={!variable.is_editable} onChange={(event) => setValues({ ...values, [variable.env_variable]: event.currentTarget.value })} />
            ))}
          </SimpleGrid>
        </Section>
        <Group><Button type="submit" loading={save.isPending} disabled={locked}>Save</Button>{locked && <Text size="sm" c="dimmed">Another operation holds the server.</Text>}</Group>
      </Stack>
    </form>
  );
}
