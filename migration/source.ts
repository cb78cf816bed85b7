/**
 * The life of a migration's source, from top to bottom: agree with the destination, send RAM while the guest runs,
 * stop device and guest, send the rest, let the destination prove what it has, and give the guest away.
 *
 * One rule holds everywhere: until `commit` is sent the guest is ours, and whatever goes wrong ends with the guest
 * running here; from the moment before it is sent the guest is not ours any more, and nothing makes it run here but the
 * destination's word that it gave up before it heard the commit, and so never will.
 */
import { AtomicBitmap } from '../base/bitmap.js';
import type { AbortSignalLike, Cancel, Scheduler } from '../base/clock.js';
import { isFerryError } from '../base/errors.js';
import { type FaultPlan, NO_FAULTS } from '../base/fault.js';
import { type Duration, elapsed, nanoseconds } from '../base/units.js';
import { type Approaches, chooseApproaches, sourceApproaches } from './approaches.js';
import type { RegisterNames } from './compare-states.js';
import { Conversation, type FrameRecorder } from './conversation.js';
import { DeviceStreamSender } from './device-stream.js';
import { migrationErrors } from './errors.js';
import { AutoConverge, expectedDowntime } from './estimate.js';
import { malformed } from './frame.js';
import { type Digest, RunningRoot } from './integrity.js';
import { rehearse } from './messages.js';
import { onTimeline } from './observed-device.js';
import type { MigrationParameters, VerifyMode } from './parameters.js';
import type { ControlLink, MachineState, PageHasher, SourceDataPlane, SourceMachine } from './ports.js';
import type { MigrationRecord, RoundRecord, RoundsEnd } from './record.js';
import { harvestPages, rootSoFar, sendDeviceAhead, sendPages, sendTheRest } from './sending.js';
import { Lifecycle, type SourceEvent, type SourceState, sourceOwnsGuest, sourceTable } from './states.js';
import { SourceStatistics } from './statistics.js';
import { type DeviceStop, nothingToStop } from './stop/stop.js';
import { FLOW, Timeline } from './timeline.js';
import { cpuLog } from './tracking/cpu-log.js';
import type { DirtyTracking } from './tracking/tracking.js';
import { nameDamagedPages, verifyAfterwards, verifyDestination } from './verification.js';

/** Told what happens as it happens; for events of a monitor, progress displays and traces. */
export interface SourceObserver {
  /** At the start: `snapshot` gives the record as of any later moment. */
  started?(snapshot: () => MigrationRecord): void;
  stateChanged?(from: SourceState, to: SourceState, event: SourceEvent): void;
  roundStarted?(round: number, pages: number): void;
  roundFinished?(round: RoundRecord): void;
  throttleChanged?(percent: number): void;
}

export interface SourceOptions {
  readonly machine: SourceMachine;
  readonly control: ControlLink;
  readonly data: SourceDataPlane;
  readonly scheduler: Scheduler;
  readonly parameters: MigrationParameters;
  readonly digest: Digest;
  readonly hasher: PageHasher;
  /** 32 random hex digits, new for each migration. */
  readonly migrationId: string;
  readonly registerNames?: RegisterNames;
  readonly observer?: SourceObserver;
  /** Aborting cancels the migration, at any time before commit; later it changes nothing. */
  readonly signal?: AbortSignalLike;
  readonly record?: FrameRecorder;
  readonly faults?: FaultPlan;
  /** Where what happens is put down; what carries the machine and the channels out may have put down its own before. */
  readonly timeline?: Timeline;
}

/** What the steps share. `asked` is set before the machine is asked, so that a failure in between is undone as well. */
export interface Source extends SourceOptions {
  /** Without regard to a device until `chooseHow` has chosen. */
  tracking: DirtyTracking;
  stop: DeviceStop;
  readonly deviceStream: DeviceStreamSender;
  readonly observer: SourceObserver;
  readonly faults: FaultPlan;
  readonly life: Lifecycle<SourceState, SourceEvent>;
  readonly talk: Conversation;
  readonly stats: SourceStatistics;
  readonly timeline: Timeline;
  /** As the parameters were at the start. */
  readonly verify: VerifyMode;
  readonly channels: number;
  /** Pages that were written, or never sent, since they were last sent. A bit leaves only by being sent. */
  readonly pending: AtomicBitmap;
  readonly hashSeed: number;
  readonly root: RunningRoot;
  readonly deafen: Cancel;
  readonly asked: { tracking: Promise<void> | undefined; device: boolean; pause: boolean };
  lastRound: number;
}

/**
 * Migrates the guest of `machine` over `control` and `data`, both of which it closes. Resolves with the record of what
 * happened, whether the migration completed, failed, was cancelled or ended unknown (`status`, `error`); rejects only
 * for a defect of ours, after the guest was taken back.
 */
export async function migrateSource(options: SourceOptions): Promise<MigrationRecord> {
  const source = open(options);
  try {
    await negotiate(source);
    await preCopy(source);
    const saved = await switchOver(source);
    await verifyAll(source, saved);
    await commit(source, saved);
  } catch (error) {
    if (source.talk.peerDiscarded && source.life.state === 'committed') source.life.to('refused');
    if (sourceOwnsGuest(source.life.state)) await takeBack(source, error);
    else await leaveUnknown(source, error);
  }
  options.machine.observe?.(undefined);
  return source.stats.snapshot();
}

function open(options: SourceOptions): Source {
  const { machine, parameters, scheduler, data, signal, observer = {} } = options;
  const { description } = machine;
  const { verify, multifdChannels: channels } = parameters.values;
  const timeline = options.timeline ?? new Timeline(scheduler);
  const life = new Lifecycle(sourceTable, 'none', (from, to, event) => {
    timeline.moment(FLOW, 'state', { from, to, event });
    observer.stateChanged?.(from, to, event);
  });
  const talk = new Conversation({
    link: options.control,
    scheduler,
    parameters,
    phase: () => life.state,
    record: options.record,
  });
  const { ramBytes, migratedPages } = description;
  const stats = new SourceStatistics({
    facts: { migrationId: options.migrationId, verify, ramBytes, migratedPages, channels },
    machine,
    scheduler,
    data,
    state: () => life.state,
    timeline,
  });
  const onAbort = (): void => {
    const cancelled = migrationErrors.error('cancelled', { phase: life.state });
    life.to('cancel');
    talk.fail(cancelled);
  };
  observer.started?.(() => stats.snapshot());
  machine.observe?.(timeline);
  life.to('start');
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return {
    ...options,
    tracking: cpuLog(machine),
    stop: nothingToStop,
    deviceStream: new DeviceStreamSender(talk, machine.devices[0]?.name ?? ''),
    observer,
    faults: options.faults ?? NO_FAULTS,
    life,
    talk,
    stats,
    timeline,
    verify,
    channels,
    pending: new AtomicBitmap(migratedPages),
    hashSeed: Number.parseInt(options.migrationId.slice(0, 8), 16),
    root: new RunningRoot(options.digest),
    deafen: () => signal?.removeEventListener('abort', onAbort),
    asked: { tracking: undefined, device: false, pause: false },
    lastRound: 0,
  };
}

/** Announces what happened, if the talk still stands: the last look before going on. */
function advance({ talk, life }: Source, event: SourceEvent): void {
  talk.check();
  life.to(event);
}

/** The peers agree on the machine, the data channels stand, the dirty log is on. */
async function negotiate(source: Source): Promise<void> {
  const { machine, data, talk, parameters, migrationId, hashSeed, channels, verify, timeline } = source;
  const { description } = machine;
  const approaches = chooseHow(source);
  const device = machine.devices[0]?.name ?? null;
  // It begins first: the guest's code that logs is new to the engine, which compiles it well while it runs, and until the
  // destination is ready there is time for that.
  const tracking = source.tracking.start();
  source.asked.tracking = tracking;
  tracking.catch(() => undefined);
  await talk.send({
    kind: 'hello',
    migrationId,
    description,
    verify,
    channels,
    hashSeed,
    device,
    approaches,
  });
  await talk.expect(['welcome'], parameters.duration('answerTimeoutMs'));
  const { migratedPages } = description;
  const endpoint = await talk.during(
    data.open({ channels, integrity: verify !== 'off', hashSeed, migratedPages, timeline }),
  );
  source.stats.opened();
  await talk.send({ kind: 'data', endpoint });
  await talk.within(parameters.duration('answerTimeoutMs'), 'data channels', data.connected());
  await tracking;
  rehearse();
  rootSoFar(source);
  source.stats.setupDone();
  advance(source, 'ready');
}

function chooseHow(source: Source): Approaches {
  const { machine, parameters, faults, stats, timeline } = source;
  const chosen = chooseApproaches(parameters.values, machine.devices[0]);
  const devices = machine.devices.map((device) => onTimeline(device, timeline));
  Object.assign(source, sourceApproaches(chosen, machine, devices, faults));
  stats.chosen({ ...chosen, tracking: source.tracking.name });
  return chosen;
}

/** Sends all pages once, then those written meanwhile, until what is left can be sent within the downtime limit. */
async function preCopy(source: Source): Promise<void> {
  const { pending, data, parameters, stats, talk, observer, scheduler } = source;
  const limitBandwidth = (): void => data.limitBandwidth(parameters.values.maxBandwidth || undefined);
  const converge = new AutoConverge();
  const forget = parameters.onChange(() => {
    limitBandwidth();
    throttle(source, converge.adjust(parameters.values));
  });
  try {
    limitBandwidth();
    // What was written so far goes with the first round like all the rest.
    await source.tracking.harvest(pending);
    pending.fill();
    // The stream begins with who the device is: one that the destination can't take over is refused before any page.
    source.asked.device = true;
    await sendDeviceAhead(source);
    while (stats.roundsEnd === undefined) {
      const round = ++source.lastRound;
      const startedAt = scheduler.now();
      talk.ping();
      const sent = await sendPages(source, round, pending);
      await talk.send({ kind: 'round-end', round, ...sent });
      const received = await talk.expect(['round-received'], parameters.duration('answerTimeoutMs'));
      if (received.round !== round)
        throw malformed('round-received', 'round', `${received.round}, not ${round}`);
      const duration = elapsed(startedAt, scheduler.now());
      await sendDeviceAhead(source);
      const harvest = await harvestPages(source);
      const record = stats.round(round, sent, startedAt, duration, harvest);
      observer.roundFinished?.(record);
      stats.roundsEnd = judgeRounds(source, round, harvest.duration);
      const percent = converge.judge(parameters.values, sent.bytes, duration, harvest.vcpuPages);
      if (stats.roundsEnd === undefined && percent !== undefined) throttle(source, percent);
    }
  } finally {
    forget();
  }
  // If nothing is left to send, this is the last one already.
  if (stats.remainingPages === 0) rootSoFar(source);
  advance(source, 'converged');
}

/** Whether, and why, pre-copy ends with this round. */
function judgeRounds(
  { stats, talk, parameters, tracking }: Source,
  round: number,
  harvest: Duration,
): RoundsEnd | undefined {
  const fixed = nanoseconds(harvest + 2 * (talk.roundTrip ?? 0));
  stats.expectedDowntimeNs = expectedDowntime(stats.remainingPages, stats.bytesPerSecond, fixed);
  if (stats.remainingPages === 0) return 'nothing-left';
  if (stats.expectedDowntimeNs <= parameters.duration('downtimeLimitMs')) return 'fits-downtime-limit';
  if (!tracking.converges) return 'pinned-pages';
  return round >= parameters.values.maxRounds ? 'max-rounds' : undefined;
}

/** Stops device and guest, and sends what is left. Resolves when the destination has loaded all of it. */
async function switchOver(source: Source): Promise<MachineState> {
  const { machine, data, talk, parameters, stats, stop, pending } = source;
  // The limit is for the time in which the guest runs.
  data.limitBandwidth(undefined);
  stats.moment('quiescing');
  await stop.quiesce();
  stats.moment('pausing');
  source.asked.pause = true;
  await machine.pause();
  stats.moment('paused');
  advance(source, 'paused');
  const { saved, sent, round, channels, root } = await sendTheRest(source);
  const deviceBytes = source.deviceStream.bytes;
  await talk.send({ kind: 'complete', round, ...sent, root, channels, deviceBytes });
  stats.moment('stateSent');
  const deadline = parameters.duration('answerTimeoutMs');
  const answer = await talk.expect(['prepared', 'damaged'], deadline);
  if (answer.kind === 'damaged') throw await nameDamagedPages(talk, data.hashes, pending.length, deadline);
  stats.moment('prepared');
  stats.prepared(answer, root);
  return saved;
}

/** A verifying run: all of RAM as it is now, and the machine as loaded, compared before anything is given away. */
async function verifyAll(source: Source, saved: MachineState): Promise<void> {
  const { talk, hasher, pending, parameters, stats } = source;
  if (source.verify === 'full') {
    const deadline = parameters.duration('answerTimeoutMs');
    const hashes = hasher.hashAll(0, pending.length, source.hashSeed);
    const all = withDevice(source, saved);
    await verifyDestination(talk, hashes, pending.length, all, source.registerNames, deadline);
  }
  stats.moment('verified');
}

/** The machine's state with that of the assigned device. */
async function withDevice({ stop }: Source, saved: MachineState): Promise<MachineState> {
  return { ...saved, devices: [...saved.devices, ...(await stop.records())] };
}

/** The same when the guest runs over there: nothing here has changed since it stopped, and nobody waits for it. */
async function verifyWhatWasLeft(source: Source, saved: MachineState): Promise<void> {
  const { talk, hasher, data, pending, parameters, stats, scheduler } = source;
  if (source.verify !== 'after') return;
  const from = scheduler.now();
  const hashes = hasher.hashAll(0, pending.length, source.hashSeed, true);
  const all = withDevice(source, saved);
  const deadline = parameters.duration('answerTimeoutMs');
  const differences = await verifyAfterwards(talk, hashes, data.hashes, all, source.registerNames, deadline);
  stats.verifiedAfterwards(differences, from);
}

/** Gives the guest away. From the moment the state says so it is the destination that decides, and its word that counts. */
async function commit(source: Source, saved: MachineState): Promise<void> {
  const { talk, machine, stats, parameters, migrationId, faults } = source;
  talk.check();
  source.deafen();
  talk.tolerateErrors();
  source.life.to('commit');
  talk.post({ kind: 'commit', migrationId });
  if (faults.strikes('migration/commit-twice') !== undefined) talk.post({ kind: 'commit', migrationId });
  const running = await talk.expect(['running'], parameters.duration('answerTimeoutMs'));
  stats.moment('running');
  stats.started(running);
  machine.relinquish();
  await verifyWhatWasLeft(source, saved);
  stats.ended();
  source.life.to('running');
  talk.post({ kind: 'released' });
  talk.close();
  await closeAll(source);
}

/** Before commit: device and guest run here again, tracking is off, the destination knows why, and nothing is left open. */
async function takeBack(source: Source, error: unknown): Promise<void> {
  const { machine, data, talk, stats, life, asked } = source;
  let reported: unknown;
  source.deafen();
  data.stop();
  try {
    throttle(source, 0);
    if (asked.device) await source.stop.resume();
    if (asked.pause) {
      await machine.resume();
      stats.resumed();
    }
    if (asked.tracking !== undefined) {
      await asked.tracking.catch(() => undefined);
      await source.tracking.stop();
    }
    reported = await talk.explain(error);
  } catch (cause) {
    const facts = { reason: messageOf(cause), because: messageOf(error) };
    reported = migrationErrors.error('take-back-failed', facts, cause);
  }
  await talk.giveUp(reported);
  await closeAll(source);
  stats.ended(reported);
  life.to(life.state === 'cancelling' && isFerryError(reported, 'migration/cancelled') ? 'undone' : 'fail');
  if (!isFerryError(reported)) throw reported;
}

/** The commit was not answered: whether the destination runs the guest can't be known from here, so it stays as it is. */
async function leaveUnknown(source: Source, error: unknown): Promise<void> {
  const { talk, stats, life } = source;
  talk.close();
  await closeAll(source);
  if (life.state === 'committed') {
    const reason = messageOf(talk.peerError ?? error);
    stats.ended(migrationErrors.error('commit-unacknowledged', { reason }, error));
    life.to('lost');
  }
  if (!isFerryError(error)) throw error;
}

function throttle({ machine, stats, observer, timeline }: Source, percent: number): void {
  if (percent === stats.throttlePercent) return;
  machine.throttle(percent);
  timeline.moment(FLOW, 'throttle', { percent });
  stats.throttlePercent = percent;
  observer.throttleChanged?.(percent);
}

/** Channels and hasher are of no use any more, in whatever state they are. */
async function closeAll({ data, hasher }: Source): Promise<void> {
  await Promise.allSettled([data.close(), hasher.close()]);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
