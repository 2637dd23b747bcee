// Numbers and times as people read them. Binary units throughout: what the panel counts in MiB is shown in MiB.

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** `1.5 GiB`. Three digits at most, so that a number that counts does not jump about. */
export function bytes(count: number): string {
  let value = count;
  let unit = 0;
  while (Math.abs(value) >= 1000 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  const digits = unit === 0 ? 0 : value < 10 ? 2 : value < 100 ? 1 : 0;
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`;
}

export const mebibytes = (count: number): string => bytes(count * 1024 * 1024);
export const rate = (bytesPerSecond: number): string => `${bytes(bytesPerSecond)}/s`;
export const whole = (count: number): string => count.toLocaleString('en');

/** `640 ms`, `3.1 s`, `4 min 10 s`, `2 h 5 min`, `3 d`. */
export function duration(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 60) return `${seconds < 10 ? seconds.toFixed(1) : Math.round(seconds)} s`;
  const total = Math.round(seconds);
  const parts: [number, string][] = [
    [Math.floor(total / 86_400), 'd'],
    [Math.floor((total % 86_400) / 3600), 'h'],
    [Math.floor((total % 3600) / 60), 'min'],
    [total % 60, 's'],
  ];
  const first = parts.findIndex(([count]) => count > 0);
  return parts
    .slice(first, first + 2)
    .filter(([count]) => count > 0)
    .map(([count, unit]) => `${count} ${unit}`)
    .join(' ');
}

export const seconds = (count: number): string => duration(count * 1000);

/** `in 3 min`, `2 h ago`, `just now`. */
export function relative(at: number, now: number): string {
  const ms = at - now;
  if (Math.abs(ms) < 10_000) return 'just now';
  const text = coarse(Math.abs(ms));
  return ms > 0 ? `in ${text}` : `${text} ago`;
}

function coarse(ms: number): string {
  const s = ms / 1000;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.round(s / 60)} min`;
  if (s < 86_400) return `${Math.round(s / 3600)} h`;
  return `${Math.round(s / 86_400)} d`;
}

/** Date and time of the reader's zone. */
export function moment(at: string | number): string {
  return new Date(at).toLocaleString('en-GB', {
    year: 'numeric', month: 'short', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit', timeZoneName: 'short',
  });
}

/** For `datetime-local`, which wants the reader's own time. */
export function local(at: string | null | undefined): string {
  if (!at) return '';
  const date = new Date(at);
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** What such a field says, as the API takes it; null if it is empty. */
export const instant = (text: string): string | null => (text === '' ? null : new Date(text).toISOString());

export const clock = (at: string): string => new Date(at).toLocaleTimeString('en-GB');

/** `ip:port`, with brackets where the address has colons itself. */
export function address(of: { ip_address: string; port: number } | null | undefined): string | null {
  if (!of) return null;
  return of.ip_address.includes(':') ? `[${of.ip_address}]:${of.port}` : `${of.ip_address}:${of.port}`;
}

/** `copying_while_running` as a sentence has it. */
export function words(name: string): string {
  const text = name.replaceAll('_', ' ');
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** `1 server`, `2 servers`. */
export const count = (n: number, one: string, many = `${one}s`): string => `${whole(n)} ${n === 1 ? one : many}`;
