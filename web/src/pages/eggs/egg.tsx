// One egg: what it says, and the document itself to take along.
import { Button, Grid, List, Menu, Stack, Text } from '@mantine/core';
import { IconDownload } from '@tabler/icons-react';
import { useNavigate, useParams } from 'react-router';
import { api, done } from '../../api/client';
import { ApiFailure } from '../../api/failure';
import { useEgg, type Egg } from '../../api/queries';
import { may, useMe } from '../../api/session';
import { ask, useAct } from '../../components/act';
import { Ago, Facts, Loaded, Note, PageHeader, Section } from '../../components/bits';
import { DataTable, type Column } from '../../components/table';
import { download } from '../../lib/download';

type Variable = Egg['variables'][number];
const VARIABLES: Column<Variable>[] = [
  { name: 'Name', lead: true, cell: (row) => <><Text size="sm" fw={600}>{row.name}</Text><Text size="xs" c="dimmed">{row.description}</Text></> },
  { name: 'Variable', cell: (row) => <span className="bp-mono">{row.env_variable}</span> },
  { name: 'Default', cell: (row) => <span className="bp-mono">{row.default_value || '–'}</span> },
  { name: 'Rules', cell: (row) => <span className="bp-mono">{row.rules || '–'}</span> },
  { name: 'Owners may', cell: (row) => (row.user_editable ? 'change it' : row.user_viewable ? 'see it' : 'not see it') },
];

export default function EggPage() {
  const { id = '' } = useParams();
  return <Loaded query={useEgg(id)}>{(egg) => <Opened egg={egg} />}</Loaded>;
}

function Opened({ egg }: { egg: Egg }) {
  const variables = { data: { rows: egg.variables, meta: { current_page: 1, per_page: 100, total: egg.variables.length, total_pages: 1 } }, error: null } as unknown as Parameters<typeof DataTable<Variable>>[0]['query'];
  return (
    <>
      <PageHeader title={egg.name} crumb={{ label: 'Eggs', to: '/admin/eggs' }} actions={<Actions egg={egg} />}>{egg.description}</PageHeader>
      <Stack gap="md">
        {egg.warnings.length > 0 && (
          <Note tone="warn">
            <Text size="sm" fw={600}>In the document, and not done by this panel</Text>
            <List size="sm">{egg.warnings.map((warning) => <List.Item key={warning}>{warning}</List.Item>)}</List>
          </Note>
        )}
        <Grid gap="md">
          <Grid.Col span={{ base: 12, md: 7 }}>
            <Section title="How it runs">
              <Facts rows={[
                ['Start', <code key="start" className="bp-mono">{egg.startup}</code>],
                ['Stop', <code key="stop" className="bp-mono">{Object.entries(egg.stop).map(([how, what]) => `${how}: ${String(what)}`).join(', ')}</code>],
                ['Up when it says', egg.done.length > 0 ? egg.done.map((line) => <div key={line} className="bp-mono">{line}</div>) : '–'],
                ['Images', Object.entries(egg.docker_images).map(([label, image]) => <div key={label}>{label}: <span className="bp-mono">{String(image)}</span></div>)],
              ]} />
            </Section>
          </Grid.Col>
          <Grid.Col span={{ base: 12, md: 5 }}>
            <Section title="About"><Facts rows={[['Author', egg.author], ['Format', egg.version], ['Imported', <Ago key="at" at={egg.created_at} />], ['Id', <span key="id" className="bp-mono">{egg.id}</span>]]} /></Section>
          </Grid.Col>
        </Grid>
        <Section title="Variables"><DataTable label="Variables" query={variables} columns={VARIABLES} id={(row) => row.env_variable} empty={{ title: 'No variables', what: 'There is nothing to set.' }} /></Section>
      </Stack>
    </>
  );
}

function Actions({ egg }: { egg: Egg }) {
  const { permissions } = useMe();
  const navigate = useNavigate();
  const path = { params: { path: { id: egg.id } } };
  const take = useAct({
    run: async (format: 'json' | undefined) => {
      const { data, error, response } = await api.GET('/api/v1/admin/eggs/{id}/export', { params: { ...path.params, query: { format } }, parseAs: 'text' });
      if (!response.ok || typeof data !== 'string') throw ApiFailure.from(response, error);
      const type = response.headers.get('Content-Type') ?? 'application/json';
      download(`egg-${egg.name.toLowerCase().replace(/[^a-z0-9]+/g, '-')}.${type.includes('yaml') ? 'yaml' : 'json'}`, data, type);
    },
  });
  const remove = useAct({ run: () => done(api.DELETE('/api/v1/admin/eggs/{id}', path)), said: `${egg.name} is deleted.`, stale: [['eggs']], then: () => void navigate('/admin/eggs') });
  const really = () => ask({ title: `Delete ${egg.name}?`, what: 'No server may use it any more.', button: 'Delete the egg', then: () => remove.mutate() });
  return (
    <>
      <Menu>
        <Menu.Target><Button variant="default" leftSection={<IconDownload size={16} />} loading={take.isPending}>Export</Button></Menu.Target>
        <Menu.Dropdown>
          <Menu.Item onClick={() => take.mutate(undefined)}>As it was imported</Menu.Item>
          <Menu.Item onClick={() => take.mutate('json')}>As JSON</Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {may(permissions, 'admin.eggs.delete') && <Button variant="default" onClick={really} loading={remove.isPending}>Delete…</Button>}
    </>
  );
}
