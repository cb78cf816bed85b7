/**
 * A process that is one virtual function for other VMMs: the socket, the NIC behind it, its cable, and turns for all of them on
 * one event loop.
 */
import { formatMac } from '../../devices/ethernet/addresses.js';
import { vfMsix } from '../../devices/nic82599/functions.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
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
  );
  const { vf, driver, network, assigned } = served;
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
    close() {
      server.close();
      cable.unplug();
      turns.stop();
    },
  };
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
