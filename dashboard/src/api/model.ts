/** The API's models under the names the pages use. Only this file knows how the generator spells them. */
import type { components } from './schema.gen'

type Schemas = components['schemas']

export type Lab = Schemas['Lab']
export type LabState = Schemas['LabState']
export type Reason = Schemas['Reason']
export type Datalab = Schemas['Datalab']
export type DatalabDetail = Schemas['DatalabDetail']
export type DatalabPage = Schemas['DatalabPage']
export type FacetValue = Schemas['FacetValue']
export type Version = Schemas['Version']
export type Size = Schemas['Size']
export type Kind = Schemas['Kind']
export type Readiness = Schemas['Readiness']
export type Collection = Schemas['Collection']
export type Citation = Schemas['Citation']
export type LaunchBody = Schemas['LaunchBody']
export type Preflight = Schemas['Preflight']
export type Fit = Schemas['Fit']
export type Limits = Schemas['Limits']
export type Timeline = Schemas['Timeline']
export type TimelinePhase = Schemas['TimelinePhase']
export type Logs = Schemas['Logs']
export type Sample = Schemas['Sample']
export type Metrics = Schemas['Metrics']
export type Me = Schemas['Me']
export type Person = Schemas['Person']
export type Volume = Schemas['Volume']
export type UsageRow = Schemas['UsageRow']
export type UsagePage = Schemas['UsagePage']
export type StoredEvent = Schemas['StoredEvent']
export type Span = Schemas['Span']
export type TraceSummary = Schemas['TraceSummary']
export type DeadLetter = Schemas['DeadLetter']
export type PlatformHealth = Schemas['PlatformHealth']
export type PartHealth = Schemas['PartHealth']
export type Capacity = Schemas['Capacity']
export type Problem = Schemas['Problem']
export type ProblemCode = Schemas['ProblemCode']

/** One page of a list. */
export interface Page<T> {
  items: T[]
  next?: string | null
}
