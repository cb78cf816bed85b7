/**
 * The library.
 *
 *     import { migrate, spawnVmm } from 'vf-ferry';
 *
 *     const { verdict, record } = await migrate({ workload: 'ledger', memoryBytes: 512 * 2 ** 20 });
 *
 * `migrate` is the whole job, as `ferry migrate` does it; `spawnVmm`, `spawnFabric` and `QmpClient` are its parts, and
 * `FaultProxy` stands between two of them, for experiments of your own. Everything that goes wrong is a `FerryError` with a
 * stable code, facts and advice. `runExperiment` and `runScenario` are for test suites: a migration under faults, judged.
 */

export type { AtomicBitmap } from '../base/bitmap.js';
export type { DeviceRecord } from '../base/device-record.js';
export { FerryError, type SerializedError } from '../base/errors.js';
export type { FlowMeasurement } from '../devices/ethernet/flow-receiver.js';
export type { LatencySummary } from '../devices/ethernet/histogram.js';
export type { Descriptor, Difference, Effort, Facet } from '../migration/approach.js';
export { askAgent } from '../migration/ask-agent.js';
export { askGuest } from '../migration/ask-guest.js';
export type { OwnStart, OwnStop, OwnTracking, OwnTries } from '../migration/own-approach.js';
export type { RequestLimits } from '../migration/patience.js';
export type {
  AgentReply,
  AssignedDevice,
  DeviceSlot,
  DmaWriter,
  GuestAgent,
  GuestChannel,
  HarvestReport,
  SourceMachine,
  VfioDevice,
} from '../migration/ports.js';
export type {
  BlackoutRecord,
  DestinationRecord,
  DeviceTransfer,
  MigrationRecord,
  RoundRecord,
  VerificationRecord,
} from '../migration/record.js';
export type { DeviceStart, StartDescriptor } from '../migration/start/start.js';
export type { DeviceStop, Left, StopDescriptor } from '../migration/stop/stop.js';
export type { DirtyTracking, TrackingDescriptor } from '../migration/tracking/tracking.js';
export type { Experiment } from './experiment/format.js';
export type { ExperimentRun, Measured } from './experiment/outcome.js';
export { parseExperiment, readExperiment } from './experiment/read.js';
export { type ExperimentResult, type RunOptions, runExperiment } from './experiment/run.js';
export type { FabricReport, PhaseReport } from './fabric/report.js';
export { FabricProcess, type SpawnFabricOptions, spawnFabric } from './fabric/spawn.js';
export { FaultProxy } from './faults/link/proxy.js';
export type { LinkFault, LinkRule, Place, Scope, Side } from './faults/link/rule.js';
export type { FaultRun } from './faults/outcome.js';
export { runScenario } from './faults/run.js';
export type { FaultScenario, HostFault, Keeper, ProcessFault, Strike } from './faults/scenario.js';
export { SCENARIOS } from './faults/scenarios.js';
export type { Check, ConsoleLine } from './move/check.js';
export type { Display } from './move/display.js';
export type { GuestBehaviour } from './move/guest-behaviour.js';
export { type MigrateResult, migrate } from './move/move.js';
export type {
  DeviceNetwork,
  FlowRecord,
  GuestCounters,
  NetworkPhase,
  NetworkRecord,
} from './move/network-record.js';
export type { Flow, MigrateOptions, Scenario, Workload } from './move/scenario.js';
export type { Verdict } from './move/verdict.js';
export { ServedNic, type SpawnNicOptions, spawnNic } from './nic/spawn.js';
export { type CommandEnd, Linux, type LinuxOptions, portArguments, vfArguments } from './qemu/linux.js';
export { moveLinux, type QemuMoveOptions, type QemuMoveResult } from './qemu/move.js';
export { findWorld, type QemuWorld } from './qemu/world.js';
export { QmpClient, type QmpEvent } from './vmm-client/qmp-client.js';
export { type SpawnOptions, spawnVmm, Vmm } from './vmm-client/spawn.js';
