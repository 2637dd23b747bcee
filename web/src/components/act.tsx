// Doing something: a request whose result is told, and a question before what cannot be taken back.
import { Text } from '@mantine/core';
import { modals } from '@mantine/modals';
import { notifications } from '@mantine/notifications';
import { useMutation, useQueryClient, type QueryKey, type UseMutationResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import { failureOf } from '../api/failure';

export function tell(message: string) {
  notifications.show({ color: 'moss', message, role: 'status' });
}

export function tellFailure(error: unknown, title = 'That did not work') {
  notifications.show({ color: 'red', title, message: failureOf(error).full, autoClose: 12_000, role: 'alert' });
}

interface Act<In, Out> {
  run: (given: In) => Promise<Out>;
  /** What to say when it is done. */
  said?: string | ((out: Out, given: In) => string);
  /** What is to be read anew. */
  stale?: QueryKey[];
  then?: (out: Out, given: In) => void;
  /** A form shows its own failures. */
  quiet?: boolean;
}

export function useAct<In = void, Out = void>({ run, said, stale = [], then, quiet = false }: Act<In, Out>): UseMutationResult<Out, Error, In> {
  const client = useQueryClient();
  return useMutation({
    mutationFn: run,
    onSuccess: async (out, given) => {
      if (said) tell(typeof said === 'string' ? said : said(out, given));
      then?.(out, given);
      await Promise.all(stale.map((queryKey) => client.invalidateQueries({ queryKey })));
    },
    onError: (error) => {
      if (!quiet) tellFailure(error);
    },
  });
}

/** Asks before something happens that cannot be taken back. `what` says what will happen. */
export function ask({ title, what, button, danger = true, then }: { title: string; what: ReactNode; button: string; danger?: boolean; then: () => void }) {
  modals.openConfirmModal({
    title,
    children: <Text size="sm" component="div">{what}</Text>,
    labels: { confirm: button, cancel: 'Keep it as it is' },
    confirmProps: danger ? { color: 'red.9' } : {},
    onConfirm: then,
  });
}
