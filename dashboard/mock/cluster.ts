/** Machines, queue, people and their rules on the mock platform. */
import type {
  ImportProblem,
  Lab,
  LabPolicy,
  LimitsBody,
  Node,
  Person,
  QueuedLab,
  WaitReason,
} from '../src/api/model'
import { ago, DAY, MINUTE } from './times.ts'

export function nodes(): Node[] {
  const node = (fields: Partial<Node> & { name: string }): Node => ({
    cluster: 'nomad',
    state: 'ready',
    runtimes: ['container', 'vm'],
    node_class: '',
    cores: 64,
    memory_mib: 262_144,
    disk_mib: 1_000_000,
    gpus: {},
    cores_taken: 0,
    memory_taken_mib: 0,
    disk_taken_mib: 0,
    lab_disk_mib: 320,
    gpus_taken: {},
    labs: 0,
    ...fields,
  })
  return [
    node({ name: 'node-1', cores_taken: 61.5, memory_taken_mib: 220_000, disk_taken_mib: 310_000, labs: 31 }),
    node({
      name: 'node-2',
      node_class: 'gpu',
      cores_taken: 12,
      memory_taken_mib: 65_536,
      disk_taken_mib: 90_000,
      labs: 4,
      gpus: { 'NVIDIA A100': 2 },
      gpus_taken: { 'NVIDIA A100': 1 },
    }),
    node({ name: 'node-3', state: 'draining', cores_taken: 3, memory_taken_mib: 6_144, labs: 2 }),
    node({ name: 'node-4', state: 'unreachable', cores_taken: 8, memory_taken_mib: 16_384, labs: 5 }),
    node({
      name: 'this machine',
      cluster: 'local',
      runtimes: ['process'],
      cores: 32,
      memory_mib: 24_576,
      disk_mib: 80_000,
      cores_taken: 2,
      memory_taken_mib: 3_072,
      labs: 3,
    }),
  ]
}

const REASONS: [WaitReason, string][] = [
  ['reserved', 'Needs 2 cores on one node; the largest free is 1.5'],
  ['own_limit', 'Its owner has 6 of at most 6 labs'],
  ['no_machine', 'Needs an NVIDIA H100; no machine that answers has one'],
]

/** The waiting labs in the order in which they are served. */
export function queueOf(labs: readonly Lab[]): QueuedLab[] {
  return labs
    .filter((lab) => lab.state === 'queued')
    .sort((a, b) => b.priority - a.priority || (a.created_at < b.created_at ? -1 : 1))
    .map((lab, index) => {
      const [reason, text] = REASONS[index % REASONS.length] ?? ['turn', '']
      return {
        lab_id: lab.id,
        name: lab.name,
        owner: lab.owner,
        datalab: lab.datalab,
        version: lab.version,
        size: lab.size,
        runtime: lab.runtime,
        cores: lab.cores,
        memory_mib: lab.memory_mib,
        disk_mib: lab.disk_mib,
        gpus: lab.gpus,
        gpu_name: lab.gpu_name,
        node_class: null,
        priority: lab.priority,
        position: index + 1,
        reason,
        text,
        since: lab.created_at,
        expected_start_at: lab.expected_start_at,
        passed: index === 0 ? 4 : 0,
        node: reason === 'reserved' ? 'node-1' : null,
      }
    })
}

export function people(): Person[] {
  const person = (username: string, display_name: string, fields: Partial<Person> = {}): Person => ({
    id: `person-${username}`,
    username,
    display_name,
    roles: ['user'],
    uid: 10_001,
    active: true,
    revision: 1,
    created_at: ago(90 * DAY),
    ...fields,
  })
  return [
    person('ada', 'Ada Lovelace'),
    person('admin', 'Platform operator', { roles: ['user', 'operator'] }),
    person('grace', 'Grace Hopper', { roles: ['user', 'publisher'] }),
    person('henrietta', 'Henrietta Swan Leavitt', { active: false }),
    person('vera', 'Vera Rubin'),
  ]
}

export const OWN_LIMITS: LimitsBody = {
  unlimited: false,
  max_labs: null,
  max_cores: null,
  max_memory_mib: null,
}

export function policyOf(owner: string): LabPolicy {
  return {
    owner,
    idle_minutes: owner === 'ada' ? 480 : null,
    lifetime_seconds: null,
    keep_seconds: null,
    changed_at: owner === 'ada' ? ago(3 * DAY) : null,
    changed_by: owner === 'ada' ? 'admin' : '',
  }
}

export function importProblems(): ImportProblem[] {
  return [
    {
      folder: '/srv/datalabs/radio-maps',
      problem: 'datalab-meta.yml: `version` is missing.',
      since: ago(40 * MINUTE),
    },
  ]
}
