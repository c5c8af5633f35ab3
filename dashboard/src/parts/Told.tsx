import { Button } from '@mantine/core'
import { IconAlertTriangle } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { tell } from '#/api/problems'
import { useOperator } from '#/shell/me'
import css from './parts.module.css'

interface Props {
  error: unknown
  again?: (() => void) | undefined
  children?: ReactNode
}

/** A refusal as a person can use it: what happened, what it touches, what to do now, its code and its trace. */
export function Told({ error, again, children }: Props) {
  const told = tell(error)
  const operator = useOperator()
  return (
    <div className={css.told} data-tone="bad" role="alert">
      <IconAlertTriangle size={20} aria-hidden />
      <div>
        <h3>{told.what}</h3>
        <p>
          {told.affected} {told.now}
        </p>
        {(again || children) && (
          <div className={css.fine}>
            {again && (
              <Button size="compact-sm" variant="default" onClick={again}>
                Try again
              </Button>
            )}
            {children}
          </div>
        )}
        <div className={css.fine}>
          <span>
            Code <code>{told.code}</code>
          </span>
          {told.traceId &&
            (operator ? (
              <Link to="/operations/traces/$traceId" params={{ traceId: told.traceId }}>
                Trace {told.traceId.slice(0, 8)}
              </Link>
            ) : (
              <span>
                Trace <code>{told.traceId}</code>
              </span>
            ))}
        </div>
      </div>
    </div>
  )
}
