/**
 * A process that is one virtual function for other VMMs: the socket, the NIC behind it, its cable, and turns for all of them on
 * one event loop.
 */
import { AtomicBitmap } from '../../base/bitmap.js';
import { PAGE_BYTES } from '../../base/units.js';
import { deviceErrors } from '../../devices/errors.js';
import { formatMac } from '../../devices/ethernet/addresses.js';
import { vfMsix } from '../../devices/nic82599/functions.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { type DmaLog, LOG_PAGES_MAX } from '../../devices/vfio/dma-log.js';
import type { DataSession } from '../../devices/vfio/session.js';
import { type DeviceState, stateName } from '../../devices/vfio/states.js';
import { Cable } from '../machine/thread/cable.js';
import { DeviceTimers } from '../machine/thread/device-timers.js';
import type { NetworkControl } from '../passthrough/network-control.js';
import { countersOf } from '../passthrough/report.js';
import type { SocketAddress } from '../sockets/address.js';
import { hostEpoch, hostTime } from '../threads/host-time.js';
import { ClientInterrupts } from './client-interrupts.js';
import { ClientMemory } from './client-memory.js';
import { VfioUserDevice } from './device.js';
import { type ServedVf, type ServedVfOptions, serveVf } from './served-vf.js';
import { VfioUserServer } from './server.js';
import { loadUnixSockets } from './unix-sockets.js';

/** Descriptors and frames that the NIC works off in one turn. */
const BUDGET = 256;
/** A piece of the cable's stream may hold hundreds of frames: after so many the NIC has its turn. */
const FRAMES_AT_A_TIME = 64;
/** A timer that is due within this is waited for awake: the event loop's own count in milliseconds. */
const SOON_NS = 200_000;
const NS_PER_MS = 1e6;
/** What a log is of at least: as much as fits it in pages of 4 KiB. */
const LOG_BYTES_MIN = LOG_PAGES_MAX * PAGE_BYTES;
/** A timer of the host holds no more; whoever wakes early looks again. */
const ALARM_MS_MAX = 2 ** 30;

export interface NicProcessOptions extends ServedVfOptions {
  readonly address: SocketAddress & { readonly kind: 'unix' };
  /** The fabric; without one there is no cable. */
  readonly netdev?: SocketAddress;
  onNotice(text: string): void;
}

/** What it has come to, for who looks from outside. */
export interface NicFigures {
  /** Clients that have come. */
  readonly clients: number;
  readonly mappings: number;
  readonly eventfds: number;
  readonly interrupts: number;
  readonly dmaBlocked: number;
  /** Frames that the cable had no room for. */
  readonly framesRefused: number;
}

/** How the function is just now, for its host's administrator. */
export interface NicReport extends NicFigures {
  readonly name: string;
  readonly mac: string | null;
  /** Whether the cable is plugged in, and the administrator has not taken the function's link away. */
  readonly link: boolean;
  readonly trust: boolean;
  readonly spoofchk: boolean;
  readonly query_rss: boolean;
  /** Its driver has reset it, and was answered. */
  readonly 'clear-to-send': boolean;
  /** It was not taken away under its client. */
  readonly present: boolean;
  /** Its state in VFIO's migration, by VFIO's names. */
  readonly state: string;
  /** What it counts, by the names of its registers. */
  readonly counters: Readonly<Record<string, number>>;
}

export interface NicProcess {
  figures(): NicFigures;
  report(): NicReport;
  /** The function as a station of its network. */
  readonly network: NetworkControl;
  /** Changes what of its policy may change while it runs. */
  setPolicy(change: Partial<Pick<VfPolicy, 'trusted' | 'spoofCheck' | 'rssQuery'>>): void;
  /** The physical function's driver resets the whole part, as after a fault of it, and sets it up anew. */
  resetHost(): void;
  /** Takes the function away under its client, or gives it back; see `VfioUserDevice.setPresent`. */
  setPresent(present: boolean): void;
  /** The steps of VFIO's migration, for who moves the state beside a client that can't. They throw as VFIO refuses. */
  setState(state: DeviceState): void;
  /** The next bytes of the state, and whether they are the last. */
  readState(bytesMax: number): { readonly bytes: Uint8Array; readonly end: boolean };
  writeState(bytes: Uint8Array): void;
  /** Begins to log what the function writes, or ends it. Throws as VFIO refuses. */
  logWrites(enable: boolean): void;
  /**
   * Has the client write a byte of each page once more that the function has written by descriptor since this was last asked, so
   * that it has them in its own log; resolves with how many. For when neither function nor vCPUs write. Throws as VFIO refuses.
   */
  tellWritten(): Promise<number>;
  close(): void;
}

/** Throws `vmm/native-missing`, `vmm/listen-failed` or `vmm/netdev-failed`. */
export async function startNicProcess(options: NicProcessOptions): Promise<NicProcess> {
  const { address, netdev, onNotice } = options;
  const sockets = await loadUnixSockets();
  const hostNow = hostTime(hostEpoch());
  const timers = new DeviceTimers(hostNow);
  const memory = new ClientMemory();
  const interrupts = new ClientInterrupts(vfMsix.vectors, sockets);
  let clients = 0;
  let frames = 0;
  const turns = new Turns(() => {
    timers.runDue();
    const more = served.nic.run(BUDGET);
    cable.flush();
    return more ? hostNow() : timers.next;
  }, hostNow);
  const cable = new Cable({
    receive: (bytes, at, length) => {
      served.nic.receiveBytes(bytes, at, length);
      if (++frames % FRAMES_AT_A_TIME === 0) turns.take();
    },
    received: () => turns.take(),
    room: () => turns.take(),
    link: (up) => {
      served.network.setCable(up);
      turns.take();
    },
  });
  const served: ServedVf = serveVf(options, {
    scheduler: timers,
    dma: memory,
    interrupts,
    send: cable.send,
    wireReady: () => cable.ready,
    wake: () => turns.soon(),
  });
  const device = new VfioUserDevice({ served, memory, interrupts, refused: onNotice });
  if (netdev !== undefined) await cable.connect(netdev);
  const server = await VfioUserServer.open(
    sockets,
    device,
    {
      came: () => {
        clients++;
        onNotice('a client has come');
      },
      went: (why) => onNotice(`the client is gone${why === undefined ? '' : `: ${why}`}`),
      handled: () => turns.soon(),
    },
    address,
  ).catch((error: unknown) => {
    // Who can not be reached has nothing to say to the network, and a cable would keep the process alive.
    cable.unplug();
    turns.stop();
    throw error;
  });
  const { vf, driver, network, assigned } = served;
  const log = served.vfio.log!;
  const figures = (): NicFigures => ({
    clients,
    mappings: memory.count,
    eventfds: interrupts.count,
    interrupts: interrupts.sent,
    dmaBlocked: memory.blocked,
    framesRefused: served.refused,
  });
  return {
    figures,
    network,
    report: () => {
      const { mac, policy, clearToSend } = driver.info(0);
      return {
        name: assigned.name,
        mac: mac === undefined ? null : formatMac(Uint8Array.from(mac)),
        link: network.linkOf(0),
        trust: policy.trusted,
        spoofchk: policy.spoofCheck,
        query_rss: policy.rssQuery,
        'clear-to-send': clearToSend,
        present: device.present,
        state: stateName(served.migration.state),
        counters: countersOf(vf.pool),
        ...figures(),
      };
    },
    setPolicy: (change) => {
      driver.setPolicy(0, change);
      turns.soon();
    },
    resetHost: () => {
      driver.start();
      turns.soon();
    },
    setPresent: (present) => {
      device.setPresent(present);
      turns.soon();
    },
    setState: (state) => {
      device.setState(state);
      turns.soon();
    },
    readState: (bytesMax) => {
      const bytes = new Uint8Array(bytesMax);
      const read = sessionOf(served).read(bytes);
      const count = typeof read === 'number' ? read : 0;
      return { bytes: bytes.subarray(0, count), end: read === 'end' };
    },
    writeState: (bytes) => sessionOf(served).write(bytes),
    logWrites: (enable) => {
      if (enable) log.start([{ iova: 0, length: Math.max(LOG_BYTES_MIN, memory.end) }]);
      else log.stop();
    },
    tellWritten: async () => {
      const told = tellWritten(log, memory);
      await new Promise<void>((resolve) => memory.whenWritten(resolve));
      return told;
    },
    close() {
      server.close();
      cable.unplug();
      turns.stop();
    },
  };
}

/** The session of the state that the function is in. Throws `devices/vfioRefused` where that is one without data. */
function sessionOf({ migration, assigned }: ServedVf): DataSession {
  const { session, state } = migration;
  if (session !== undefined) return session;
  throw deviceErrors.error('vfioRefused', {
    device: assigned.name,
    request: 'data',
    problem: `the device is in ${stateName(state)}`,
    errno: 'EINVAL',
  });
}

function tellWritten(log: DmaLog, memory: ClientMemory): number {
  let told = 0;
  for (const { address, bytes } of memory.writtenUnheard) {
    const written = new AtomicBitmap(bytes / PAGE_BYTES);
    log.report(address, bytes, PAGE_BYTES, written);
    for (let page = written.next(0); page >= 0; page = written.next(page + 1)) {
      if (memory.tellOf(address + page * PAGE_BYTES)) told++;
    }
  }
  return told;
}

/** Lets the NIC work when there is something to do, and again when it says that there will be. */
class Turns {
  /** Works, and says when to come again: host ns, Infinity for never. */
  readonly #work: () => number;
  readonly #now: () => number;
  #immediate: NodeJS.Immediate | undefined;
  #alarm: NodeJS.Timeout | undefined;
  #stopped = false;

  constructor(work: () => number, now: () => number) {
    this.#work = work;
    this.#now = now;
  }

  /** Works at the end of this turn of the event loop. */
  soon(): void {
    if (this.#stopped || this.#immediate !== undefined) return;
    this.#immediate = setImmediate(() => {
      this.#immediate = undefined;
      this.take();
    });
  }

  /** Works now. */
  take(): void {
    if (this.#stopped) return;
    clearTimeout(this.#alarm);
    this.#alarm = undefined;
    const next = this.#work();
    if (next === Infinity) return;
    const wait = next - this.#now() - SOON_NS;
    if (wait <= 0) this.soon();
    else this.#alarm = setTimeout(() => this.take(), Math.min(ALARM_MS_MAX, Math.floor(wait / NS_PER_MS)));
  }

  stop(): void {
    this.#stopped = true;
    clearTimeout(this.#alarm);
    clearImmediate(this.#immediate);
  }
}
