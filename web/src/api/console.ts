// A server's console as it happens, by WebSocket. Lines are numbered, so that who was cut off goes on without a gap; a
// command that is said while nobody listens goes by an ordinary request.
import { useEffect, useRef, useState } from 'react';
import { api, take } from './client';
import { failureOf, isRecord } from './failure';

const LINES = 200;
const PAUSES_MS = [500, 1_000, 2_000, 5_000];
/** Closed for good: not allowed, gone. */
const FINAL = new Set([4403, 4404]);

export interface Listener {
  /** New lines; `anew` if they are those of another console, and what was shown before is none of it. */
  lines: (lines: string[], anew: boolean) => void;
}

/** Follows the console while the component is there. Gives whether it is connected, or why not. */
export function useConsole(server: string, listener: Listener): { connected: boolean; problem: string | null } {
  const [connected, setConnected] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const latest = useRef(listener);
  latest.current = listener;
  useEffect(() => {
    const line = new Line(server, {
      lines: (lines, anew) => latest.current.lines(lines, anew),
      state: (yes, why) => {
        setConnected(yes);
        setProblem(why);
      },
    });
    return () => line.close();
  }, [server]);
  return { connected, problem };
}

class Line {
  private socket: WebSocket | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private closed = false;
  private failures = 0;
  private memory: string | null = null;
  private seen = 0;

  constructor(
    private readonly server: string,
    private readonly told: { lines: Listener['lines']; state: (connected: boolean, problem: string | null) => void },
  ) {
    void this.open();
  }

  close() {
    this.closed = true;
    if (this.timer) clearTimeout(this.timer);
    this.socket?.close();
  }

  private async open() {
    try {
      const { path } = await take(api.POST('/api/v1/servers/{id}/console/ticket', { params: { path: { id: this.server } }, body: {} }));
      if (this.closed) return;
      const url = new URL(path, location.origin);
      url.protocol = url.protocol.replace('http', 'ws');
      if (this.memory === null) url.searchParams.set('lines', String(LINES));
      else url.searchParams.set('after', `${this.memory}:${this.seen}`);
      this.listen(new WebSocket(url));
    } catch (error) {
      const failure = failureOf(error);
      this.again(failure.message, failure.status === 403 || failure.status === 404);
    }
  }

  private listen(socket: WebSocket) {
    this.socket = socket;
    socket.onmessage = ({ data }) => {
      const word: unknown = JSON.parse(String(data));
      if (isRecord(word)) this.hear(word);
    };
    socket.onclose = ({ code, reason }) => this.again(reason || null, FINAL.has(code));
  }

  private hear(word: Record<string, unknown>) {
    if (word['type'] === 'hello') {
      this.failures = 0;
      this.told.state(true, null);
    }
    if (word['type'] === 'status') this.told.state(true, word['agent_online'] === false ? 'The agent of its node is offline; the console goes on when it is back.' : null);
    if (word['type'] !== 'lines' || !Array.isArray(word['lines'])) return;
    const { memory, first } = word;
    const anew = this.memory !== null && this.memory !== memory;
    this.memory = String(memory);
    this.seen = Number(first) + word['lines'].length - 1;
    this.told.lines(word['lines'].map(String), anew);
  }

  private again(problem: string | null, final: boolean) {
    if (this.closed) return;
    this.told.state(false, problem);
    if (final) return;
    const pause = PAUSES_MS[Math.min(this.failures, PAUSES_MS.length - 1)];
    this.failures += 1;
    this.timer = setTimeout(() => void this.open(), pause);
  }
}
