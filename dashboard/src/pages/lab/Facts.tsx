import { Link } from '@tanstack/react-router'
import type { Lab, Runtime } from '#/api/model'
import { memory, resources } from '#/format/amounts'
import { exact } from '#/format/time'
import { ended, REASONS } from '#/labs/states'
import { Copy } from '#/parts/Copy'
import { Panel } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { useOperator } from '#/shell/me'

const RUNTIMES: Record<Runtime, string> = {
  process: 'A process on this machine',
  container: 'A container',
  vm: 'A virtual machine',
}

/** What it is: its size, where it runs, its rules, what it sees. */
export function Facts({ lab }: { lab: Lab }) {
  const operator = useOperator()
  const parameters = Object.entries(lab.parameters ?? {})
  return (
    <Panel title="What it is">
      <dl className={partsCss.facts}>
        <dt>Id</dt>
        <dd>
          <Copy text={lab.id} what="id" />
        </dd>
        <dt>Size</dt>
        <dd>
          {lab.size} · {resources(lab.cores, lab.memory_mib)}
          {lab.disk_mib > 0 && ` · ${memory(lab.disk_mib)} of scratch`}
          {lab.gpus > 0 && ` · ${lab.gpus} × ${lab.gpu_name ?? 'GPU'}`}
        </dd>
        {lab.runtime && (
          <>
            <dt>Runs as</dt>
            <dd>
              {RUNTIMES[lab.runtime]}
              {operator && lab.node && (
                <>
                  {' on '}
                  <Link to="/operations/nodes">{lab.node}</Link>
                </>
              )}
            </dd>
          </>
        )}
        <dt>Owner</dt>
        <dd>{lab.owner}; nobody else has access</dd>
        <dt>Launched</dt>
        <dd>{exact(lab.created_at)}</dd>
        {lab.ready_at && (
          <>
            <dt>Ready</dt>
            <dd>{exact(lab.ready_at)}</dd>
          </>
        )}
        {lab.ended_at && (
          <>
            <dt>Ended</dt>
            <dd>{exact(lab.ended_at)}</dd>
          </>
        )}
        {lab.reason && (
          <>
            <dt>Reason</dt>
            <dd>{REASONS[lab.reason]}</dd>
          </>
        )}
        {lab.expires_at && !ended(lab) && (
          <>
            <dt>Ends</dt>
            <dd>{exact(lab.expires_at)}</dd>
          </>
        )}
        {!ended(lab) && lab.idle_minutes != null && (
          <>
            <dt>When unused</dt>
            <dd>{lab.idle_minutes === 0 ? 'It goes on' : `It ends after ${lab.idle_minutes} min`}</dd>
          </>
        )}
        {!ended(lab) && lab.kept_until && (
          <>
            <dt>Kept until</dt>
            <dd>{exact(lab.kept_until)}</dd>
          </>
        )}
        {ended(lab) && lab.files_kept_until && (
          <>
            <dt>{lab.runtime === 'vm' ? 'Disk kept until' : 'Scratch kept until'}</dt>
            <dd>{exact(lab.files_kept_until)}</dd>
          </>
        )}
        {operator && lab.priority !== 50 && (
          <>
            <dt>Priority</dt>
            <dd>{lab.priority}</dd>
          </>
        )}
        <dt>Collections</dt>
        <dd>
          {(lab.collections ?? []).length === 0
            ? 'None'
            : (lab.collections ?? []).map((id) => (
                <div key={id}>
                  <Link to="/data/$collectionId" params={{ collectionId: id }}>
                    <code>/data/{id}</code>
                  </Link>
                </div>
              ))}
        </dd>
        {parameters.length > 0 && (
          <>
            <dt>Parameters</dt>
            <dd>
              {parameters.map(([name, value]) => (
                <div key={name}>
                  {name}: <code>{typeof value === 'string' ? value : JSON.stringify(value)}</code>
                </div>
              ))}
            </dd>
          </>
        )}
        {lab.trace_id && (
          <>
            <dt>Trace</dt>
            <dd>
              {operator ? (
                <Link to="/operations/traces/$traceId" params={{ traceId: lab.trace_id }}>
                  {lab.trace_id.slice(0, 16)}
                </Link>
              ) : (
                <Copy text={lab.trace_id} what="trace id" shown={lab.trace_id.slice(0, 16)} />
              )}
            </dd>
          </>
        )}
      </dl>
    </Panel>
  )
}
