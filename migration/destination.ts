/**
 * The life of a migration's destination, from top to bottom: judge the machine, receive RAM, load the state, promise,
 * and wait for the source's word.
 *
 * One rule holds everywhere: without `commit` nothing ever runs here, and everything is discarded; with it the guest
 * runs here, whatever becomes of the source. Whoever gives up before that says so as its last word, and the source, which
 * may have committed already, takes the guest back.
 */
import { isFerryError } from '../base/errors.js';
import { settleAll } from '../base/settle.js';
import { addDuration, elapsed, type Instant, nanoseconds } from '../base/units.js';
import { endTracking, startDevices } from './after-run.js';
import { destinationApproaches, judgeApproaches } from './approaches.js';
import { Conversation } from './conversation.js';
import type { Destination, DestinationOptions } from './destination-context.js';
import { DeviceStreamReceiver } from './device-stream.js';
import { abortError, DESTINATION_ENDINGS, type DestinationProgress, endingOf, withWords } from './endings.js';
import { migrationErrors } from './errors.js';
import { type FrameKind, malformed } from './frame.js';
import { imagePages } from './image-pages.js';
import { hashMessages, RunningRoot, sameBytes } from './integrity.js';
import { type MessageOf, rehearse } from './messages.js';
import { onTimeline } from './observed-device.js';
import type { MachineState, TransferCount } from './ports.js';
import type { DestinationParts, DestinationRecord } from './record.js';
import { NOT_REHEARSED, rehearseMachine } from './rehearsal.js';
import { takesStream } from './start/start.js';
import {
  type DestinationEvent,
  type DestinationState,
  destinationOwnsGuest,
  destinationTable,
  Lifecycle,
} from './states.js';
import { FLOW, Timeline } from './timeline.js';
import { DESTINATION_STEPS, destinationPartsOf } from './timeline-views.js';
import { UndoStack } from './undo.js';

type Hello = MessageOf<'hello'>;
type State = MessageOf<'state'>;
type Complete = MessageOf<'complete'>;

/**
 * Takes over a guest that arrives over `control` and `data`, both of which it closes. Resolves with the record of what
 * happened; if `status` is `completed` the guest runs here, otherwise the machine was discarded. Rejects only for a
 * defect of ours, after that.
 */
export async function migrateDestination(options: DestinationOptions): Promise<DestinationRecord> {
  const { destination, snapshot } = open(options);
  try {
    const hello = await negotiate(destination);
    const { state, lastPages } = await receiveRounds(destination);
    const { loaded } = await load(destination, hello, state, lastPages);
    await awaitCommit(destination, hello);
    await run(destination, await loaded);
  } catch (error) {
    await end(destination, error);
  }
  return snapshot();
}

function open(options: DestinationOptions): { destination: Destination; snapshot: () => DestinationRecord } {
  const { scheduler, parameters, signal, observer, data } = options;
  const timeline = options.timeline ?? new Timeline(scheduler);
  const life = new Lifecycle(destinationTable, 'none', (from, to, event) => {
    timeline.moment(FLOW, 'state', { from, to, event });
    observer?.stateChanged?.(from, to, event);
  });
  const talk = new Conversation({
    link: options.control,
    scheduler,
    parameters,
    phase: () => life.state,
    record: options.record,
  });
  const startedAt = scheduler.now();
  const onAbort = (): void => talk.fail(abortError('destination', life.state, signal?.reason));
  const destination: Destination = {
    ...options,
    life,
    talk,
    deafen: () => signal?.removeEventListener('abort', onAbort),
    hello: undefined,
    root: new RunningRoot(options.digest),
    undo: new UndoStack(),
    chosen: undefined,
    starts: [],
    deviceStream: undefined,
    connected: false,
    rehearsed: NOT_REHEARSED,
    rounds: 0,
    error: undefined,
    guest: undefined,
    afterwards: undefined,
    timeline,
  };
  const snapshot = (): DestinationRecord => ({
    role: 'destination',
    migrationId: destination.hello?.migrationId ?? '',
    status: life.state,
    error: destination.error,
    guest: destination.guest,
    afterwards: destination.afterwards,
    approaches: destination.hello?.approaches,
    rounds: destination.rounds,
    received: destination.connected ? data.progress() : { pages: 0, zeroPages: 0, bytes: 0 },
    deviceBytes: destination.deviceStream?.bytes ?? 0,
    totalNs: elapsed(startedAt, scheduler.now()),
    parts: destinationPartsOf(timeline),
    timeline: timeline.entries,
    timelineLeftOff: timeline.leftOff,
  });
  destination.undo.push('the machine', () => options.machine.discard());
  observer?.started?.(snapshot);
  life.to('start');
  if (signal?.aborted) onAbort();
  else signal?.addEventListener('abort', onAbort, { once: true });
  return { destination, snapshot };
}

/** Announces what happened, if the talk still stands. */
function advance({ talk, life }: Destination, event: DestinationEvent): void {
  talk.check();
  life.to(event);
}

/** Accepts or refuses the machine, then connects the data channels. */
async function negotiate(destination: Destination): Promise<Hello> {
  const { machine, talk, data, parameters, timeline } = destination;
  const answer = parameters.duration('answerTimeoutMs');
  const hello = await talk.expect(['hello'], answer);
  destination.hello = hello;
  const chosen = judgeApproaches(hello, parameters.registry);
  destination.chosen = chosen;
  await machine.accept(hello.description);
  machine.observe?.(timeline);
  const devices = onTimeline(machine.devices, timeline);
  destination.starts = destinationApproaches(chosen, hello.devices, devices, parameters.registry);
  if (takesStream(chosen.start)) destination.deviceStream = new DeviceStreamReceiver(destination.starts);
  await talk.send({ kind: 'welcome' });
  const { endpoint } = await talk.expect(['data'], answer);
  const { channels, hashSeed, verify } = hello;
  if (endpoint.ports.length !== channels) {
    throw malformed('data', 'endpoint.ports', `${endpoint.ports.length}, but ${channels} channels`);
  }
  const { migratedPages } = hello.description;
  const integrity = verify !== 'off';
  const firstPages = imagePages(hello.description);
  await talk.during(
    data.connect(endpoint, { channels, integrity, hashSeed, migratedPages, firstPages, timeline }),
  );
  destination.connected = true;
  rehearse();
  rootSoFar(destination);
  advance(destination, 'ready');
  return hello;
}

/** Receives round after round while the guest runs at the source; resolves with its state when it has stopped. */
async function receiveRounds(destination: Destination): Promise<{
  readonly state: State;
  readonly lastPages: Promise<TransferCount>;
}> {
  const { machine, talk } = destination;
  let early: Promise<boolean> | undefined;
  for (;;) {
    const round = destination.rounds + 1;
    const arriving = awaitRound(destination, round);
    if (early === undefined) {
      early = makeReadyEarly(destination, arriving);
      talk.watch(early);
    }
    const message = await expectBeside(destination, ['round-end', 'state']);
    if (message.kind === 'state') {
      advance(destination, 'state');
      return { state: message, lastPages: arriving };
    }
    await receiveRound(destination, message, arriving);
    // The source hears of the round only then, because it may stop the guest at once, and must not wait for it then.
    if (round === 1) {
      if (!(await talk.during(early))) await talk.during(makeReady(destination));
      machine.lastMayCome?.();
    }
    const { loadNs, startNs } = destination.rehearsed;
    const { integrityNs } = destinationPartsOf(destination.timeline);
    await talk.send({ kind: 'round-received', round, loadNs: loadNs + integrityNs, startNs });
    // If nothing is left to send, this is the last one already.
    const checkingFrom = destination.scheduler.now();
    rootSoFar(destination);
    note(destination, 'integrityNs', checkingFrom);
  }
}

/**
 * The image's pages come before all others: the guest's code is compiled, and what comes when it stands still is rehearsed, while
 * it runs over there and the rest of RAM is on its way. False if that was not to be had: all of RAM will be here after the round.
 */
async function makeReadyEarly(
  destination: Destination,
  firstRound: Promise<TransferCount>,
): Promise<boolean> {
  try {
    await Promise.race([destination.data.firstArrived(), firstRound]);
  } catch {
    // Whoever waits for the round hears of it.
    return false;
  }
  return makeReady(destination);
}

/** False if the guest's code is not here as it will be. */
async function makeReady(destination: Destination): Promise<boolean> {
  const { machine, scheduler } = destination;
  if (!(await machine.prepareCode())) return false;
  destination.rehearsed = await rehearseMachine(machine, scheduler);
  return true;
}

/** Receives the last pages and the rest of the device's state. */
async function receiveTheRest(
  destination: Destination,
  lastPages: Promise<TransferCount>,
): Promise<Complete> {
  const message = await expectBeside(destination, ['complete']);
  const waitingFrom = destination.scheduler.now();
  // With nothing left to send, the round before was the last.
  if (message.round === destination.rounds) compareCounts(message, NOTHING);
  else {
    const all = message.channels === destination.hello?.channels;
    await receiveRound(
      destination,
      message,
      all ? lastPages : awaitRound(destination, message.round, message.channels),
    );
  }
  if (destination.deviceStream !== undefined) destination.deviceStream.judge(message);
  else if (message.devices.length > 0) throw malformed('complete', 'devices', 'of which no state comes');
  note(destination, 'lastPagesNs', waitingFrom);
  return message;
}

const NOTHING: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

/** A channel that breaks while the source has nothing to say would otherwise be noticed only at the round's end. */
function awaitRound({ data, talk }: Destination, round: number, channels?: number): Promise<TransferCount> {
  const arriving = data.received(round, channels);
  talk.watch(arriving);
  return arriving;
}

async function receiveRound(
  destination: Destination,
  message: MessageOf<'round-end' | 'complete'>,
  arriving: Promise<TransferCount>,
): Promise<void> {
  const { talk, observer, parameters } = destination;
  const round = destination.rounds + 1;
  if (message.round !== round) throw malformed(message.kind, 'round', `${message.round}, not ${round}`);
  const answer = parameters.duration('answerTimeoutMs');
  const received = await talk.within(answer, `pages of round ${round}`, arriving);
  compareCounts(message, received);
  destination.rounds = round;
  const { pages, zeroPages } = received;
  destination.timeline.moment(FLOW, 'round-received', { round, pages, zeroPages });
  observer?.roundFinished?.(round, received);
}

/** The next message of one of `kinds`; what comes of the device's state before it is taken in beside. */
async function expectBeside<K extends FrameKind>(
  destination: Destination,
  kinds: readonly K[],
): Promise<MessageOf<K>> {
  const { talk, deviceStream, scheduler } = destination;
  if (deviceStream === undefined) return talk.expect(kinds);
  for (;;) {
    const message = await talk.expect<K | 'device-data'>([...kinds, 'device-data']);
    if (message.kind !== 'device-data') return message as MessageOf<K>;
    const piece = message as MessageOf<'device-data'>;
    const takenFrom = scheduler.now();
    // A device that is refused ends the talk at once.
    const taken = deviceStream.take(piece).then(() => {
      if (piece.last) note(destination, 'deviceLoadNs', takenFrom);
    });
    taken.catch((error: Error) => talk.fail(error));
    if (deviceStream.crowded) await talk.unheard(deviceStream.done);
  }
}

/** Over the pages as received so far; empty if nothing is hashed. */
function rootSoFar({ hello, root, data }: Destination): Uint8Array {
  return hello?.verify === 'off' ? new Uint8Array(0) : root.of(data.hashes);
}

function compareCounts(announced: MessageOf<'round-end' | 'complete'>, received: TransferCount): void {
  for (const field of ['pages', 'zeroPages'] as const) {
    if (announced[field] === received[field]) continue;
    throw migrationErrors.error('round-incomplete', {
      round: announced.round,
      field: field === 'pages' ? 'pages' : 'zero pages',
      sent: announced[field],
      received: received[field],
    });
  }
}

/** What was loaded, on its way back from the machine itself, if it is to be shown when the guest runs. */
interface Loaded {
  readonly loaded: Promise<MachineState> | undefined;
}

/** Loads the machine while the last pages come, checks that RAM arrived as it was sent, and promises to run it. */
async function load(
  destination: Destination,
  hello: Hello,
  state: State,
  lastPages: Promise<TransferCount>,
): Promise<Loaded> {
  const { machine, talk, data, scheduler, deviceStream, starts } = destination;
  const { migratedPages } = hello.description;
  const arriving = receiveTheRest(destination, lastPages);
  let arrivedAt = scheduler.now();
  const arrived = arriving.then(() => {
    arrivedAt = scheduler.now();
  });
  // A failure of one is told when the others have ended too: nothing is under way when the machine is discarded.
  const loading = [
    machine.load(state.machine, arrived).then(() => note(destination, 'loadNs', arrivedAt)),
    deviceStream === undefined
      ? settleAll(starts.map(async ({ does }) => does.load?.()))
      : arrived.then(() => deviceStream.done),
  ];
  const ended = Promise.allSettled(loading);
  let intact: boolean;
  try {
    const { root } = await arriving;
    if ((hello.verify === 'off') !== (root.length === 0)) {
      throw malformed('complete', 'root', `${root.length} bytes in a migration with verify=${hello.verify}`);
    }
    const checkingFrom = scheduler.now();
    intact = sameBytes(rootSoFar(destination), root);
    note(destination, 'integrityNs', checkingFrom);
  } finally {
    await ended;
  }
  // What was loaded from damaged memory says nothing.
  if (!intact) {
    await talk.send({ kind: 'damaged' });
    for (const part of hashMessages(data.hashes.words, migratedPages)) await talk.send(part);
    // The source names the pages and gives up; its error is ours as well.
    await talk.expect([], destination.parameters.duration('answerTimeoutMs'));
  }
  await Promise.all(loading);
  talk.check();
  destination.life.to('loaded');
  // Asked for before the promise goes out: it is read while the source's word is on its way.
  const loaded = hello.verify === 'after' ? readBack(destination) : undefined;
  loaded?.catch(() => undefined);
  const { lastPagesNs, integrityNs, loadNs, deviceLoadNs } = destinationPartsOf(destination.timeline);
  talk.post({ kind: 'prepared', lastPagesNs, integrityNs, loadNs, deviceLoadNs });
  return { loaded };
}

/** What was loaded, as the machine itself tells it. */
async function readBack({ machine, starts }: Destination): Promise<MachineState> {
  const reading = starts.map(async ({ does }) => (await does.records?.()) ?? []);
  const [loaded, records] = await Promise.all([machine.save(), settleAll(reading)]);
  return { ...loaded, devices: [...loaded.devices, ...records.flat()] };
}

/** Waits for the source's word, and shows it what was loaded if it asks. */
async function awaitCommit(destination: Destination, hello: Hello): Promise<void> {
  const { talk, hasher, life } = destination;
  const { migratedPages } = hello.description;
  for (;;) {
    const message = await talk.expect(['verify', 'commit']);
    if (message.kind === 'commit') {
      if (message.migrationId !== hello.migrationId)
        throw malformed('commit', 'migrationId', 'of another migration');
      break;
    }
    const hashes = await talk.during(hasher.hashAll(0, migratedPages, hello.hashSeed));
    for (const part of hashMessages(hashes, migratedPages)) await talk.send(part);
    await talk.send({ kind: 'read-back', machine: await readBack(destination) });
  }
  destination.deafen();
  life.to('commit');
  destination.undo.forget();
}

/** The guest is ours. Nothing that the source or the link does from here on stops it. */
async function run(destination: Destination, loaded: MachineState | undefined): Promise<void> {
  const { machine, talk, scheduler, life } = destination;
  const startingFrom = scheduler.now();
  await machine.run();
  note(destination, 'startNs', startingFrom);
  const deviceStart = machine.deviceStart ?? nanoseconds(0);
  note(destination, 'deviceStartNs', startingFrom, addDuration(startingFrom, deviceStart));
  const { startNs, deviceStartNs } = destinationPartsOf(destination.timeline);
  talk.post({ kind: 'running', startNs, deviceStartNs });
  life.to('running');
  destination.guest = 'here';
  if (loaded !== undefined) talk.post({ kind: 'read-back', machine: loaded });
  if (destination.chosen?.start.afterRun === true) await startDevices(destination);
  await talk.expect(['released'], destination.parameters.duration('answerTimeoutMs'));
  talk.close();
  await closeAll(destination);
  await endTracking(destination);
}

/** Without commit: everything is discarded. With it: the guest runs, and what went wrong is only noted. */
async function end(destination: Destination, error: unknown): Promise<void> {
  const { talk, life, undo } = destination;
  destination.deafen();
  const reported = await talk.explain(error);
  if (isFerryError(reported)) {
    const ending = DESTINATION_ENDINGS[progressOf(life.state)][endingOf('destination', reported)];
    destination.guest = ending.guest;
    const told = withWords(reported, ending).toJSON();
    if (life.state === 'completed') destination.afterwards ??= told;
    else destination.error = told;
  }
  await talk.giveUp(reported, !destinationOwnsGuest(life.state));
  // Whoever asks what became of the guest does not wait for the source's last bytes.
  const closed = closeAll(destination);
  const failures = await undo.takeBack();
  if (life.state !== 'completed') life.to('fail');
  await closed;
  // What can't be discarded is a defect of ours: told when nothing else is left to do.
  if (failures.length > 0) throw failures[0]!.cause;
  if (!isFerryError(reported)) throw reported;
}

function progressOf(state: DestinationState): DestinationProgress {
  return state === 'prepared' || state === 'committed' || state === 'completed' ? state : 'receiving';
}

function note({ timeline }: Destination, part: keyof DestinationParts, from: Instant, to?: Instant): void {
  timeline.span(FLOW, DESTINATION_STEPS[part], from, undefined, to);
}

/** Channels and hasher are of no use any more, in whatever state they are. */
async function closeAll({ data, hasher }: Destination): Promise<void> {
  await Promise.allSettled([data.close(), hasher.close()]);
}
