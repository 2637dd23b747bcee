// The frame around every page: where one is, where one can go, who one is.
import { ActionIcon, AppShell, Avatar, Burger, Group, Menu, NavLink, ScrollArea, Stack, Text, UnstyledButton, VisuallyHidden, useComputedColorScheme, useMantineColorScheme } from '@mantine/core';
import { useDisclosure } from '@mantine/hooks';
import { IconLogout, IconMoon, IconSun, IconUser } from '@tabler/icons-react';
import { Suspense, useEffect, useRef } from 'react';
import { Link, NavLink as RouterLink, Outlet, useLocation } from 'react-router';
import { logOut, useMe } from '../api/session';
import { tellFailure } from '../components/act';
import { Waiting } from '../components/bits';
import { Announcements } from './announcements';
import { Bell } from './notifications';
import { placesOf, reference } from './places';

export function Shell() {
  const [open, { toggle, close }] = useDisclosure(false);
  const { pathname } = useLocation();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  useEffect(() => {
    close();
    if (first.current) {
      first.current = false;
      return;
    }
    // A new page begins at its beginning, for the eyes and for a screen reader.
    window.scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [pathname, close]);
  return (
    <>
      <a className="bp-skip" href="#content">Skip to content</a>
      <AppShell header={{ height: 56 }} navbar={{ width: 232, breakpoint: 'md', collapsed: { mobile: !open } }} padding={{ base: 'md', sm: 'lg' }}>
        <AppShell.Header>
          <Group h="100%" px="md" justify="space-between" wrap="nowrap">
            <Group gap="sm" wrap="nowrap">
              <Burger opened={open} onClick={toggle} hiddenFrom="md" size="sm" aria-label="Navigation" aria-expanded={open} />
              <Link to="/" className="bp-brand"><img src="/badger.svg" width={28} height={28} alt="" /><span>BadgerPanel</span></Link>
            </Group>
            <Group gap="xs" wrap="nowrap">
              <Bell />
              <SchemeSwitch />
              <UserMenu />
            </Group>
          </Group>
        </AppShell.Header>
        <AppShell.Navbar aria-label="Pages"><Pages /></AppShell.Navbar>
        <AppShell.Main id="content" ref={main} tabIndex={-1} style={{ outline: 'none' }}>
          <div className="bp-page">
            <Announcements />
            <Suspense fallback={<Waiting />}><Outlet /></Suspense>
          </div>
        </AppShell.Main>
      </AppShell>
    </>
  );
}

function Pages() {
  const { permissions } = useMe();
  const { pathname } = useLocation();
  return (
    <ScrollArea type="auto" p="sm" viewportProps={{ tabIndex: -1 }}>
      <Stack gap="md">
        {placesOf(permissions).map(({ group, places }) => (
          <div key={group}>
            <Text size="xs" fw={600} c="dimmed" px="sm" mb={4}>{group}</Text>
            {places.map(({ label, to, icon: Icon }) => (
              <NavLink key={to} component={RouterLink} to={to} label={label} leftSection={<Icon size={18} stroke={1.7} />} active={pathname === to || pathname.startsWith(`${to}/`)} className="bp-navlink" />
            ))}
          </div>
        ))}
        <NavLink component="a" href={reference.to} label={reference.label} leftSection={<reference.icon size={18} stroke={1.7} />} className="bp-navlink" />
      </Stack>
    </ScrollArea>
  );
}

function SchemeSwitch() {
  const { setColorScheme } = useMantineColorScheme();
  const dark = useComputedColorScheme('light') === 'dark';
  return (
    <ActionIcon size="lg" onClick={() => setColorScheme(dark ? 'light' : 'dark')} aria-label={dark ? 'Switch to light' : 'Switch to dark'}>
      {dark ? <IconSun size={20} /> : <IconMoon size={20} />}
    </ActionIcon>
  );
}

function UserMenu() {
  const me = useMe();
  return (
    <Menu position="bottom-end" width={220}>
      <Menu.Target>
        <UnstyledButton className="bp-user">
          <Avatar size={32} radius="xl" color="moss.9" variant="filled">{me.username.slice(0, 2).toUpperCase()}</Avatar>
          <VisuallyHidden>, account of {me.username}</VisuallyHidden>
        </UnstyledButton>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{me.username}{me.role ? ` · ${me.role}` : ''}</Menu.Label>
        <Menu.Item component={Link} to="/account" leftSection={<IconUser size={16} />}>Account</Menu.Item>
        <Menu.Item leftSection={<IconLogout size={16} />} onClick={() => void logOut().catch(tellFailure)}>Log out</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}
