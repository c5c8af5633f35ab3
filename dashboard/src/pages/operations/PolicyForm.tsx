import { NumberInput } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { api } from '#/api/client'
import type { LabPolicy, LabPolicyBody } from '#/api/model'
import { keys } from '#/api/queries'
import { Ago } from '#/parts/Ago'
import { Told } from '#/parts/Told'
import { entered, Saving } from './LimitsForm'
import css from './operations.module.css'

const HOUR = 3_600

function hours(seconds: number | null | undefined): string | number {
  return seconds == null ? '' : seconds / HOUR
}

/** How long one person's labs may rest, run and be kept. */
export function PolicyForm({ known }: { known: LabPolicy }) {
  const client = useQueryClient()
  const [idle, setIdle] = useState<string | number>(known.idle_minutes ?? '')
  const [life, setLife] = useState<string | number>(hours(known.lifetime_seconds))
  const [keep, setKeep] = useState<string | number>(hours(known.keep_seconds))
  const set = useMutation({
    mutationFn: (body: LabPolicyBody) =>
      api.put('/api/v1/people/{username}/lab-policy', { path: { username: known.owner }, body }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.person(known.owner) }),
  })
  const seconds = (value: string | number): number | null => {
    const given = entered(value)
    return given === null ? null : given * HOUR
  }
  const submit = (event: FormEvent): void => {
    event.preventDefault()
    set.mutate({
      idle_minutes: entered(idle),
      lifetime_seconds: seconds(life),
      keep_seconds: seconds(keep),
    })
  }
  return (
    <form className={css.form} onSubmit={submit} aria-label={`Rules for labs of ${known.owner}`}>
      <h3>Rules of their labs</h3>
      <p className={css.quiet}>
        {known.changed_at ? (
          <>
            Changed <Ago at={known.changed_at} /> by {known.changed_by}.
          </>
        ) : (
          'They follow the datalabs and the site.'
        )}
      </p>
      <div className={css.fields}>
        <NumberInput
          label="Ends when unused for, minutes"
          description="0: never"
          min={0}
          max={525_600}
          allowDecimal={false}
          value={idle}
          onChange={setIdle}
        />
        <NumberInput
          label="Runs for, hours"
          description="From ready to its end"
          min={0}
          value={life}
          onChange={setLife}
        />
        <NumberInput
          label="Can be kept for, hours"
          description="By extending, or for a long run"
          min={0}
          value={keep}
          onChange={setKeep}
        />
      </div>
      <p className={css.quiet}>An empty field follows datalab and site. Labs that run follow at once.</p>
      {set.error && <Told error={set.error} />}
      <Saving pending={set.isPending} done={set.isSuccess} />
    </form>
  )
}
