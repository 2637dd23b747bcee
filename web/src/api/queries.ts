// What is read from the panel, by the names under which it is kept. Whoever changes something says which of these names
// are stale.
import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { ApiFailure, api, everyRow, take, takePage, type Schemas } from './client';

export type Server = Schemas['ServerView'];
export type Node = Schemas['NodeView'];
export type Cluster = Schemas['ClusterView'];
export type Transfer = Schemas['TransferView'];
export type Egg = Schemas['EggView'];
export type Scope = 'admin' | 'own';

/** Lists that show what changes by itself are read anew this often. */
const LIVE_MS = 5_000;

export function useServers(page: number, filter: { name?: string; status?: string; node?: string; cluster?: string }) {
  return useQuery({
    queryKey: ['servers', 'admin', page, filter],
    queryFn: () => takePage(api.GET('/api/v1/admin/servers', { params: { query: {
      page, sort: 'name', 'filter[search]': filter.name || undefined, 'filter[status]': filter.status || undefined,
      'filter[node_id]': filter.node || undefined, 'filter[cluster_id]': filter.cluster || undefined,
    } } })),
    placeholderData: keepPreviousData,
    refetchInterval: LIVE_MS,
  });
}

export function useServer(id: string, scope: Scope) {
  const path = { params: { path: { id } } };
  return useQuery({
    queryKey: ['server', id, scope],
    queryFn: () => (scope === 'admin' ? take(api.GET('/api/v1/admin/servers/{id}', path)) : take(api.GET('/api/v1/servers/{id}', path))),
    refetchInterval: 3_000,
  });
}

/** The transfer of a server that goes on now, or its last one; null if it has never moved. */
export function useTransferOf(id: string, scope: Scope) {
  const path = { params: { path: { id } } };
  return useQuery({
    queryKey: ['transfer-of', id, scope],
    queryFn: async () => {
      try {
        return await (scope === 'admin' ? take(api.GET('/api/v1/admin/servers/{id}/transfer', path)) : take(api.GET('/api/v1/servers/{id}/transfer', path)));
      } catch (error) {
        if (error instanceof ApiFailure && error.status === 404) return null;
        throw error;
      }
    },
    refetchInterval: (query) => (query.state.data && !isOver(query.state.data) ? 1_500 : LIVE_MS),
  });
}

export function useTransfer(id: string) {
  return useQuery({
    queryKey: ['transfer', id],
    queryFn: () => take(api.GET('/api/v1/admin/transfers/{id}', { params: { path: { id } } })),
    refetchInterval: (query) => (query.state.data && isOver(query.state.data) ? false : 2_000),
  });
}

export const isOver = (transfer: Pick<Transfer, 'state'>): boolean => ['completed', 'rolled_back', 'stuck'].includes(transfer.state);

export function useNodes() {
  return useQuery({ queryKey: ['nodes'], queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/nodes', { params: { query: { page, per_page: 100, sort: 'name' } } }))), refetchInterval: LIVE_MS });
}

export function useNode(id: string) {
  return useQuery({ queryKey: ['nodes', id], queryFn: () => take(api.GET('/api/v1/admin/nodes/{id}', { params: { path: { id } } })), refetchInterval: LIVE_MS });
}

export function useCapacity(id: string) {
  return useQuery({ queryKey: ['nodes', id, 'capacity'], queryFn: () => take(api.GET('/api/v1/admin/nodes/{id}/capacity', { params: { path: { id } } })), refetchInterval: LIVE_MS });
}

export function useClusters() {
  return useQuery({ queryKey: ['clusters'], queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/clusters', { params: { query: { page, per_page: 100, sort: 'name' } } }))), refetchInterval: LIVE_MS });
}

export function useCluster(id: string) {
  return useQuery({ queryKey: ['clusters', id], queryFn: () => take(api.GET('/api/v1/admin/clusters/{id}', { params: { path: { id } } })), refetchInterval: LIVE_MS });
}

export function useEggs() {
  return useQuery({ queryKey: ['eggs', 'all'], queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/eggs', { params: { query: { page, per_page: 100 } } }))), staleTime: 30_000 });
}

export function useEgg(id: string) {
  return useQuery({ queryKey: ['eggs', id], queryFn: () => take(api.GET('/api/v1/admin/eggs/{id}', { params: { path: { id } } })), staleTime: 30_000 });
}

export function useUsers() {
  return useQuery({ queryKey: ['users', 'all'], queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/users', { params: { query: { page, per_page: 100, sort: 'username' } } }))), staleTime: 30_000 });
}

export function useRoles() {
  return useQuery({ queryKey: ['roles', 'all'], queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/roles', { params: { query: { page, per_page: 100 } } }))), staleTime: 30_000 });
}

export function useAllocations(filter: { node?: string; cluster?: string; server?: string; free?: boolean }, on = true) {
  return useQuery({
    queryKey: ['allocations', filter],
    queryFn: () => everyRow((page) => takePage(api.GET('/api/v1/admin/allocations', { params: { query: {
      page, per_page: 100, 'filter[node_id]': filter.node, 'filter[cluster_id]': filter.cluster, 'filter[server_id]': filter.server, 'filter[free]': filter.free,
    } } }))),
    enabled: on,
  });
}

/** Names of nodes and clusters by their ids. */
export function usePlaceNames(): (end: { node_id?: string | null; cluster_id?: string | null }) => string {
  const nodes = useNodes();
  const clusters = useClusters();
  const names = new Map([...(nodes.data ?? []), ...(clusters.data ?? [])].map(({ id, name }) => [id, name]));
  return ({ node_id, cluster_id }) => {
    const id = node_id ?? cluster_id;
    return id ? (names.get(id) ?? id.slice(0, 8)) : '–';
  };
}
