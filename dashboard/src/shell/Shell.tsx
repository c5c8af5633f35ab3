import { ActionIcon, Indicator, Menu, Popover, Tooltip, useMantineColorScheme } from '@mantine/core'
import { useHotkeys } from '@mantine/hooks'
import {
  IconBell,
  IconDeviceDesktop,
  IconLogout,
  IconMenu2,
  IconMoon,
  IconSearch,
  IconSun,
  IconUser,
} from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { Link, Outlet, useRouterState } from '@tanstack/react-router'
import { lazy, Suspense, useEffect, useRef, useState } from 'react'
import { api } from '#/api/client'
import { labsQuery } from '#/api/queries'
import { clock } from '#/format/time'
import { ended, STATES } from '#/labs/states'
import { Ago } from '#/parts/Ago'
import { Sheet } from '#/parts/Dialogs'
import { retrying } from '#/parts/retrying'
import { useLiveStatus, useNotices, useTellSession } from './live'
import { Mark } from './Mark'
import { useMe, useOperator } from './me'
import { SignInAgain } from './SignInAgain'
import css from './shell.module.css'

const Palette = lazy(retrying(() => import('./Palette')))

const PLACES = [
  { to: '/catalogue', title: 'Catalogue' },
  { to: '/labs', title: 'My Datalabs' },
  { to: '/data', title: 'Data' },
  { to: '/usage', title: 'Usage' },
] as const

/** What surrounds every signed-in page. */
export function Shell() {
  const [palette, setPalette] = useState(false)
  useHotkeys([['mod+K', () => setPalette((open) => !open)]], [])
  return (
    <>
      <a className={css.skip} href="#main">
        Skip to the page
      </a>
      <TopBar find={() => setPalette(true)} />
      <ConnectionStrip />
      <Main />
      <LabStates />
      <SignInAgain />
      {palette && (
        <Suspense>
          <Palette close={() => setPalette(false)} />
        </Suspense>
      )}
    </>
  )
}

/** The page itself; a move to another page brings the focus and the reader to its top. */
function Main() {
  const main = useRef<HTMLElement>(null)
  const pathname = useRouterState({ select: (state) => state.location.pathname })
  const first = useRef(true)
  useEffect(() => {
    if (first.current) {
      first.current = false
      return
    }
    if (pathname) main.current?.focus({ preventScroll: true })
  }, [pathname])
  return (
    <main id="main" ref={main} className={css.main} tabIndex={-1}>
      <Outlet />
    </main>
  )
}

function Places({ running }: { running: number }) {
  const operator = useOperator()
  return (
    <>
      {PLACES.map(({ to, title }) => (
        <Link key={to} to={to} activeOptions={{ exact: false, includeSearch: false }}>
          {title}
          {to === '/labs' && running > 0 && (
            <span className={css.count}>
              {running}
              <span className="sr"> running</span>
            </span>
          )}
        </Link>
      ))}
      {operator && (
        <Link to="/operations" activeOptions={{ exact: false, includeSearch: false }}>
          Operations
        </Link>
      )}
    </>
  )
}

function TopBar({ find }: { find: () => void }) {
  const { data: labs } = useQuery(labsQuery)
  const running = labs?.filter((lab) => !ended(lab)).length ?? 0
  const [drawer, setDrawer] = useState(false)
  return (
    <header className={css.bar}>
      <ActionIcon
        className={css.narrowOnly}
        variant="subtle"
        color="gray"
        size="lg"
        aria-label="Menu"
        onClick={() => setDrawer(true)}
      >
        <IconMenu2 size={20} />
      </ActionIcon>
      <Link to="/catalogue" className={css.brand}>
        <Mark />
        <span>
          <b>Open</b> Datalabs
        </span>
      </Link>
      <nav className={`${css.nav} ${css.wideOnly}`} aria-label="Pages">
        <Places running={running} />
      </nav>
      <div className={css.tools}>
        <button type="button" className={css.finder} onClick={find} aria-keyshortcuts="Control+K">
          <IconSearch size={17} aria-hidden />
          <span>Find anything</span>
          <kbd>Ctrl K</kbd>
        </button>
        <Notices />
        <SchemeMenu />
        <MeMenu />
      </div>
      <Sheet opened={drawer} close={() => setDrawer(false)} title="Open Datalabs">
        {/* biome-ignore lint/a11y/useKeyWithClickEvents: the links inside take the keys; this only closes the drawer behind them */}
        {/* biome-ignore lint/a11y/noStaticElementInteractions: the same */}
        <div className={css.drawer} onClick={() => setDrawer(false)}>
          <Places running={running} />
        </div>
      </Sheet>
    </header>
  )
}

function Notices() {
  const { notices, unseen, see } = useNotices()
  return (
    <Popover width={340} position="bottom-end" shadow="md" onOpen={see} withArrow trapFocus returnFocus>
      <Indicator disabled={unseen === 0} label={unseen} size={16} offset={5} color="red">
        <Popover.Target>
          <ActionIcon
            variant="subtle"
            color="gray"
            size="lg"
            aria-label={unseen > 0 ? `Notices, ${unseen} new` : 'Notices'}
          >
            <IconBell size={19} />
          </ActionIcon>
        </Popover.Target>
      </Indicator>
      <Popover.Dropdown>
        {notices.length === 0 ? (
          <p style={{ color: 'var(--ink-2)', fontSize: '0.875rem' }}>
            Nothing to tell. When a lab becomes ready, fails or is about to end, it says so here.
          </p>
        ) : (
          <div className={css.notices}>
            {notices.map((notice) => (
              <div key={notice.id} className={css.notice} data-tone={notice.tone}>
                <i aria-hidden />
                <Link to="/labs/$labId" params={{ labId: notice.labId }}>
                  {notice.title}
                </Link>
                <small>
                  <Ago at={new Date(notice.at).toISOString()} />
                </small>
                <p>{notice.text}</p>
              </div>
            ))}
          </div>
        )}
      </Popover.Dropdown>
    </Popover>
  )
}

function SchemeMenu() {
  const { colorScheme, setColorScheme } = useMantineColorScheme()
  const schemes = [
    { value: 'light', title: 'Light', icon: IconSun },
    { value: 'dark', title: 'Dark', icon: IconMoon },
    { value: 'auto', title: 'As the system', icon: IconDeviceDesktop },
  ] as const
  const Current = schemes.find((scheme) => scheme.value === colorScheme)?.icon ?? IconDeviceDesktop
  return (
    <Menu>
      <Menu.Target>
        <ActionIcon variant="subtle" color="gray" size="lg" aria-label="Theme">
          <Current size={19} />
        </ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        {schemes.map(({ value, title, icon: Icon }) => (
          <Menu.Item
            key={value}
            role="menuitemradio"
            aria-checked={colorScheme === value}
            leftSection={<Icon size={16} aria-hidden />}
            rightSection={colorScheme === value ? '✓' : undefined}
            onClick={() => setColorScheme(value)}
          >
            {title}
          </Menu.Item>
        ))}
      </Menu.Dropdown>
    </Menu>
  )
}

function MeMenu() {
  const me = useMe()
  const tellSession = useTellSession()
  const signOut = async (): Promise<void> => {
    await api.delete('/api/v1/session', { unauthenticated: 'throw' }).catch(() => undefined)
    tellSession('out')
    location.assign('/sign-in')
  }
  return (
    <Menu width={230}>
      <Menu.Target>
        <Tooltip label={me.display_name || me.username}>
          <ActionIcon
            variant="subtle"
            color="gray"
            size="lg"
            aria-label={`Me: ${me.display_name || me.username}`}
          >
            <IconUser size={19} />
          </ActionIcon>
        </Tooltip>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>
          {me.display_name || me.username}
          <br />
          {me.username} · {me.roles.join(', ')}
        </Menu.Label>
        <Menu.Item leftSection={<IconLogout size={16} aria-hidden />} onClick={() => void signOut()}>
          Sign out
        </Menu.Item>
      </Menu.Dropdown>
    </Menu>
  )
}

/** Says when the page may be behind the truth; it waits a moment, so that a blink of the network says nothing. */
function ConnectionStrip() {
  const status = useLiveStatus()
  const lost = status.state === 'lost' || status.state === 'connecting'
  const [shown, setShown] = useState(false)
  useEffect(() => {
    if (!lost) {
      setShown(false)
      return
    }
    const timer = setTimeout(() => setShown(true), 1_500)
    return () => clearTimeout(timer)
  }, [lost])
  return (
    <div role="status">
      {shown && (
        <div className={css.strip}>
          Reconnecting; what you see is from {clock(status.heardAt)}. Labs that run go on running.
        </div>
      )}
    </div>
  )
}

/** Tells screen readers when a lab of theirs changes its state, wherever they are. */
function LabStates() {
  const { data: labs } = useQuery(labsQuery)
  const known = useRef(new Map<string, string>())
  const [text, setText] = useState('')
  useEffect(() => {
    const changes: string[] = []
    for (const lab of labs ?? []) {
      const before = known.current.get(lab.id)
      if (before !== undefined && before !== lab.state) changes.push(`${lab.name}: ${STATES[lab.state].word}`)
      known.current.set(lab.id, lab.state)
    }
    if (changes.length > 0) setText(changes.join('. '))
  }, [labs])
  return (
    <div className="sr" aria-live="polite" role="log">
      {text}
    </div>
  )
}
