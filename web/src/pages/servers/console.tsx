// The console: what the game says, and one line to say something to it.
import { Button, Group, Text, TextInput } from '@mantine/core';
import { IconSend } from '@tabler/icons-react';
import { FitAddon } from '@xterm/addon-fit';
import { Terminal } from '@xterm/xterm';
import '@xterm/xterm/css/xterm.css';
import { useEffect, useRef, useState, type SyntheticEvent } from 'react';
import { api, done } from '../../api/client';
import { useConsole } from '../../api/console';
import type { Server } from '../../api/queries';
import { useAct } from '../../components/act';
import { Section } from '../../components/bits';

export function Console({ server }: { server: Server }) {
  return (
    <Section title="Console">
      <Screen server={server.id} />
      <CommandLine server={server} />
    </Section>
  );
}

function Screen({ server }: { server: string }) {
  const place = useRef<HTMLDivElement>(null);
  const terminal = useRef<Terminal | null>(null);
  const early = useRef<string[]>([]);
  useEffect(() => {
    if (!place.current) return;
    const made = new Terminal({
      disableStdin: true, convertEol: true, scrollback: 5_000, fontSize: 13, cursorInactiveStyle: 'none',
      fontFamily: 'ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace', theme: { background: '#101418', foreground: '#d5dbe1' },
    });
    const fit = new FitAddon();
    made.loadAddon(fit);
    made.open(place.current);
    fit.fit();
    const watch = new ResizeObserver(() => fit.fit());
    watch.observe(place.current);
    terminal.current = made;
    early.current.forEach((line) => made.writeln(line));
    return () => {
      watch.disconnect();
      terminal.current = null;
      made.dispose();
    };
  }, []);
  const { connected, problem } = useConsole(server, {
    lines: (lines, anew) => {
      if (anew) terminal.current?.clear();
      if (terminal.current) lines.forEach((line) => terminal.current?.writeln(line));
      else early.current.push(...lines);
    },
  });
  return (
    <>
      <div className="bp-console" ref={place} role="log" aria-label="Console output" tabIndex={0} />
      <Text size="sm" c="dimmed" mt="xs" mih="1.4em" role="status">{problem ?? (connected ? '' : 'Connecting…')}</Text>
    </>
  );
}

function CommandLine({ server }: { server: Server }) {
  const [text, setText] = useState('');
  const send = useAct({ run: (command: string) => done(api.POST('/api/v1/servers/{id}/command', { params: { path: { id: server.id } }, body: { command } })) });
  const submit = (event: SyntheticEvent) => {
    event.preventDefault();
    if (text.trim() === '') return;
    send.mutate(text);
    setText('');
  };
  return (
    <form onSubmit={submit}>
      <Group gap="xs" wrap="nowrap">
        <TextInput aria-label="Command" placeholder={server.status === 'running' ? 'Say something to the game' : 'The server does not run'} value={text} onChange={(event) => setText(event.currentTarget.value)} disabled={server.status !== 'running'} style={{ flex: 1 }} autoComplete="off" spellCheck={false} />
        <Button type="submit" variant="default" leftSection={<IconSend size={16} />} disabled={server.status !== 'running'} loading={send.isPending}>Send</Button>
      </Group>
    </form>
  );
}
