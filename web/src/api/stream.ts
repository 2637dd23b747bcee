// Server-sent events by `fetch`: the browser's own EventSource cannot send the Authorization header.
import { ApiFailure } from './failure';
import { authorizedFetch } from './session';

export interface ServerEvent {
  id: string | null;
  kind: string;
  data: string;
}

/** Takes the stream apart, in whatever pieces it comes. */
export class EventParser {
  private rest = '';

  push(chunk: string): ServerEvent[] {
    this.rest += chunk.replaceAll('\r\n', '\n');
    const blocks = this.rest.split('\n\n');
    this.rest = blocks.pop() ?? '';
    return blocks.map(parseBlock).filter((event) => event !== null);
  }
}

function parseBlock(block: string): ServerEvent | null {
  const event: ServerEvent = { id: null, kind: 'message', data: '' };
  const data: string[] = [];
  for (const line of block.split('\n')) {
    const colon = line.indexOf(':');
    if (colon <= 0) continue;
    const value = line.slice(colon + 1).replace(/^ /, '');
    const field = line.slice(0, colon);
    if (field === 'id') event.id = value;
    else if (field === 'event') event.kind = value;
    else if (field === 'data') data.push(value);
  }
  return data.length > 0 ? { ...event, data: data.join('\n') } : null;
}

export interface Listener {
  event: (event: ServerEvent) => void;
  /** Whether events arrive now. */
  connected: (yes: boolean) => void;
}

const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 8_000;

/**
 * Follows a stream until it is over (204) or `signal` says so. After a break it goes on behind the last numbered event.
 * Throws what the panel refuses for good.
 */
export async function follow(path: string, listener: Listener, signal: AbortSignal): Promise<void> {
  let lastId: string | null = null;
  let pause = FIRST_PAUSE_MS;
  const hear = (event: ServerEvent) => {
    pause = FIRST_PAUSE_MS;
    lastId = event.id ?? lastId;
    listener.event(event);
  };
  const stopped = () => signal.aborted;
  while (!stopped()) {
    try {
      if ((await once(path, lastId, hear, listener, signal)) === 'over') return;
    } catch (error) {
      if (stopped()) return;
      if (error instanceof ApiFailure && error.status >= 400 && error.status < 500 && error.status !== 429) throw error;
    } finally {
      if (!stopped()) listener.connected(false);
    }
    await rest(pause, signal);
    pause = Math.min(pause * 2, LONGEST_PAUSE_MS);
  }
}

async function once(
  path: string,
  lastId: string | null,
  hear: (event: ServerEvent) => void,
  listener: Listener,
  signal: AbortSignal,
): Promise<'over' | 'broken'> {
  const headers: Record<string, string> = { Accept: 'text/event-stream' };
  if (lastId !== null) headers['Last-Event-ID'] = lastId;
  const response = await authorizedFetch(new Request(new URL(path, location.origin), { headers, signal }));
  if (response.status === 204) return 'over';
  if (!response.ok) throw ApiFailure.from(response, await response.json().catch(() => null));
  if (!response.body) return 'broken';
  listener.connected(true);
  const parser = new EventParser();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return 'broken';
    parser.push(value).forEach(hear);
  }
}

function rest(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener('abort', () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
