// State that lives in the page's address, so that a reload, a bookmark and the back button find it again.
import { useCallback } from 'react';
import { useSearchParams } from 'react-router';

export function useAddressState(name: string): [string, (value: string) => void] {
  const [parameters, setParameters] = useSearchParams();
  const set = useCallback(
    (value: string) =>
      setParameters(
        (before) => {
          const next = new URLSearchParams(before);
          if (value === '') next.delete(name);
          else next.set(name, value);
          // Another filter, another list: it begins at its first page.
          if (name !== 'page') next.delete('page');
          return next;
        },
        { replace: true },
      ),
    [name, setParameters],
  );
  return [parameters.get(name) ?? '', set];
}

export function usePage(): [number, (page: number) => void] {
  const [text, set] = useAddressState('page');
  const page = Number.parseInt(text, 10);
  return [page > 0 ? page : 1, (next) => set(next === 1 ? '' : String(next))];
}
