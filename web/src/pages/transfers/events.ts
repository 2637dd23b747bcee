// The live side of a transfer: its events as they happen, and what becomes of them. A page that is loaded in the middle
// gets all kept events again and goes on from there.
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useReducer, useRef } from 'react';
import { follow, type ServerEvent } from '../../api/stream';
import type { Transfer } from '../../api/queries';
import { isRecord } from '../../api/failure';
import { tellFailure } from '../../components/act';
import { Chart, type Sample } from './stages';

export interface LogLine {
  id: string;
  at: string;
  level: string;
  message: string;
}

export interface Live {
  progress: Transfer['progress'] | null;
  log: LogLine[];
  connected: boolean;
  samples: readonly Sample[];
}

type Change = { kind: 'connected'; yes: boolean } | { kind: 'log'; line: LogLine } | { kind: 'progress'; progress: Transfer['progress']; samples: readonly Sample[] } | { kind: 'reset' };

const NOTHING: Live = { progress: null, log: [], connected: false, samples: [] };

function change(live: Live, news: Change): Live {
  switch (news.kind) {
    case 'reset': return NOTHING;
    case 'connected': return { ...live, connected: news.yes };
    case 'log': return live.log.some(({ id }) => id === news.line.id) ? live : { ...live, log: [...live.log, news.line] };
    case 'progress': return { ...live, progress: news.progress, samples: news.samples };
  }
}

const text = (value: unknown, otherwise: string) => (typeof value === 'string' ? value : otherwise);

export function useTransferEvents(id: string): Live {
  const [live, dispatch] = useReducer(change, NOTHING);
  const queries = useQueryClient();
  const chart = useRef(new Chart());
  useEffect(() => {
    const stop = new AbortController();
    chart.current = new Chart();
    dispatch({ kind: 'reset' });
    const hear = (event: ServerEvent) => {
      const body: unknown = JSON.parse(event.data);
      if (!isRecord(body)) return;
      const at = text(body['at'], new Date().toISOString());
      if (event.kind === 'progress') {
        const progress = body as unknown as Transfer['progress'];
        chart.current.add(Date.parse(at), progress);
        dispatch({ kind: 'progress', progress, samples: [...chart.current.samples] });
        return;
      }
      if (event.kind === 'log') dispatch({ kind: 'log', line: { id: event.id ?? at, at, level: text(body['level'], 'info'), message: text(body['message'], '') } });
      // What a stage changes beside its name is read where all of it is.
      if (event.kind === 'stage' || event.kind === 'end') {
        for (const queryKey of [['transfer', id], ['transfer-of'], ['server']]) void queries.invalidateQueries({ queryKey });
      }
      if (event.kind === 'end') void queries.invalidateQueries({ queryKey: ['nodes'] });
    };
    follow(`/api/v1/admin/transfers/${id}/events`, { event: hear, connected: (yes) => dispatch({ kind: 'connected', yes }) }, stop.signal)
      .catch((error: unknown) => !stop.signal.aborted && tellFailure(error, 'The live view ended'));
    return () => stop.abort();
  }, [id, queries]);
  return live;
}
