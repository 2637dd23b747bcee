// Who is logged in. The access token lives in memory only; what survives a reload is the refresh token, in a cookie that
// no script can read.
//
//   unknown ──refresh──► in ◄──► (refreshed shortly before the token ends)
//      └──────────────► out ──log in──► in
//
// Refreshing is one request at a time, however many wait for it: the panel takes a refresh token once.
import { useSyncExternalStore } from 'react';
import { ApiFailure } from './failure';
import type { components } from './schema';

export type Me = components['schemas']['Me'];
type Tokens = components['schemas']['TokensView'];

export type Session = { state: 'unknown' } | { state: 'out'; ended: boolean } | { state: 'in'; me: Me };

/** A token that ends within this time is replaced before it is used. */
const MARGIN_MS = 30_000;

let session: Session = { state: 'unknown' };
let token: { value: string; until: number } | null = null;
let refreshing: Promise<boolean> | null = null;
const listeners = new Set<() => void>();

function become(next: Session) {
  session = next;
  listeners.forEach((tell) => tell());
}

export function useSession(): Session {
  return useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => session,
  );
}

/** The user; only beneath pages that are shown to who is logged in. */
export function useMe(): Me {
  const current = useSession();
  if (current.state !== 'in') throw new Error('nobody is logged in');
  return current.me;
}

async function post(path: string, body: unknown): Promise<Response> {
  const headers = { 'Content-Type': 'application/json' };
  return fetch(`/api/v1/auth/${path}`, { method: 'POST', headers, body: JSON.stringify(body), credentials: 'same-origin' });
}

function accept(tokens: Tokens) {
  token = { value: tokens.access_token, until: Date.now() + tokens.expires_in * 1000 };
  become({ state: 'in', me: tokens.user });
}

async function answer(response: Response): Promise<Tokens> {
  const body: unknown = await response.json().catch(() => null);
  if (!response.ok) throw ApiFailure.from(response, body);
  return (body as { data: Tokens }).data;
}

export async function logIn(username: string, password: string): Promise<void> {
  accept(await answer(await post('login', { username, password })));
}

export async function logOut(): Promise<void> {
  try {
    await post('logout', {});
  } finally {
    token = null;
    become({ state: 'out', ended: false });
  }
}

/** New tokens. False if the session is over; throws if the panel cannot be reached. */
export async function refresh(): Promise<boolean> {
  refreshing ??= refreshOnce().finally(() => {
    refreshing = null;
  });
  return refreshing;
}

async function refreshOnce(): Promise<boolean> {
  const response = await post('refresh', {});
  if (response.status === 401 || response.status === 403) {
    const ended = session.state === 'in';
    token = null;
    become({ state: 'out', ended });
    return false;
  }
  accept(await answer(response));
  return true;
}

/** The access token, refreshed if its end is near. Null if nobody is logged in. */
export async function accessToken(): Promise<string | null> {
  if (token && token.until - Date.now() < MARGIN_MS) await refresh();
  return token?.value ?? null;
}

/** `fetch` as the user: with the token, once more with a new one if the panel does not know it any more. */
export async function authorizedFetch(request: Request): Promise<Response> {
  const again = request.clone();
  const response = await send(request);
  if (response.status !== 401 || !(await refresh())) return response;
  return send(again);
}

async function send(request: Request): Promise<Response> {
  const value = await accessToken();
  if (value) request.headers.set('Authorization', `Bearer ${value}`);
  return fetch(request);
}

/** Whether `held` permissions (names and patterns like `admin.*`) hold `wanted`. */
export function may(held: readonly string[], wanted: string): boolean {
  return held.some((one) => one === '*' || one === wanted || (one.endsWith('.*') && wanted.startsWith(one.slice(0, -1))));
}
