// Logging in.
import { Alert, Button, Card, Center, PasswordInput, Stack, Text, TextInput, Title } from '@mantine/core';
import { useForm } from '@mantine/form';
import { useDocumentTitle } from '@mantine/hooks';
import { useState } from 'react';
import { Navigate, useLocation } from 'react-router';
import { failureOf } from '../api/failure';
import { logIn, useSession } from '../api/session';
import { Entering } from '../shell/gate';

export function Login() {
  useDocumentTitle('Log in · BadgerPanel');
  const session = useSession();
  const from = useLocation().state as { to?: string | null; ended?: boolean } | null;
  const [problem, setProblem] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const form = useForm({
    mode: 'uncontrolled',
    initialValues: { username: '', password: '' },
    validate: { username: (text) => (text ? null : 'Who are you?'), password: (text) => (text ? null : 'The password is missing') },
  });
  if (session.state === 'unknown') return <Entering />;
  if (session.state === 'in') return <Navigate to={from?.to ?? '/'} replace />;
  const submit = form.onSubmit(async ({ username, password }) => {
    setBusy(true);
    setProblem(null);
    try {
      await logIn(username.trim(), password);
    } catch (error) {
      setProblem(failureOf(error).full);
    } finally {
      setBusy(false);
    }
  });
  return (
    <Center component="main" mih="100vh" p="md">
      <Card w="100%" maw={400} padding="xl" shadow="sm">
        <form onSubmit={submit} noValidate>
          <Stack>
            <Stack gap={4} align="center">
              <img src="/badger.svg" width={56} height={56} alt="" />
              <Title order={1}>BadgerPanel</Title>
              <Text c="dimmed" size="sm">{from?.ended ? 'Your session is over. Log in to go on where you were.' : 'Log in to go on.'}</Text>
            </Stack>
            {problem && <Alert color="red" variant="default" role="alert">{problem}</Alert>}
            <TextInput label="User name or e-mail address" autoComplete="username" autoFocus key={form.key('username')} {...form.getInputProps('username')} />
            <PasswordInput label="Password" autoComplete="current-password" key={form.key('password')} {...form.getInputProps('password')} visibilityToggleButtonProps={{ 'aria-label': 'Show or hide the password', tabIndex: 0 }} />
            <Button type="submit" size="md" loading={busy}>Log in</Button>
          </Stack>
        </form>
      </Card>
    </Center>
  );
}
