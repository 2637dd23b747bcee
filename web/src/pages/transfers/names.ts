// Names of servers that are only known by id. One that is gone is shown by its id.
import { useQueries } from '@tanstack/react-query';
import { api, take } from '../../api/client';

export function useServerNames(ids: string[]): (id: string) => string {
  const wanted = [...new Set(ids)];
  const found = useQueries({
    queries: wanted.map((id) => ({
      queryKey: ['server', id, 'admin'],
      queryFn: () => take(api.GET('/api/v1/admin/servers/{id}', { params: { path: { id } } })),
      staleTime: 60_000,
      retry: false,
    })),
  });
  const names = new Map(found.flatMap(({ data }) => (data ? [[data.id, data.name] as const] : [])));
  return (id) => names.get(id) ?? id.slice(0, 8);
}
