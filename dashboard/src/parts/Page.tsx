import { useDocumentTitle } from '@mantine/hooks'
import { type ReactNode, useEffect, useState } from 'react'
import css from './parts.module.css'

interface Props {
  title: string
  /** A line below the title. */
  lead?: ReactNode
  actions?: ReactNode
  wide?: boolean
  /** The heading stands elsewhere on the page. */
  bare?: boolean
  children: ReactNode
}

/** A page: its title in the tab and as its only first heading. */
export function Page({ title, lead, actions, wide, bare, children }: Props) {
  useDocumentTitle(`${title} · Open Datalabs`)
  return (
    <div className={`${css.page} ${wide ? css.wide : ''}`}>
      {!bare && (
        <header className={css.head}>
          <div>
            <h1>{title}</h1>
            {lead && <p>{lead}</p>}
          </div>
          {actions}
        </header>
      )}
      {children}
    </div>
  )
}

export function Panel({
  children,
  label,
  title,
  actions,
  id,
}: {
  children: ReactNode
  label?: string
  title?: string
  actions?: ReactNode
  id?: string
}) {
  return (
    <section className={`${css.panel} ${css.stack}`} aria-label={label ?? title} id={id}>
      {title && (
        <div
          style={{
            display: 'flex',
            justifyContent: 'space-between',
            alignItems: 'center',
            gap: '0.75rem',
            flexWrap: 'wrap',
          }}
        >
          <h2>{title}</h2>
          {actions}
        </div>
      )}
      {children}
    </section>
  )
}

interface EmptyProps {
  title: string
  children?: ReactNode
  action?: ReactNode
  /** The only heading of its page. */
  first?: boolean
}

/** A page with nothing on it yet: what it is for, and the first step. */
export function Empty({ title, children, action, first }: EmptyProps) {
  return (
    <div className={css.empty}>
      {first ? <h1>{title}</h1> : <h2>{title}</h2>}
      {children && <p>{children}</p>}
      {action}
    </div>
  )
}

/** The page's own shape for a second, then words beside it. */
export function Waiting({ what, children }: { what: string; children?: ReactNode }) {
  const [late, setLate] = useState(false)
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), 1_000)
    return () => clearTimeout(timer)
  }, [])
  return (
    <div aria-busy="true">
      <p role="status" style={{ minHeight: '1.5em', color: 'var(--ink-2)' }}>
        {late ? `Reading ${what}. This takes longer than usual.` : ''}
      </p>
      {children}
    </div>
  )
}

/** The shape of a panel's content until it has come. */
export function Pending({ height }: { height: string }) {
  return (
    <div aria-busy="true">
      <Shape height={height} />
    </div>
  )
}

/** A grey block where something will stand. */
export function Shape({ height, width = '100%' }: { height: string; width?: string }) {
  return <div className={css.shape} style={{ height, width }} aria-hidden="true" />
}
