// A list: rows with the same columns, in pages, perhaps to be selected. On a narrow screen each row is a card (styles.css),
// so the roles are written out: changing `display` takes them from the elements.
import { Checkbox, EmptyState, Group, Pagination, Skeleton, Table, Text } from '@mantine/core';
import type { UseQueryResult } from '@tanstack/react-query';
import type { ReactNode } from 'react';
import type { Page } from '../api/client';
import { whole } from '../lib/format';
import { Failed } from './bits';

export interface Column<T> {
  name: string;
  cell: (row: T) => ReactNode;
  /** The one that says which row it is. */
  lead?: boolean;
  /** Numbers stand at the end. */
  end?: boolean;
}

interface Selection {
  chosen: ReadonlySet<string>;
  change: (chosen: ReadonlySet<string>) => void;
  name: (id: string) => string;
}

interface Props<T> {
  label: string;
  query: UseQueryResult<Page<T>>;
  columns: Column<T>[];
  id: (row: T) => string;
  empty: { title: string; what: ReactNode; action?: ReactNode; icon?: ReactNode };
  onPage?: (page: number) => void;
  selection?: Selection;
}

export function DataTable<T>({ label, query, columns, id, empty, onPage, selection }: Props<T>) {
  if (query.error && !query.data) return <Failed error={query.error} again={() => void query.refetch()} />;
  const page = query.data;
  if (page?.rows.length === 0) {
    return (
      <EmptyState icon={empty.icon} title={empty.title} description={empty.what} py="xl">
        {empty.action && <EmptyState.Actions>{empty.action}</EmptyState.Actions>}
      </EmptyState>
    );
  }
  const ids = page?.rows.map(id) ?? [];
  const all = ids.length > 0 && ids.every((one) => selection?.chosen.has(one));
  const some = ids.some((one) => selection?.chosen.has(one));
  const toggle = (of: string[], on: boolean) => {
    const next = new Set(selection?.chosen);
    of.forEach((one) => (on ? next.add(one) : next.delete(one)));
    selection?.change(next);
  };
  return (
    <>
      <Table className="bp-table" role="table" aria-label={label} aria-busy={!page}>
        <Table.Thead role="rowgroup">
          <Table.Tr role="row">
            {selection && (
              <Table.Th role="columnheader" w={40}>
                <Checkbox aria-label="Select all on this page" checked={all} indeterminate={some && !all} onChange={(event) => toggle(ids, event.currentTarget.checked)} />
              </Table.Th>
            )}
            {columns.map((column) => (
              <Table.Th key={column.name} role="columnheader" data-end={column.end}>{column.name || <span className="bp-hidden">Actions</span>}</Table.Th>
            ))}
          </Table.Tr>
        </Table.Thead>
        <Table.Tbody role="rowgroup">
          {page
            ? page.rows.map((row) => (
                <Table.Tr key={id(row)} role="row">
                  {selection && (
                    <Table.Td role="cell" data-label="Select">
                      <Checkbox aria-label={`Select ${selection.name(id(row))}`} checked={selection.chosen.has(id(row))} onChange={(event) => toggle([id(row)], event.currentTarget.checked)} />
                    </Table.Td>
                  )}
                  {columns.map((column) => (
                    <Table.Td key={column.name} role="cell" data-label={column.name} data-end={column.end} data-lead={column.lead}>{column.cell(row)}</Table.Td>
                  ))}
                </Table.Tr>
              ))
            : Array.from({ length: 5 }, (_, row) => (
                <Table.Tr key={row} role="row">
                  {columns.map((column) => <Table.Td key={column.name} role="cell" data-label=""><Skeleton h={16} w={`${60 + ((row * 13) % 35)}%`} /></Table.Td>)}
                </Table.Tr>
              ))}
        </Table.Tbody>
      </Table>
      {page && onPage && page.meta.total_pages > 1 && (
        <Group justify="space-between" mt="md">
          <Text size="sm" c="dimmed">{whole(page.meta.total)} in all</Text>
          <Pagination value={page.meta.current_page} total={page.meta.total_pages} onChange={onPage} size="sm" siblings={1} getControlProps={(control) => ({ 'aria-label': `${control} page` })} getItemProps={(number) => ({ 'aria-label': `Page ${number}` })} />
        </Group>
      )}
    </>
  );
}
