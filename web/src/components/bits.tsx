// Small pieces that every page uses: times, notes, lists of facts, capacity, things to copy.
import { ActionIcon, Alert, Button, Card, CopyButton, Group, Skeleton, Stack, Text, Title, Tooltip } from '@mantine/core';
import { useDocumentTitle } from '@mantine/hooks';
import { IconAlertTriangle, IconCheck, IconCopy, IconRefresh } from '@tabler/icons-react';
import { useEffect, useState, type ReactNode } from 'react';
import { Link } from 'react-router';
import type { UseQueryResult } from '@tanstack/react-query';
import { failureOf } from '../api/failure';
import { count, moment, relative } from '../lib/format';
import type { Tone } from './status';

/** The time, anew every `every` ms; at rest while `on` is false. */
export function useNow(every: number, on = true): number {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    if (!on) return;
    setNow(Date.now());
    const timer = setInterval(() => setNow(Date.now()), every);
    return () => clearInterval(timer);
  }, [every, on]);
  return now;
}

/** `2 h ago`; the whole date on hover. */
export function Ago({ at, none = 'never' }: { at: string | null | undefined; none?: string }) {
  const now = useNow(15_000);
  if (!at) return <Text span c="dimmed" inherit>{none}</Text>;
  return (
    <time dateTime={at} title={moment(at)} className="bp-nowrap">
      {relative(Date.parse(at), now)}
    </time>
  );
}

export function Note({ tone, children, role }: { tone: Tone; children: ReactNode; role?: 'status' | 'alert' }) {
  return <div className="bp-note" data-tone={tone} role={role}>{children}</div>;
}

export function Facts({ rows }: { rows: [string, ReactNode][] }) {
  return (
    <dl className="bp-facts">
      {rows.filter(([, value]) => value !== null && value !== undefined && value !== '').map(([name, value]) => (
        <div key={name} style={{ display: 'contents' }}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

export function Copy({ value, label = 'Copy' }: { value: string; label?: string }) {
  return (
    <CopyButton value={value}>
      {({ copied, copy }) => (
        <Tooltip label={copied ? 'Copied' : label}>
          <ActionIcon onClick={copy} aria-label={label} size="sm">
            {copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
          </ActionIcon>
        </Tooltip>
      )}
    </CopyButton>
  );
}

/** Text to be copied: a command, a key. */
export function Snippet({ value, label }: { value: string; label: string }) {
  return (
    <Group wrap="nowrap" align="flex-start" gap="xs" p="sm" bg="var(--bp-calm-bg)" style={{ borderRadius: 'var(--mantine-radius-md)' }}>
      <code className="bp-mono" style={{ flex: 1, whiteSpace: 'pre-wrap' }} aria-label={label}>{value}</code>
      <Copy value={value} label={`Copy ${label.toLowerCase()}`} />
    </Group>
  );
}

interface Share {
  total: number;
  allocated: number;
  free?: number | null;
}

/** How much of something is given away, and how much `more` would be. Without a limit there is no bar to fill. */
export function Capacity({ label, share, show, more = 0, countable = false }: { label: string; share: Share; show: (n: number) => string; more?: number; countable?: boolean }) {
  // Of things that are counted one by one, none is none; of the others it is no limit.
  const limited = share.total > 0 || countable;
  const part = share.total > 0 ? Math.min(100, (share.allocated / share.total) * 100) : 0;
  const extra = share.total > 0 ? Math.min(100 - part, (more / share.total) * 100) : 0;
  const over = limited && share.allocated + more > share.total;
  const tone: Tone = over ? 'bad' : part + extra > 85 ? 'warn' : 'good';
  const text = limited ? `${show(share.allocated)} of ${show(share.total)}` : `${show(share.allocated)}, no limit`;
  return (
    <div data-tone={tone}>
      <Group justify="space-between" gap="xs" mb={2} wrap="nowrap">
        <Text size="xs" c="dimmed">{label}</Text>
        <Text size="xs" className="bp-nowrap">{text}</Text>
      </Group>
      <div className="bp-bar" role="img" aria-label={`${label}: ${text}${more > 0 ? `, this server needs ${show(more)}` : ''}`}>
        <span style={{ inlineSize: `${part}%` }} />
        <span style={{ inlineSize: `${extra}%`, opacity: 0.45 }} />
      </div>
    </div>
  );
}

export const cores = (percent: number): string => {
  const many = percent / 100;
  return `${many.toLocaleString('en', { maximumFractionDigits: 2 })} ${many === 1 ? 'core' : 'cores'}`;
};
export const millicores = (milli: number): string => cores(milli / 10);

interface Crumb {
  label: string;
  to: string;
}

export function PageHeader({ title, crumb, badge, actions, children }: { title: string; crumb?: Crumb; badge?: ReactNode; actions?: ReactNode; children?: ReactNode }) {
  useDocumentTitle(`${title} · BadgerPanel`);
  return (
    <Stack gap={4} mb="lg">
      {crumb && <Text size="sm"><Link to={crumb.to} className="bp-crumb">← {crumb.label}</Link></Text>}
      <Group justify="space-between" gap="sm" align="center">
        <Group gap="sm" style={{ minWidth: 0 }}>
          <Title order={1} style={{ overflowWrap: 'anywhere' }}>{title}</Title>
          {badge}
        </Group>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children && <Text c="dimmed" size="sm" maw="75ch" component="div">{children}</Text>}
    </Stack>
  );
}

export function Section({ title, actions, children, id }: { title: string; actions?: ReactNode; children: ReactNode; id?: string }) {
  return (
    <Card component="section" aria-label={title} id={id}>
      <Group justify="space-between" mb="md" gap="xs">
        <Title order={2}>{title}</Title>
        {actions && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </Card>
  );
}

export function Failed({ error, again }: { error: unknown; again?: () => void }) {
  const failure = failureOf(error);
  return (
    <Alert color="red" variant="default" icon={<IconAlertTriangle size={20} color="var(--bp-bad)" />} title={failure.status === 404 ? 'Not found' : 'This could not be loaded'} role="alert">
      <Stack gap="sm" align="flex-start">
        <Text size="sm">{failure.full}</Text>
        {again && <Button size="xs" variant="default" leftSection={<IconRefresh size={16} />} onClick={again}>Try again</Button>}
      </Stack>
    </Alert>
  );
}

export function Waiting({ lines = 4 }: { lines?: number }) {
  return (
    <Stack gap="sm" aria-busy="true" aria-label="Loading" role="status">
      {Array.from({ length: lines }, (_, line) => <Skeleton key={line} h={18} w={`${90 - ((line * 17) % 40)}%`} />)}
    </Stack>
  );
}

/** What a query gives, or that it loads, or why it failed. Data that is there stays while it is read anew. */
export function Loaded<T>({ query, lines, children }: { query: UseQueryResult<T>; lines?: number; children: (data: T) => ReactNode }) {
  if (query.data !== undefined) return <>{children(query.data)}</>;
  if (query.error) return <Failed error={query.error} again={() => void query.refetch()} />;
  return <Waiting lines={lines} />;
}

/** Who did something: `user:<id>:<name>` by its name, with all of it on hover. */
export function Actor({ of }: { of: string }) {
  return <span title={of}>{of.split(':').at(-1)}</span>;
}

export const servers = (n: number) => count(n, 'server');
