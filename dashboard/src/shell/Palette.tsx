import { Modal } from '@mantine/core'
import {
  IconChartBar,
  IconDatabase,
  IconFlask,
  IconHeartbeat,
  IconHourglass,
  IconLayoutGrid,
  IconListDetails,
  IconPackages,
  IconPlayerStop,
  IconRocket,
  IconServer2,
  IconStack2,
  IconUsers,
} from '@tabler/icons-react'
import { useQuery } from '@tanstack/react-query'
import { useNavigate } from '@tanstack/react-router'
import { type ComponentType, type KeyboardEvent, useEffect, useId, useMemo, useRef, useState } from 'react'
import { collectionsQuery, datalabsQuery, labsQuery } from '#/api/queries'
import { useLabActions } from '#/labs/actions'
import { canOpen, ended, STATES } from '#/labs/states'
import { matches } from './find'
import { useOperator } from './me'
import css from './shell.module.css'

interface Choice {
  id: string
  group: string
  title: string
  hint: string
  icon: ComponentType<{ size?: number | string }>
  run: () => void
}

const OPERATIONS: readonly { path: string; title: string; icon: Choice['icon'] }[] = [
  { path: '', title: 'now', icon: IconHeartbeat },
  { path: '/nodes', title: 'nodes', icon: IconServer2 },
  { path: '/queue', title: 'queue', icon: IconHourglass },
  { path: '/preparation', title: 'preparation', icon: IconPackages },
  { path: '/people', title: 'people', icon: IconUsers },
  { path: '/events', title: 'events', icon: IconListDetails },
  { path: '/traces', title: 'traces', icon: IconStack2 },
  { path: '/dead-letters', title: 'dead letters', icon: IconListDetails },
]

/** Find a datalab, a lab, a collection, a page or an action from the keyboard. */
export default function Palette({ close }: { close: () => void }) {
  const navigate = useNavigate()
  const actions = useLabActions()
  const operator = useOperator()
  const { data: labs } = useQuery(labsQuery)
  const { data: catalogue } = useQuery(datalabsQuery({}))
  const { data: collections } = useQuery(collectionsQuery)
  const [text, setText] = useState('')
  const [at, setAt] = useState(0)
  const listId = useId()
  const list = useRef<HTMLDivElement>(null)

  const all = useMemo<Choice[]>(() => {
    const go =
      (to: string): Choice['run'] =>
      () =>
        void navigate({ to })
    const pages: Choice[] = [
      {
        id: 'p-catalogue',
        group: 'Pages',
        title: 'Catalogue',
        hint: '',
        icon: IconLayoutGrid,
        run: go('/catalogue'),
      },
      { id: 'p-labs', group: 'Pages', title: 'My Datalabs', hint: '', icon: IconFlask, run: go('/labs') },
      { id: 'p-data', group: 'Pages', title: 'Data', hint: '', icon: IconDatabase, run: go('/data') },
      { id: 'p-usage', group: 'Pages', title: 'Usage', hint: '', icon: IconChartBar, run: go('/usage') },
    ]
    if (operator) {
      pages.push(
        ...OPERATIONS.map(({ path, title, icon }) => ({
          id: `p-${path}`,
          group: 'Pages',
          title: `Operations: ${title}`,
          hint: '',
          icon,
          run: go(`/operations${path}`),
        })),
      )
    }
    const mine = (labs ?? []).flatMap<Choice>((lab) => {
      const show = {
        id: `l-${lab.id}`,
        group: 'My labs',
        title: lab.name,
        hint: STATES[lab.state].word,
        icon: IconFlask,
        run: go(`/labs/${lab.id}`),
      }
      if (canOpen(lab)) {
        return [
          show,
          {
            id: `o-${lab.id}`,
            group: 'Actions',
            title: `Open ${lab.name}`,
            hint: 'in a new tab',
            icon: IconRocket,
            run: () => void actions.open(lab),
          },
          {
            id: `s-${lab.id}`,
            group: 'Actions',
            title: `Stop ${lab.name}`,
            hint: '',
            icon: IconPlayerStop,
            run: () => void actions.stop(lab),
          },
        ]
      }
      return [show]
    })
    const running = mine.filter(
      (choice) => !(labs ?? []).some((lab) => choice.id === `l-${lab.id}` && ended(lab)),
    )
    const past = mine.filter((choice) => !running.includes(choice))
    const datalabs = (catalogue?.items ?? []).map<Choice>((datalab) => ({
      id: `d-${datalab.slug}`,
      group: 'Datalabs',
      title: datalab.title,
      hint: datalab.domain,
      icon: IconRocket,
      run: go(`/datalabs/${datalab.slug}`),
    }))
    const data = (collections ?? []).map<Choice>((collection) => ({
      id: `c-${collection.id}`,
      group: 'Collections',
      title: collection.title,
      hint: collection.path,
      icon: IconDatabase,
      run: go(`/data/${collection.id}`),
    }))
    const order = ['My labs', 'Actions', 'Datalabs', 'Collections', 'Pages']
    return [...running, ...datalabs, ...data, ...pages, ...past].sort(
      (a, b) => order.indexOf(a.group) - order.indexOf(b.group),
    )
  }, [actions, catalogue, collections, labs, navigate, operator])

  const found = useMemo(() => {
    const fitting = all.filter((choice) => matches(text, `${choice.title} ${choice.hint} ${choice.group}`))
    const perGroup = new Map<string, number>()
    return fitting.filter((choice) => {
      const number = (perGroup.get(choice.group) ?? 0) + 1
      perGroup.set(choice.group, number)
      return number <= (text ? 8 : 5)
    })
  }, [all, text])
  const current = Math.min(at, Math.max(0, found.length - 1))

  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest' })
    if (current < 0) setAt(0)
  }, [current])

  const choose = (choice: Choice | undefined): void => {
    if (!choice) return
    close()
    choice.run()
  }
  const keyed = (event: KeyboardEvent): void => {
    if (event.key === 'ArrowDown') setAt((current + 1) % Math.max(1, found.length))
    else if (event.key === 'ArrowUp') setAt((current - 1 + found.length) % Math.max(1, found.length))
    else if (event.key === 'Enter') choose(found[current])
    else return
    event.preventDefault()
  }

  return (
    <Modal.Root opened onClose={close} padding={0} size="38rem" yOffset="12dvh" centered={false}>
      <Modal.Overlay backgroundOpacity={0.45} blur={2} />
      <Modal.Content aria-label="Find anything">
        <div className={css.palette}>
          <input
            data-autofocus
            role="combobox"
            aria-expanded="true"
            aria-controls={listId}
            aria-activedescendant={found[current] ? `${listId}-${found[current].id}` : undefined}
            aria-label="Find a datalab, a lab, a page or an action"
            placeholder="Find a datalab, a lab, a page or an action"
            value={text}
            onChange={(event) => {
              setText(event.currentTarget.value)
              setAt(0)
            }}
            onKeyDown={keyed}
          />
          <div className={css.choices} role="listbox" id={listId} ref={list} aria-label="Found">
            {found.length === 0 && <p className={css.group}>Nothing has these words in its name.</p>}
            {found.map((choice, index) => (
              <div key={choice.id} role="presentation">
                {choice.group !== found[index - 1]?.group && (
                  <div className={css.group} role="presentation">
                    {choice.group}
                  </div>
                )}
                {/* biome-ignore lint/a11y/useKeyWithClickEvents: the combobox above takes the keys (aria-activedescendant) */}
                {/* biome-ignore lint/a11y/useFocusableInteractive: the same */}
                <div
                  role="option"
                  id={`${listId}-${choice.id}`}
                  aria-selected={index === current}
                  className={css.choice}
                  onClick={() => choose(choice)}
                  onMouseMove={() => setAt(index)}
                >
                  <choice.icon size={18} />
                  <span>{choice.title}</span>
                  <small>{choice.hint}</small>
                </div>
              </div>
            ))}
          </div>
          <div className={css.keys} aria-hidden="true">
            <span>↑ ↓ to choose</span>
            <span>Enter to go</span>
            <span>Esc to close</span>
          </div>
        </div>
      </Modal.Content>
    </Modal.Root>
  )
}
