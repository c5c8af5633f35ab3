import { Button, Switch } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import type { Node, Runtime } from '#/api/model'
import { nodesQuery } from '#/api/queries'
import { count, memory, trim } from '#/format/amounts'
import type { Tone } from '#/labs/states'
import { Meter } from '#/parts/Meter'
import { Panel, Pending } from '#/parts/Page'
import partsCss from '#/parts/parts.module.css'
import { ToneBadge } from '#/parts/StateBadge'
import { Told } from '#/parts/Told'
import { useNavigate, useSearch } from './nodesRoute'
import css from './operations.module.css'

const STATES: Record<Node['state'], { word: string; tone: Tone }> = {
  ready: { word: 'Ready', tone: 'good' },
  draining: { word: 'Draining', tone: 'warn' },
  closed: { word: 'Takes no labs', tone: 'rest' },
  unreachable: { word: 'Not heard of', tone: 'warn' },
}
const RUNTIMES: Record<Runtime, string> = { process: 'processes', container: 'containers', vm: 'VMs' }

/** The machines of the site, what they have, and what is taken of it. */
export function Nodes() {
  const { data, error, refetch, isRefetching } = useQuery(nodesQuery)
  const { busy } = useSearch()
  const navigate = useNavigate()
  const nodes = data?.items.filter((node) => !busy || node.labs > 0) ?? []
  const bad = data?.items.filter((node) => node.state !== 'ready').length ?? 0
  return (
    <Panel
      title={data ? count(data.items.length, 'machine') : 'Machines'}
      actions={
        <div style={{ display: 'flex', gap: '1rem', alignItems: 'center' }}>
          <Switch
            size="sm"
            label="Only with labs"
            checked={busy ?? false}
            onChange={(event) =>
              void navigate({
                search: { busy: event.currentTarget.checked || undefined },
                replace: true,
                resetScroll: false,
              })
            }
          />
          <Button size="xs" variant="default" loading={isRefetching} onClick={() => void refetch()}>
            Look again
          </Button>
        </div>
      }
    >
      {error && <Told error={error} again={() => void refetch()} />}
      {!data && !error && <Pending height="12rem" />}
      {data && (
        <p role="status" style={{ color: 'var(--ink-2)' }}>
          {bad === 0 ? 'All take labs.' : `${count(bad, 'machine')} take no new labs.`}
          {(data.away ?? []).length > 0 &&
            ` No answer from ${(data.away ?? []).join(', ')}: its machines are missing here; labs there may well run.`}
        </p>
      )}
      {data && nodes.length === 0 && (
        <p>
          {data.items.length === 0
            ? 'No machine is known. Labs wait until there is one.'
            : 'No machine has a lab.'}
        </p>
      )}
      <ul className={css.nodes}>
        {nodes.map((node) => (
          <NodeRow key={`${node.cluster}/${node.name}`} node={node} />
        ))}
      </ul>
    </Panel>
  )
}

function NodeRow({ node }: { node: Node }) {
  const { word, tone } = STATES[node.state]
  return (
    <li>
      <div className={css.nodeHead}>
        <h3>{node.name}</h3>
        <ToneBadge tone={tone}>{word}</ToneBadge>
        <span className={partsCss.fine} style={{ marginTop: 0 }}>
          <span>{node.cluster}</span>
          {node.node_class && <span>class {node.node_class}</span>}
          <span>{node.runtimes.map((runtime) => RUNTIMES[runtime]).join(', ') || 'no runtime'}</span>
          <span>{count(node.labs, 'lab')}</span>
        </span>
      </div>
      <div className={css.nodeBars}>
        <Meter
          label="Cores"
          used={node.cores_taken}
          max={node.cores}
          text={`${trim(node.cores_taken, 2)} of ${trim(node.cores, 2)}`}
        />
        <Meter
          label="Memory"
          used={node.memory_taken_mib}
          max={node.memory_mib}
          text={`${memory(node.memory_taken_mib)} of ${memory(node.memory_mib)}`}
        />
        <Meter
          label="Disk"
          used={node.disk_taken_mib}
          max={node.disk_mib}
          text={`${memory(node.disk_taken_mib)} of ${memory(node.disk_mib)}`}
        />
        {Object.entries(node.gpus ?? {}).map(([name, all]) => (
          <Meter
            key={name}
            label={name}
            used={node.gpus_taken?.[name] ?? 0}
            max={all}
            text={`${node.gpus_taken?.[name] ?? 0} of ${all}`}
          />
        ))}
      </div>
    </li>
  )
}
