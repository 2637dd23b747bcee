// The panel's API with the types of its OpenAPI document (`npm run api`). Everything that talks to the panel goes through
// here; answers come without their envelope, and whatever goes wrong is one kind of error.
import createClient from 'openapi-fetch';
import { authorizedFetch } from './session';
import type { components, paths } from './schema';

export type Schemas = components['schemas'];
export type Meta = Schemas['Meta'];
export interface Page<T> {
  rows: T[];
  meta: Meta;
}

export { ApiFailure, failureOf } from './failure';
import { ApiFailure } from './failure';

export const api = createClient<paths>({ baseUrl: location.origin, fetch: authorizedFetch });

interface Answered<T> {
  data?: T;
  error?: unknown;
  response: Response;
}

/** What an answer holds; throws `ApiFailure` if it is an error. */
export async function take<T>(asked: Promise<Answered<{ data: T }>>): Promise<T> {
  return body(await asked).data;
}

/** One page of a list. */
export async function takePage<T>(asked: Promise<Answered<{ data: T[]; meta: Meta }>>): Promise<Page<T>> {
  const { data, meta } = body(await asked);
  return { rows: data, meta };
}

/** For answers of which only the success counts. */
export async function done(asked: Promise<Answered<unknown>>): Promise<void> {
  const { error, response } = await asked;
  if (!response.ok) throw ApiFailure.from(response, error);
}

function body<T>({ data, error, response }: Answered<T>): T {
  if (!response.ok || data === undefined) throw ApiFailure.from(response, error);
  return data;
}

/** All rows of a list, page after page. For lists that people choose from; bounded, so that a page cannot hang on it. */
export async function everyRow<T>(page: (number: number) => Promise<Page<T>>, most = 10): Promise<T[]> {
  const rows: T[] = [];
  for (let number = 1; number <= most; number += 1) {
    const found = await page(number);
    rows.push(...found.rows);
    if (number >= found.meta.total_pages) break;
  }
  return rows;
}

/** A key for a POST that starts something: the same press of a button is the same request, however often it is sent. */
export function pressKey(): string {
  // Not `randomUUID`: browsers have that on https alone, and a panel may be reached by plain http in a house.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
