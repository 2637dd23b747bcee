import { describe, expect, it } from 'vitest';
import { EventParser } from './stream';

describe('the stream of events', () => {
  it('is the same in whatever pieces it comes', () => {
    const text = 'id: 7\nevent: stage\ndata: {"a": 1}\n\n: keep-alive\n\nevent: progress\ndata: x\ndata: y\n\n';
    const expected = [
      { id: '7', kind: 'stage', data: '{"a": 1}' },
      { id: null, kind: 'progress', data: 'x\ny' },
    ];
    expect(new EventParser().push(text)).toEqual(expected);
    const parser = new EventParser();
    expect(Array.from(text).flatMap((letter) => parser.push(letter))).toEqual(expected);
  });

  it('gives nothing for a block that is not over', () => {
    expect(new EventParser().push('id: 7\ndata: half')).toEqual([]);
  });
});
