/**
 * The life of a migration's source, from top to bottom: agree with the destination, send RAM while the guest runs,
 * stop device and guest, send the rest, let the destination prove what it has, and give the guest away.
 *
 * One rule holds everywhere: until `commit` is sent the guest is ours, and whatever goes wrong ends with the guest
 * running here; from the moment before it is sent the guest is not ours any more, and nothing makes it run here but the
 * destination's word that it gave up before it heard the commit, and so never will.
 */
import { AtomicBitmap } from '../base/bitmap.js';
import { isFerryError } from '../base/errors.js';
import { NO_FAULTS } from '../base/fault.js';
import { settleAll } from '../base/settle.js';
import { type Duration, elapsed, milliseconds, nanoseconds } from '../base/units.js';
import { finishDevices } from './after-run.js';
import { type Chosen, chooseApproaches, namesOf, sourceApproaches } from './approaches.js';
import { Conversation } from './conversation.js';
import { DeviceStreamSender } from './device-stream.js';
import { abortError, type SourceProgress } from './endings.js';
import { migrationErrors } from './errors.js';
import { AutoConverge, type BlackoutInputs, expectedBlackout, Shrinking } from './estimate.js';
import { malformed } from './frame.js';
import { imagePages } from './image-pages.js';
import { inquire, type Verdict } from './inquiry.js';
import { RunningRoot } from './integrity.js';
import { type MessageOf, rehearse } from './messages.js';
import { onTimeline } from './observed-device.js';
import type { MachineState } from './ports.js';
import type { MigrationRecord, RoundsEnd } from './record.js';
import { GuestRequests, resumeOnTakeBack, tellOnTakeBack } from './requests.js';
import { harvestPages, rootSoFar, sendDevicesAhead, sendPages, sendTheRest } from './sending.js';
import type { Source, SourceOptions } from './source-context.js';
import { startTracking } from './start-tracking.js';
import { Lifecycle, type SourceEvent, sourceOwnsGuest, sourceTable } from './states.js';
import { SourceStatistics } from './statistics.js';
import { FLOW, Timeline } from './timeline.js';
import { momentOf } from './timeline-views.js';
import { logOf } from './tracking/cpu-log.js';
import { type UndoFailure, UndoStack } from './undo.js';
import { compareLoaded, comparePagesLeft, nameDamagedPages, verifyDestination } from './verification.js';

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
    const runsThere = momentOf(source.timeline, 'running') !== undefined;
    const verdict = source.life.state === 'committed' && !runsThere ? await verdictOf(source) : undefined;
    if (verdict === 'discarded') source.life.to('refused');
    if (typeof verdict === 'object') await hearLate(source, verdict, error);
    else if (sourceOwnsGuest(source.life.state)) await takeBack(source, error);
    else if (runsThere) await leaveMoved(source, error);
    else await leaveUnknown(source, error);
  }
  options.machine.observe?.(undefined);
  return source.stats.snapshot();
}

function open(options: SourceOptions): Source {
  const { machine, parameters, scheduler, data, signal, observer = {} } = options;
  const { description } = machine;
  const { verify, multifd, multifdChannels } = parameters.values;
  const channels = multifd ? multifdChannels : 1;
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
    const error = abortError('source', life.state, signal?.reason);
    life.to('cancel');
    talk.fail(error);
  };
  observer.started?.(() => stats.snapshot());
  machine.observe?.(timeline);
  life.to('start');
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return {
    ...options,
    undo: new UndoStack(),
    chosen: undefined,
    tracking: logOf(machine),
    stops: [],
    deviceStream: new DeviceStreamSender(talk),
    remembered: new Map(),
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
  const approaches = namesOf(await chooseHow(source));
  const devices = machine.devices.map(({ name, identity }) => ({ name, identity }));
  // It begins first: the guest's code that logs is new to the engine, which compiles it well while it runs, and until the
  // destination is ready there is time for that.
  const tracking = startTracking(source);
  // So do the channels: they are listened on by the time the destination has answered.
  const { migratedPages } = description;
  const integrity = verify !== 'off';
  const firstPages = imagePages(description);
  const opening = data.open({ channels, integrity, hashSeed, migratedPages, firstPages, timeline });
  // Whoever waits for them, below, hears of a failure.
  opening.catch(() => undefined);
  await talk.send({
    kind: 'hello',
    migrationId,
    description,
    verify,
    channels,
    hashSeed,
    devices,
    approaches,
  });
  await talk.expect(['welcome'], parameters.duration('answerTimeoutMs'));
  const endpoint = await talk.during(opening);
  source.stats.opened();
  await talk.send({ kind: 'data', endpoint });
  await talk.within(parameters.duration('answerTimeoutMs'), 'data channels', data.connected());
  await tracking;
  rehearse();
  rootSoFar(source);
  source.stats.setupDone();
  advance(source, 'ready');
}

async function chooseHow(source: Source): Promise<Chosen> {
  const { machine, parameters, faults, stats, timeline } = source;
  const chosen = await chooseApproaches(parameters.values, machine.devices, parameters.registry);
  const devices = onTimeline(machine.devices, timeline);
  const { tracking, stops, atWork } = sourceApproaches(chosen, machine, devices, faults);
  Object.assign(source, { chosen, tracking, stops });
  stats.chosen(atWork, chosen.stop.leaves);
  return chosen;
}

/** Sends all pages once, then those written meanwhile, until what is left can be sent within the downtime limit. */
async function preCopy(source: Source): Promise<void> {
  const { pending, data, parameters, stats, talk, observer, scheduler } = source;
  const limitBandwidth = (): void => data.limitBandwidth(parameters.values.maxBandwidth || undefined);
  const converge = new AutoConverge();
  const shrinking = new Shrinking();
  const forget = parameters.onChange(() => {
    limitBandwidth();
    throttle(source, converge.adjust(parameters.values));
  });
  const requests = new GuestRequests(source);
  try {
    limitBandwidth();
    // What was written so far goes with the first round like all the rest.
    await source.tracking.harvest(pending, false);
    pending.fill();
    // The streams begin with who the devices are: one that the destination can't take over is refused before any page.
    tellOnTakeBack(source);
    resumeOnTakeBack(source);
    await sendDevicesAhead(source);
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
      const aheadFrom = scheduler.now();
      await sendDevicesAhead(source);
      const deviceStateNs = elapsed(aheadFrom, scheduler.now());
      const harvest = await harvestPages(source);
      const record = stats.round(round, sent, startedAt, duration, harvest);
      observer.roundFinished?.(record);
      const inputs = {
        ...harvestParts(source, harvest.duration),
        deviceStateNs,
        loadNs: nanoseconds(received.loadNs),
        startNs: nanoseconds(received.startNs),
      };
      const shrunk = shrinking.over(expectBlackout(source, inputs), sent.bytes, duration);
      const end = judgeRounds(source, round, shrunk);
      // Rounds go on until the guest has done what it was asked.
      if (end !== undefined && (await requests.answered())) stats.roundsEnd = end;
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

/** The blackout if the guest were stopped now, as expected from what was measured so far. */
function expectBlackout(
  { stats, talk }: Source,
  measured: Omit<BlackoutInputs, 'remainingPages' | 'bytesPerSecond' | 'roundTripNs'>,
): Duration {
  const { remainingPages, bytesPerSecond } = stats;
  const inputs = { ...measured, remainingPages, bytesPerSecond, roundTripNs: talk.roundTrip };
  stats.expected = expectedBlackout(inputs);
  return stats.expected.totalNs;
}

/**
 * What the last harvest tells of a stop: what has to reach the same threads takes as long. Of the devices it is the slowest,
 * because all are asked at once.
 */
function harvestParts(
  { machine, timeline }: Source,
  harvestNs: Duration,
): Pick<BlackoutInputs, 'harvestNs' | 'quiesceNs' | 'pauseNs'> {
  const reading = machine.devices.map(({ name }) => timeline.latest(name, 'readDirty')?.duration ?? 0);
  const quiesceNs = nanoseconds(Math.max(0, ...reading));
  return { harvestNs, quiesceNs, pauseNs: nanoseconds(Math.max(0, harvestNs - quiesceNs)) };
}

/** Whether, and why, pre-copy ends with this round. `shrunk`: more of them are not expected to shorten the blackout. */
function judgeRounds(
  { stats, parameters, chosen }: Source,
  round: number,
  shrunk: boolean,
): RoundsEnd | undefined {
  const expectedNs = stats.expected?.totalNs ?? Infinity;
  if (stats.remainingPages === 0) return 'nothing-left';
  if (expectedNs <= parameters.duration('downtimeLimitMs')) return 'fits-downtime-limit';
  if (chosen?.tracking.converges === false) return 'same-pages';
  if (shrunk) return 'no-longer-shrinks';
  return round >= parameters.values.maxRounds ? 'max-rounds' : undefined;
}

/** Stops devices and guest, and sends what is left. Resolves when the destination has loaded all of it. */
async function switchOver(source: Source): Promise<MachineState> {
  const { machine, data, talk, parameters, stats, stops, pending, undo } = source;
  // The limit is for the time in which the guest runs.
  data.limitBandwidth(undefined);
  stats.moment('quiescing');
  // All devices are quiet before any stops: they may write to one another.
  await settleAll(stops.map(({ does }) => does.quiesce()));
  stats.moment('pausing');
  undo.push('the pause of the vCPUs', async () => {
    await machine.resume();
    stats.resumed();
  });
  await machine.pause();
  stats.moment('paused');
  advance(source, 'paused');
  // Again: when the vCPUs go on, they shall find their devices at work.
  resumeOnTakeBack(source);
  const { saved, sent, round, channels, root } = await sendTheRest(source);
  const devices = source.deviceStream.sent;
  await talk.send({ kind: 'complete', round, ...sent, root, channels, devices });
  stats.moment('stateSent');
  const deadline = parameters.duration('answerTimeoutMs');
  const answer = await talk.expect(['prepared', 'damaged'], deadline);
  if (answer.kind === 'damaged')
    throw await nameDamagedPages(talk, data.hashes.words, pending.length, deadline);
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
    const all = withDevices(source, saved);
    await verifyDestination(talk, hashes, pending.length, all, source.registerNames, deadline);
    stats.verifiedBefore();
  }
  stats.moment('verified');
}

/** The machine's state with that of the assigned devices. */
async function withDevices({ stops }: Source, saved: MachineState): Promise<MachineState> {
  const records = await settleAll(stops.map(async ({ does }) => (await does.records?.()) ?? []));
  return { ...saved, devices: [...saved.devices, ...records.flat()] };
}

/** Where a move is verified afterwards: what of the machine the destination loaded otherwise than it was. */
async function verifyLoaded(source: Source, saved: MachineState): Promise<readonly string[]> {
  const { talk, parameters, registerNames } = source;
  if (source.verify !== 'after') return [];
  const deadline = parameters.duration('answerTimeoutMs');
  return compareLoaded(talk, withDevices(source, saved), registerNames, deadline);
}

/** On one host, threads that start take the cores from a guest whose first packets are coming, and nobody is in a hurry here. */
const FIRST_PACKETS = milliseconds(100);

/** And all of RAM: nothing here has changed since the guest stopped, and nobody waits for it. */
async function verifyWhatWasLeft(source: Source, differences: readonly string[]): Promise<void> {
  const { hasher, data, pending, stats, scheduler } = source;
  if (source.verify !== 'after') return;
  await scheduler.sleep(FIRST_PACKETS);
  const from = scheduler.now();
  const now = await hasher.hashAll(0, pending.length, source.hashSeed, true);
  stats.verifiedAfterwards([...comparePagesLeft(now, data.hashes.words), ...differences], from);
}

/** Gives the guest away. From the moment the state says so it is the destination that decides, and its word that counts. */
async function commit(source: Source, saved: MachineState): Promise<void> {
  const { talk, machine, stats, parameters, migrationId } = source;
  talk.check();
  source.deafen();
  source.life.to('commit');
  talk.post({ kind: 'commit', migrationId });
  const running = await talk.expect(['running'], parameters.duration('answerTimeoutMs'));
  source.undo.forget();
  stats.moment('running');
  stats.started(running);
  machine.relinquish();
  const differences = await verifyLoaded(source, saved);
  // Where both sides are one host, hashing takes the cores from a guest that is just setting its device up.
  await finishDevices(source);
  await verifyWhatWasLeft(source, differences);
  stats.moved();
  source.life.to('running');
  talk.post({ kind: 'released' });
  talk.close();
  await closeAll(source);
}

/** Before commit: devices and guest run here again, tracking is off, the destination knows why, and nothing is left open. */
async function takeBack(source: Source, error: unknown): Promise<void> {
  const { data, talk, stats, life, undo, timeline } = source;
  let progress: SourceProgress = momentOf(timeline, 'pausing') === undefined ? 'ran' : 'stood';
  source.deafen();
  if (life.state !== 'cancelling') source.observer.failing?.();
  data.stop();
  const failures = await undo.takeBack();
  let reported = await talk.explain(error);
  if (failures.length > 0) {
    reported = takeBackFailed(failures, messageOf(reported));
    progress = 'stuck';
  }
  await talk.giveUp(reported);
  await closeAll(source);
  stats.ended(reported, progress);
  life.to(life.state === 'cancelling' && isFerryError(reported, 'migration/cancelled') ? 'undone' : 'fail');
  if (!isFerryError(reported)) throw reported;
}

function takeBackFailed(failures: readonly UndoFailure[], because: string): Error {
  const reason = failures.map(({ step, cause }) => `${step}: ${messageOf(cause)}`).join('; ');
  return migrationErrors.error(
    'take-back-failed',
    { reason, because, count: failures.length },
    failures[0]?.cause,
  );
}

/** What the destination says to a commit of which nothing was heard; undefined if it can't be asked, or has not decided. */
async function verdictOf(source: Source): Promise<Verdict | undefined> {
  const { talk } = source;
  if (talk.peerDiscarded) return 'discarded';
  // It has said what it had to say.
  if (talk.peerError !== undefined) return undefined;
  talk.close();
  return inquire(source);
}

/** The guest was there all the while. What the broken link could not bring any more is not known of it. */
async function hearLate(source: Source, running: MessageOf<'running'>, error: unknown): Promise<void> {
  const { stats, machine, life, undo } = source;
  undo.forget();
  stats.moment('running');
  stats.started(running);
  machine.relinquish();
  if (isFerryError(error)) stats.wentWrongAfterwards(error);
  await finishDevices(source);
  stats.moved();
  life.to('running');
  await closeAll(source);
  if (!isFerryError(error)) throw error;
}

/** The commit was not answered: whether the destination runs the guest can't be known from here, so it stays as it is. */
async function leaveUnknown(source: Source, error: unknown): Promise<void> {
  const { talk, stats, life, observer, undo } = source;
  talk.close();
  await closeAll(source);
  if (life.state === 'committed') {
    const reason = messageOf(talk.peerError ?? error);
    stats.ended(migrationErrors.error('commit-unacknowledged', { reason }, error), 'committed');
    observer.undecided?.(async () => {
      const failures = await undo.takeBack();
      if (failures.length > 0) throw takeBackFailed(failures, reason);
    });
    life.to('lost');
  }
  if (!isFerryError(error)) throw error;
}

/** The destination runs the guest, and something here is broken: what matters is told all the same. */
async function leaveMoved(source: Source, error: unknown): Promise<void> {
  source.talk.close();
  await closeAll(source);
  if (source.life.state === 'committed') {
    source.stats.moved();
    source.life.to('running');
  }
  throw error;
}

function throttle(source: Source, percent: number): void {
  const { machine, stats, observer, timeline, undo } = source;
  if (percent === stats.throttlePercent) return;
  if (stats.throttlePercent === 0) undo.push('the throttle of the vCPUs', () => throttle(source, 0));
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
