import { describe, expect, it } from 'vitest';
import { address, bytes, count, duration, relative, words } from './format';

describe('numbers as people read them', () => {
  it.each([[0, '0 B'], [999, '999 B'], [1000, '0.98 KiB'], [1536, '1.50 KiB'], [67_108_864, '64.0 MiB'], [1_099_511_627_776, '1.00 TiB']])(
    '%d bytes are %s', (given, text) => expect(bytes(given)).toBe(text));

  it.each([[0, '0 ms'], [640, '640 ms'], [3100, '3.1 s'], [59_000, '59 s'], [60_000, '1 min'], [250_000, '4 min 10 s'], [7_500_000, '2 h 5 min'], [259_200_000, '3 d']])(
    '%d ms are %s', (given, text) => expect(duration(given)).toBe(text));

  it('says how far away a time is, in both directions', () => {
    expect(relative(0, 5_000)).toBe('just now');
    expect(relative(0, 7_200_000)).toBe('2 h ago');
    expect(relative(180_000, 0)).toBe('in 3 min');
  });

  it('puts brackets around addresses with colons', () => {
    expect(address({ ip_address: '10.0.0.5', port: 80 })).toBe('10.0.0.5:80');
    expect(address({ ip_address: '::1', port: 80 })).toBe('[::1]:80');
    expect(address(null)).toBeNull();
  });

  it('counts things', () => {
    expect(count(1, 'server')).toBe('1 server');
    expect(count(1200, 'server')).toBe('1,200 servers');
    expect(words('copying_while_running')).toBe('Copying while running');
  });
});
