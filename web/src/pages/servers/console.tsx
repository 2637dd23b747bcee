// The console: what the game says, and one line to say something to it. Read anew twice a second while it is looked at.
import { Button, Group, Text, TextInput } from '@mantine/core';
import { IconSend } from '@tabler/icons-react';
import { useQuery } from '@tanstack/react-query';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { useEffect, useRef, useState, type SyntheticEvent } from 'react';
import { api, done, take } from '../../api/client';
import { failureOf } from '../../api/failure';
import type { Server } from '../../api/queries';
import { useAct } from '../../components/act';
import { Section } from '../../components/bits';

const LINES = 200;

export function Console({ server }: { server: Server }) {
  const path = { id: server.id };
  const lines = useQuery({
    queryKey: ['server', server.id, 'console'],
    queryFn: async () => (await take(api.GET('/api/v1/servers/{id}/console', { params: { path, query: { lines: LINES } } }))).lines,
    refetchInterval: 1_000,
    retry: false,
  });
  return (
    <Section title="Console">
      <Screen lines={lines.data ?? []} />
      {lines.error && <Text size="sm" c="dimmed" mt="xs" role="status">{failureOf(lines.error).message}</Text>}
      <CommandLine server={server} />
    </Section>
  );
}

/** The part of `next` that is behind `seen`; null if they have nothing in common. */
export function behind(seen: readonly string[], next: readonly string[]): string[] | null {
  for (let offset = Math.max(0, seen.length - next.length); offset < seen.length; offset += 1) {
    const length = seen.length - offset;
    if (seen.slice(offset).every((line, index) => line === next[index])) return next.slice(length);
  }
  return seen.length === 0 ? [...next] : null;
}

function Screen({ lines }: { lines: readonly string[] }) {
  const place = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal | null>(null);
  const shown = useRef<readonly string[]>([]);
  useEffect(() => {
    if (!place.current) return;
    const made = new Terminal({
      disableStdin: true, convertEol: true, scrollback: 2_000, fontSize: 13, cursorInactiveStyle: 'none', screenReaderMode: false,
      fontFamily: 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace', theme: { background: '#101418', foreground: '#d5dbe1' },
    });
    const fit = new FitAddon();
    made.loadAddon(fit);
    made.open(place.current);
    fit.fit();
    const watch = new ResizeObserver(() => fit.fit());
    watch.observe(place.current);
    terminal.current = made;
    shown.current = [];
    return () => {
      watch.disconnect();
      terminal.current = null;
      made.dispose();
    };
  }, []);
  useEffect(() => {
    const more = behind(shown.current, lines);
    if (more === null) terminal.current?.clear();
    (more ?? lines).forEach((line) => terminal.current?.writeln(line));
    shown.current = lines;
  }, [lines]);
  return <div className="bp-console" ref={place} role="log" aria-label="Console output" tabIndex={0} />;
}

function CommandLine({ server }: { server: Server }) {
  const [text, setText] = useState('');
  const send = useAct({
    run: (command: string) => done(api.POST('/api/v1/servers/{id}/command', { params: { path: { id: server.id } }, body: { command } })),
    stale: [['server', server.id, 'console']],
  });
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (text.trim() === '') return;
    send.mutate(text);
    setText('');
  };
  return (
    <form onSubmit={submit}>
      <Group mt="sm" gap="xs" wrap="nowrap">
        <TextInput aria-label="Command" placeholder={server.status === 'running' ? 'Say something to the game' : 'The server does not run'} value={text} onChange={(event) => setText(event.currentTarget.value)} disabled={server.status !== 'running'} style={{ flex: 1 }} autoComplete="off" spellCheck={false} />
        <Button type="submit" variant="default" leftSection={<IconSend size={16} />} disabled={server.status !== 'running'} loading={send.isPending}>Send</Button>
      </Group>
    </form>
  );
}
