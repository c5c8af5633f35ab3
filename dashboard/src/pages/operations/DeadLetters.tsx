import { Button } from '@mantine/core'
import { notifications } from '@mantine/notifications'
import { useInfiniteQuery, useMutation, useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { api } from '#/api/client'
import type { DeadLetter } from '#/api/model'
import { deadLettersQuery, keys } from '#/api/queries'
import { count } from '#/format/amounts'
import { Ago } from '#/parts/Ago'
import { Log } from '#/parts/Log'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import css from './operations.module.css'

/** Messages that a handler gave up on, with their error; a replay hands them to that handler again. */
export function DeadLetters() {
  const query = useInfiniteQuery(deadLettersQuery)
  const rows: DeadLetter[] = (query.data?.pages ?? []).flatMap((page) => page.items)
  return (
    <Panel
      title="Dead letters"
      actions={
        <Button size="xs" variant="default" loading={query.isRefetching} onClick={() => void query.refetch()}>
          Look again
        </Button>
      }
    >
      {query.error && <Told error={query.error} again={() => void query.refetch()} />}
      {!query.data && !query.error && <Pending height="10rem" />}
      {query.data && rows.length === 0 && <p style={{ color: 'var(--ink-2)' }}>Every message was handled.</p>}
      <div>
        {rows.map((letter) => (
          <Letter key={letter.id} letter={letter} />
        ))}
      </div>
      {query.hasNextPage && (
        <Button
          variant="default"
          loading={query.isFetchingNextPage}
          onClick={() => void query.fetchNextPage()}
        >
          Show older ones
        </Button>
      )}
    </Panel>
  )
}

function Letter({ letter }: { letter: DeadLetter }) {
  const client = useQueryClient()
  const [open, setOpen] = useState(false)
  const replay = useMutation({
    mutationFn: () =>
      api.post('/api/v1/dead-letters/{dead_letter_id}/replay', { path: { dead_letter_id: letter.id } }),
    onSuccess: () => {
      notifications.show({
        withBorder: true,
        title: 'Handed over again',
        message: `${letter.consumer} has the message.`,
      })
      void client.invalidateQueries({ queryKey: keys.deadLetters })
    },
  })
  return (
    <details className={css.event} onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>
        <Ago at={letter.time} />
        <b>{letter.consumer}</b>
        <span>
          <ToneBadge tone={letter.state === 'open' ? 'bad' : 'good'}>{letter.state}</ToneBadge>
        </span>
        <span>{letter.error}</span>
        <span>{count(letter.deliveries, 'try', 'tries')}</span>
      </summary>
      {open && (
        <div className={css.more}>
          <p>{letter.error}</p>
          <div className={partsCss.fine} style={{ marginBottom: '0.5rem' }}>
            <span>{letter.subject}</span>
            {Object.entries(letter.headers ?? {}).map(([name, value]) => (
              <span key={name}>
                {name}: <code>{value}</code>
              </span>
            ))}
          </div>
          <Log
            label="The message"
            text={letter.data}
            style={{ maxHeight: '16rem', marginBottom: '0.75rem' }}
          />
          {replay.error && <Told error={replay.error} />}
          <Button size="xs" loading={replay.isPending} onClick={() => replay.mutate()}>
            Replay
          </Button>
        </div>
      )}
    </details>
  )
}
