// Lets in who is logged in; everybody else goes to the log-in page and comes back afterwards to where they were.
import { Button, Center, Loader, Stack, Text } from '@mantine/core';
import { useQueryClient } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { Navigate, Outlet, useLocation } from 'react-router';
import { failureOf } from '../api/failure';
import { refresh, useSession } from '../api/session';

export function Gate() {
  const session = useSession();
  const location = useLocation();
  const queries = useQueryClient();
  useEffect(() => {
    // What one user has seen is nothing for the next.
    if (session.state === 'out') queries.clear();
  }, [session.state, queries]);
  if (session.state === 'unknown') return <Entering />;
  if (session.state === 'out') {
    const here = location.pathname + location.search;
    return <Navigate to="/login" replace state={{ to: here === '/' ? null : here, ended: session.ended }} />;
  }
  return <Outlet />;
}

/** Asks once whether there is a session from before. */
export function Entering() {
  const [problem, setProblem] = useState<string | null>(null);
  const [attempt, setAttempt] = useState(0);
  useEffect(() => {
    let here = true;
    refresh().catch((error: unknown) => here && setProblem(failureOf(error).message));
    return () => {
      here = false;
    };
  }, [attempt]);
  return (
    <Center component="main" mih="100vh" p="md">
      {problem === null ? (
        <Loader aria-label="Loading" />
      ) : (
        <Stack align="center" role="alert">
          <Text>{problem}</Text>
          <Button onClick={() => { setProblem(null); setAttempt(attempt + 1); }}>Try again</Button>
        </Stack>
      )}
    </Center>
  );
}
