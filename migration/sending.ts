/**
 * What a source sends, and in what order what is sent may begin: pages after the harvest that named them, the device's
 * data stream, and, while everything stands still, all the rest beside each other.
 */
import type { AtomicBitmap } from '../base/bitmap.js';
import type { Cancel } from '../base/clock.js';
import { settleAll } from '../base/settle.js';
import { type Duration, MIB, nanoseconds } from '../base/units.js';
import type { OnDevice } from './approaches.js';
import { rateInForce } from './pages/bandwidth.js';
import type { HarvestReport, MachineState, TransferCount } from './ports.js';
import type { Source } from './source-context.js';
import type { DeviceStop } from './stop/stop.js';
import { FLOW } from './timeline.js';

interface Harvest {
  readonly report: HarvestReport;
  readonly duration: Duration;
  /** Pages that the vCPUs wrote: those that a throttle can make fewer. */
  readonly vcpuPages: number;
}

/** What the data channels send between two changes of their count, generously. */
const PROGRESS_STEP_BYTES = 16 * MIB;

interface Rest {
  readonly saved: MachineState;
  /** Over the pages as sent; empty if nothing is hashed. */
  readonly root: Uint8Array;
  readonly sent: TransferCount;
  /** The last round that was sent, and on how many channels. */
  readonly round: number;
  readonly channels: number;
}

/** Everything stands still: the last pages, the machine's and the device's state go out beside each other. */
export async function sendTheRest(source: Source): Promise<Rest> {
  const { machine, stats, stops } = source;
  const hasDevice = stops.length > 0;
  // What takes longest comes first. The last harvest of a machine with a device begins with a question to the device;
  // without one it is done right here, and the machine's threads are better asked before.
  const early = hasDevice && sendLastPages(source);
  const reading = settleAll(stops.map((stop) => sendLastOf(source, stop)));
  const saving = machine.save().then((state) => sendState(source, state));
  const sending = early || sendLastPages(source);
  const all = Promise.allSettled([saving, reading, sending]);
  try {
    const { round, sent, channels } = await sending;
    stats.moment('pagesSent');
    const record = stats.lastRound(source.lastRound, sent);
    // The others go on meanwhile, in threads of their own.
    const root = rootSoFar(source);
    await reading;
    stats.moment('deviceSent');
    source.observer.roundFinished?.(record);
    return { saved: await saving, root, sent, round, channels };
  } finally {
    // Whatever failed, nothing is under way any more when the guest is taken back.
    await all;
  }
}

/** A last round of so many pages has gone out on one channel before a second worker is awake (2 MiB). */
const ONE_CHANNEL_PAGES_MAX = 512;

const NOTHING_SENT: TransferCount = { pages: 0, zeroPages: 0, bytes: 0 };

/** The last harvest, and the round that empties it; no round if it finds nothing. */
async function sendLastPages(source: Source): Promise<Pick<Rest, 'sent' | 'round' | 'channels'>> {
  const { pending, faults, stats } = source;
  await harvestPages(source, true);
  const before = source.lastRound++;
  const skipped = faults.strikes('migration/last-pass-skipped') !== undefined;
  if (skipped || stats.remainingPages === 0) return { round: before, sent: NOTHING_SENT, channels: 1 };
  const channels = stats.remainingPages <= ONE_CHANNEL_PAGES_MAX ? 1 : source.channels;
  const sent = await sendPages(source, source.lastRound, pending, channels);
  stats.remainingPages = pending.count();
  return { round: source.lastRound, sent, channels };
}

/** The destination can load the machine while pages are still on their way. */
async function sendState({ talk }: Source, machine: MachineState): Promise<MachineState> {
  await talk.send({ kind: 'state', machine });
  return machine;
}

/** Over the pages as sent so far; empty if nothing is hashed. */
export function rootSoFar({ verify, data, root }: Source): Uint8Array {
  return verify === 'off' ? new Uint8Array(0) : root.of(data.hashes);
}

/** What the devices have to give while they run; a stream begins with who the device is. */
export async function sendDevicesAhead(source: Source): Promise<void> {
  for (const { name, does } of source.stops) {
    if (does.ahead !== undefined) await sendDeviceData(source, name, await does.ahead(), false);
  }
}

/** The rest of one device's stream, or what was remembered or read out of it, if any of it travels. */
async function sendLastOf(source: Source, stop: OnDevice<DeviceStop>): Promise<void> {
  const rest = await restOf(source, stop);
  if (rest !== undefined) await sendDeviceData(source, stop.name, rest, true);
}

async function restOf(
  { chosen, machine, remembered }: Source,
  { name, does }: OnDevice<DeviceStop>,
): Promise<Uint8Array | undefined> {
  if (does.stopCopy !== undefined) return does.stopCopy();
  const device = machine.devices.find((one) => one.name === name)!;
  const known = remembered.get(name) ?? (await chosen?.start.readOut?.(device));
  // Where the guest was asked in vain the destination waits for a stream all the same.
  return known ?? (chosen?.start.remember === undefined ? undefined : new Uint8Array(0));
}

async function sendDeviceData(
  { deviceStream, stats }: Source,
  device: string,
  data: Uint8Array,
  last: boolean,
): Promise<void> {
  await deviceStream.send(device, data, last);
  stats.deviceSent(device, data.length);
}

/** Sends the pages of one round, on all channels or the first so many; resolves when these have taken them. */
export async function sendPages(
  source: Source,
  round: number,
  pages: AtomicBitmap,
  channels = source.channels,
): Promise<TransferCount> {
  source.observer.roundStarted?.(round, pages.count());
  const unwatch = watchProgress(source);
  try {
    const sent = await source.talk.during(source.data.sendRound(round, pages, channels));
    return { pages: sent.pages, zeroPages: sent.zeroPages, bytes: sent.bytes };
  } finally {
    unwatch();
  }
}

/**
 * Ends the talk when the data channels stand still: the peer may live and yet not read, perhaps while the guest waits. How
 * long that may last follows the parameters, also when they are changed meanwhile.
 */
function watchProgress(source: Source): Cancel {
  const { data, scheduler, talk, parameters } = source;
  let sentBefore = -1;
  let patience: Duration;
  let cancel: Cancel = () => undefined;
  const wait = (): void => {
    patience = patienceOf(source);
    cancel = scheduler.after(patience, look);
  };
  const look = (): void => {
    const { pages, zeroPages } = data.progress();
    if (pages + zeroPages === sentBefore) {
      talk.failSilent(patience, 'progress on the data channels');
      return;
    }
    sentBefore = pages + zeroPages;
    wait();
  };
  look();
  const forget = parameters.onChange(() => {
    if (patienceOf(source) === patience) return;
    cancel();
    wait();
  });
  return () => {
    forget();
    cancel();
  };
}

/** How long the count of what was sent may stand still: under a limit, what lies between two counts may take its time. */
function patienceOf({ parameters, life }: Source): Duration {
  const rate = life.state === 'active' ? rateInForce(parameters.values.maxBandwidth || undefined) : Infinity;
  return nanoseconds(Math.max(parameters.duration('answerTimeoutMs'), (PROGRESS_STEP_BYTES / rate) * 1e9));
}

/** Takes the log into `pending`: before this resolves, no page it names is read for sending. */
export async function harvestPages(
  { tracking, pending, timeline, stats }: Source,
  last = false,
): Promise<Harvest> {
  const startedAt = timeline.now();
  const report = await tracking.harvest(pending, last);
  const { cpuPages, devicePages, bothPages } = report;
  const duration = timeline.span(FLOW, 'harvest', startedAt, { cpuPages, devicePages, bothPages });
  stats.harvested(report, duration, pending.count());
  return { report, duration, vcpuPages: report.cpuPages + report.bothPages };
}
