/**
 * A learning Ethernet switch: the core, without sockets. Each port is a full-duplex link with the same properties in
 * both directions; frames are forwarded by the addresses learned, flooded while those are unknown. Tags pass through:
 * all VLANs share one table. IEEE 802.1Q-2018, 8.6 to 8.8
 */
import type { Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import type { Duration, Instant } from '../../base/units.js';
import { isGroupMac, MAC_BYTES } from './addresses.js';
import { FRAME_BYTES_MAX } from './frame.js';
import { FrameRing } from './frame-ring.js';
import type { FrameSink } from './frame-sink.js';
import { Link, type LinkOptions } from './link.js';
import { MacTable, PORT_UNKNOWN } from './mac-table.js';
import { etherHeader } from './protocols.js';

export const PORTS_MAX = 64;
/** Answers that wait for the frame they answer to have been delivered everywhere. */
const WAITING_FRAMES_MAX = 4096;
const WAITING_BYTES_MAX = 4 * 1024 * 1024;

const SOURCE = etherHeader.offset.source;
/** 01:80:C2:00:00:00 to 0F are for the bridge itself and are not forwarded. IEEE 802.1Q-2018, table 8-1 */
const RESERVED_GROUP = [0x01, 0x80, 0xc2, 0x00, 0x00];

/** What a port counts. Octets are without FCS. */
export interface PortStatistics {
  readonly framesIn: number;
  readonly bytesIn: number;
  readonly framesOut: number;
  readonly bytesOut: number;
  /** Frames for a station whose port was unknown, and group frames: sent to all. */
  readonly flooded: number;
  /** Too short, too long, or from a group address. */
  readonly invalid: number;
  /** For the bridge itself, or for a station behind the port they came from. */
  readonly filtered: number;
  /** Lost by the link model, in either direction. */
  readonly lost: number;
  /** Dropped at the link model's queue, in either direction. */
  readonly queueDrops: number;
  /** Dropped because what is attached reads, or the switch forwards, too slowly. */
  readonly refused: number;
  /** Arrived or were to leave while the port was down. */
  readonly downDrops: number;
}

export interface PortOptions extends LinkOptions {
  readonly name: string;
  /** Takes frames that leave; false means that there was no room. */
  readonly deliver: (bytes: Uint8Array, at: number, length: number) => boolean;
}

export interface SwitchOptions {
  readonly scheduler: Scheduler;
  readonly random: SeededRandom;
  readonly macEntriesMax?: number;
  readonly ageing?: Duration;
  /** Sees each frame that a port lets in, once, before it is forwarded. */
  readonly tap?: (port: SwitchPort, bytes: Uint8Array, at: number, length: number) => void;
}

export class SwitchPort {
  readonly name: string;
  readonly index: number;
  readonly #inward: Link;
  readonly #outward: Link;
  readonly #deliver: PortOptions['deliver'];
  #up = true;
  #framesIn = 0;
  #bytesIn = 0;
  #framesOut = 0;
  #bytesOut = 0;
  #invalid = 0;
  #downDrops = 0;
  /** The switch's own, counted where it decides. */
  flooded = 0;
  filtered = 0;
  refused = 0;

  constructor(
    index: number,
    options: PortOptions,
    { scheduler, random }: Pick<SwitchOptions, 'scheduler' | 'random'>,
    forward: (port: SwitchPort, bytes: Uint8Array, at: number, length: number) => void,
  ) {
    this.index = index;
    this.name = options.name;
    this.#deliver = options.deliver;
    this.#inward = new Link(scheduler, random.fork(`${options.name} in`), options, (bytes, at, length) => {
      this.#framesIn++;
      this.#bytesIn += length;
      forward(this, bytes, at, length);
    });
    this.#outward = new Link(scheduler, random.fork(`${options.name} out`), options, this.#leave);
  }

  get up(): boolean {
    return this.#up;
  }

  /** A frame comes from what is attached. */
  readonly receive: FrameSink = (bytes, at, length) => {
    if (!this.#up) this.#downDrops++;
    else if (length < etherHeader.size || length > FRAME_BYTES_MAX || isGroupMac(bytes, at + SOURCE)) {
      this.#invalid++;
    } else this.#inward.send(bytes, at, length);
  };

  /** The switch sends a frame out of this port. */
  send(bytes: Uint8Array, at: number, length: number): void {
    if (this.#up) this.#outward.send(bytes, at, length);
    else this.#downDrops++;
  }

  /** Called by the switch, which forgets the stations behind a port that goes down. */
  setUp(up: boolean): void {
    this.#up = up;
    if (!up) {
      this.#inward.clear();
      this.#outward.clear();
    }
  }

  get statistics(): PortStatistics {
    const inward = this.#inward.statistics;
    const outward = this.#outward.statistics;
    return {
      framesIn: this.#framesIn,
      bytesIn: this.#bytesIn,
      framesOut: this.#framesOut,
      bytesOut: this.#bytesOut,
      flooded: this.flooded,
      invalid: this.#invalid,
      filtered: this.filtered,
      lost: inward.lost + outward.lost,
      queueDrops: inward.queueDrops + outward.queueDrops,
      refused: this.refused,
      downDrops: this.#downDrops,
    };
  }

  readonly #leave = (bytes: Uint8Array, at: number, length: number): void => {
    if (this.#deliver(bytes, at, length)) {
      this.#framesOut++;
      this.#bytesOut += length;
    } else {
      this.refused++;
    }
  };
}

export class EthernetSwitch {
  readonly #options: SwitchOptions;
  readonly #macs: MacTable;
  readonly #ports: (SwitchPort | undefined)[] = [];
  readonly #waiting = new FrameRing(WAITING_FRAMES_MAX, WAITING_BYTES_MAX);
  #busy = false;

  constructor(options: SwitchOptions) {
    this.#options = options;
    this.#macs = new MacTable(options.macEntriesMax, options.ageing);
  }

  /** Plugs something in; undefined if all ports are taken. */
  addPort(options: PortOptions): SwitchPort | undefined {
    let index = this.#ports.indexOf(undefined);
    if (index < 0) index = this.#ports.length;
    if (index >= PORTS_MAX) return undefined;
    const port = new SwitchPort(index, options, this.#options, this.#forward);
    this.#ports[index] = port;
    return port;
  }

  /** Unplugs it for good; what was learned there is forgotten. */
  removePort(port: SwitchPort): void {
    if (this.#ports[port.index] !== port) return;
    this.setPortUp(port, false);
    this.#ports[port.index] = undefined;
  }

  setPortUp(port: SwitchPort, up: boolean): void {
    invariant(this.#ports[port.index] === port, `port ${port.name} is not of this switch`);
    port.setUp(up);
    if (!up) this.#macs.forget(port.index);
  }

  /** When a station was last heard at another port than before. */
  get lastMove(): Instant | undefined {
    return this.#macs.lastMove;
  }

  /** When a station that was not known was heard last. */
  get lastNew(): Instant | undefined {
    return this.#macs.lastNew;
  }

  /** What the table of stations holds and has seen. */
  get stations(): { readonly known: number; readonly moves: number; readonly evictions: number } {
    const { moves, evictions } = this.#macs;
    return { known: this.#macs.count(this.#options.scheduler.now()), moves, evictions };
  }

  /**
   * A station may answer from within the delivery of a frame. Its answer waits until that frame has been everywhere:
   * the memory of both may be one station's, and nobody hears the answer before the question.
   */
  readonly #forward = (from: SwitchPort, bytes: Uint8Array, at: number, length: number): void => {
    if (this.#busy) {
      if (!this.#waiting.push(bytes, at, length, from.index)) from.refused++;
      return;
    }
    this.#busy = true;
    this.#dispatch(from, bytes, at, length);
    while (this.#waiting.frames > 0) {
      const port = this.#ports[this.#waiting.tag];
      if (port !== undefined)
        this.#dispatch(port, this.#waiting.bytes, this.#waiting.start, this.#waiting.length);
      this.#waiting.drop();
    }
    this.#busy = false;
  };

  #dispatch(from: SwitchPort, bytes: Uint8Array, at: number, length: number): void {
    const now = this.#options.scheduler.now();
    this.#options.tap?.(from, bytes, at, length);
    this.#macs.learn(bytes, at + SOURCE, from.index, now);
    const group = isGroupMac(bytes, at);
    if (group && isReserved(bytes, at)) {
      from.filtered++;
      return;
    }
    const target = group ? PORT_UNKNOWN : this.#macs.lookup(bytes, at, now);
    if (target === from.index) {
      from.filtered++;
    } else if (target !== PORT_UNKNOWN) {
      this.#ports[target]?.send(bytes, at, length);
    } else {
      from.flooded++;
      for (const port of this.#ports) if (port !== undefined && port !== from) port.send(bytes, at, length);
    }
  }
}

function isReserved(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < MAC_BYTES - 1; i++) if (bytes[at + i] !== RESERVED_GROUP[i]) return false;
  return bytes[at + MAC_BYTES - 1]! < 16;
}
