import { Button } from '@mantine/core'
import { IconAlertTriangle } from '@tabler/icons-react'
import { Link } from '@tanstack/react-router'
import type { ReactNode } from 'react'
import { ProblemError, passing, tell } from '#/api/problems'
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
  const repeat = again && mayChange(error) ? again : undefined
  return (
    <div className={css.told} data-tone="bad" role="alert">
      <IconAlertTriangle size={20} aria-hidden />
      <div>
        <b>{told.what}</b>
        <p>
          {told.affected} {told.now}
        </p>
        {(repeat || children) && (
          <div className={css.fine}>
            {repeat && (
              <Button size="compact-sm" variant="default" onClick={repeat}>
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

/** Whether the same question may get another answer: a refusal stays one until something else changes. */
function mayChange(error: unknown): boolean {
  return !(error instanceof ProblemError) || passing(error) || error.status >= 500 || error.status === 0
}
