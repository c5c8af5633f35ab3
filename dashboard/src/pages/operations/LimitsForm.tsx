import { Button, NumberInput, Switch } from '@mantine/core'
import { useMutation, useQueryClient } from '@tanstack/react-query'
import { type FormEvent, useState } from 'react'
import { api } from '#/api/client'
import type { LimitsBody, PersonLimits } from '#/api/model'
import { keys } from '#/api/queries'
import { memory, trim } from '#/format/amounts'
import { Meter } from '#/parts/Meter'
import { Told } from '#/parts/Told'
import css from './operations.module.css'

const GIB = 1024

/** An empty field follows the site. */
export function entered(value: string | number): number | null {
  return value === '' || Number.isNaN(Number(value)) ? null : Number(value)
}

/** What one person may have at once. */
export function LimitsForm({ known }: { known: PersonLimits }) {
  const client = useQueryClient()
  const [unlimited, setUnlimited] = useState(known.own.unlimited ?? false)
  const [labs, setLabs] = useState<string | number>(known.own.max_labs ?? '')
  const [cores, setCores] = useState<string | number>(known.own.max_cores ?? '')
  const [gib, setGib] = useState<string | number>(
    known.own.max_memory_mib == null ? '' : known.own.max_memory_mib / GIB,
  )
  const set = useMutation({
    mutationFn: (body: LimitsBody) =>
      api.put('/api/v1/people/{username}/limits', { path: { username: known.username }, body }),
    onSuccess: () => client.invalidateQueries({ queryKey: keys.person(known.username) }),
  })
  const submit = (event: FormEvent): void => {
    event.preventDefault()
    const mib = entered(gib)
    set.mutate({
      unlimited,
      max_labs: entered(labs),
      max_cores: entered(cores),
      max_memory_mib: mib === null ? null : Math.round(mib * GIB),
    })
  }
  const { used } = known.limits
  const { max_labs, max_cores, max_memory_mib } = known.limits
  const site = (value: string): string => `The site's: ${value}`
  return (
    <form className={css.form} onSubmit={submit} aria-label={`Limits of ${known.username}`}>
      <h3>At once</h3>
      {max_labs == null && max_cores == null && max_memory_mib == null ? (
        <p className={css.quiet}>
          No limits hold. In use: {used.labs} labs, {trim(used.cores, 2)} cores, {memory(used.memory_mib)}.
        </p>
      ) : (
        <div className={css.stack}>
          <Meter
            label="Labs"
            used={used.labs}
            max={max_labs ?? 0}
            text={`${used.labs} of ${max_labs ?? '∞'}`}
          />
          <Meter
            label="Cores"
            used={used.cores}
            max={max_cores ?? 0}
            text={`${trim(used.cores, 2)} of ${max_cores == null ? '∞' : trim(max_cores, 2)}`}
          />
          <Meter
            label="Memory"
            used={used.memory_mib}
            max={max_memory_mib ?? 0}
            text={`${memory(used.memory_mib)} of ${max_memory_mib == null ? '∞' : memory(max_memory_mib)}`}
          />
        </div>
      )}
      <Switch
        label="No limits at all"
        checked={unlimited}
        onChange={(event) => setUnlimited(event.currentTarget.checked)}
      />
      <div className={css.fields}>
        <NumberInput
          label="Labs"
          description={site(String(known.site.max_labs ?? 'none'))}
          min={0}
          allowDecimal={false}
          value={labs}
          onChange={setLabs}
          disabled={unlimited}
        />
        <NumberInput
          label="Cores"
          description={site(known.site.max_cores == null ? 'none' : trim(known.site.max_cores, 2))}
          min={0}
          value={cores}
          onChange={setCores}
          disabled={unlimited}
        />
        <NumberInput
          label="Memory, GiB"
          description={site(known.site.max_memory_mib == null ? 'none' : memory(known.site.max_memory_mib))}
          min={0}
          value={gib}
          onChange={setGib}
          disabled={unlimited}
        />
      </div>
      <p className={css.quiet}>
        An empty field follows the site. Labs that run go on; the next launch meets the change.
      </p>
      {set.error && <Told error={set.error} />}
      <Saving pending={set.isPending} done={set.isSuccess} />
    </form>
  )
}

/** The button of a form and what became of it. */
export function Saving({ pending, done }: { pending: boolean; done: boolean }) {
  return (
    <div style={{ display: 'flex', gap: '0.75rem', alignItems: 'center' }}>
      <Button type="submit" size="sm" loading={pending}>
        Set
      </Button>
      <span role="status" className={css.quiet}>
        {done && !pending ? 'It holds now.' : ''}
      </span>
    </div>
  )
}
