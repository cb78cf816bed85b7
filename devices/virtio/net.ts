/**
 * virtio-net: one pair of queues and a control queue. Virtio 1.2, 5.1
 *
 * It does nothing by itself: doorbells and frames come in by calls, and `run` works off what there is, a bounded amount at
 * a time. Whoever owns the thread calls it while it says that there is more to do. While the machine stands still it
 * touches no memory; frames that arrive then are lost.
 */
import type { DmaPresence } from '../../base/dma.js';
import { RegisterFile, registerTable } from '../../base/registers.js';
import { KIB } from '../../base/units.js';
import { storeChecksum, sumBytes } from '../ethernet/checksum.js';
import { ETHER_HEADER_BYTES, FrameBuffer, PROTOCOL_UDP } from '../ethernet/frame.js';
import { FrameRing } from '../ethernet/frame-ring.js';
import type { FrameSink } from '../ethernet/frame-sink.js';
import { registerSection } from '../pci/state.js';
import {
  CONTROL_QUEUE,
  CTRL_ANNOUNCE,
  CTRL_ANNOUNCE_ACK,
  CTRL_ERR,
  CTRL_OK,
  F_ACCESS_PLATFORM,
  HEADER_BUFFERS,
  HEADER_CSUM_OFFSET,
  HEADER_CSUM_START,
  HEADER_NEEDS_CSUM,
  NET_F_CSUM,
  NET_F_CTRL_VQ,
  NET_F_GUEST_ANNOUNCE,
  NET_F_MAC,
  NET_F_MTU,
  NET_F_STANDBY,
  NET_F_STATUS,
  NET_HEADER_BYTES,
  NET_QUEUES,
  netConfig,
  RECEIVE_QUEUE,
  TRANSMIT_QUEUE,
} from './registers.js';
import type { SplitQueue } from './split-queue.js';
import { VIRTIO_VERSION, VirtioTransport } from './transport.js';

export const VIRTIO_NET_VERSION = VIRTIO_VERSION;

export interface VirtioNetOptions {
  readonly name: string;
  /** Six bytes. */
  readonly mac: Uint8Array;
  /** Offers VIRTIO_NET_F_STANDBY: the guest is to use it beside another device with the same address. */
  readonly standby: boolean;
  /** Where frames leave. Their memory is the device's own, valid until this returns. */
  readonly send: FrameSink;
  /** Whether more may leave now. */
  ready(): boolean;
  /** `run` has something to do again. */
  wake(): void;
  /** The driver has accepted STANDBY. */
  standbyNegotiated?(): void;
}

/** Frames that wait for memory, as in a host's queue in front of the device. */
const WAITING_FRAMES_MAX = 1024;
const WAITING_BYTES_MAX = 512 * KIB;

/** Frames that did not reach the guest or the cable, by reason. */
export interface VirtioNetDrops {
  /** The machine or the driver was not ready for frames. */
  stopped: number;
  /** There was no buffer. */
  noDescriptor: number;
  /** Frames of the guest that no network can carry. */
  malformed: number;
}

const MTU = 1500;
/** With room for a VLAN tag, as drivers have it. */
const FRAME_BYTES_MAX = MTU + ETHER_HEADER_BYTES + 4;
/** As much of a chain as is ever read. */
const CHAIN_BYTES_MAX = NET_HEADER_BYTES + FRAME_BYTES_MAX;
const COMMAND_BYTES = 2;

/** Not the driver's to see, and state: how much went through. */
const counters = /* @__PURE__ */ registerTable(
  'virtio-net-counters',
  { bytes: 16 },
  {
    RECEIVED: { offset: 0, width: 64, access: 'ro' },
    SENT: { offset: 8, width: 64, access: 'ro' },
  },
);

export class VirtioNet {
  readonly transport: VirtioTransport;
  readonly mac: Uint8Array;
  readonly drops: VirtioNetDrops = { stopped: 0, noDescriptor: 0, malformed: 0 };
  readonly #options: VirtioNetOptions;
  readonly #config: RegisterFile<unknown>;
  readonly #counters = new RegisterFile(counters);
  readonly #frame = new FrameBuffer(FRAME_BYTES_MAX + 2);
  readonly #header = new Uint8Array(NET_HEADER_BYTES);
  readonly #receiveHeader = new Uint8Array(NET_HEADER_BYTES);
  /** Frames that wait for memory. */
  readonly #waiting = new FrameRing(WAITING_FRAMES_MAX, WAITING_BYTES_MAX);
  /** Queues whose doorbell rang. */
  #rung = 0;
  #halted = false;

  constructor(options: VirtioNetOptions) {
    this.#options = options;
    this.mac = options.mac;
    this.#receiveHeader[HEADER_BUFFERS] = 1;
    this.#config = new RegisterFile(netConfig);
    options.mac.forEach((byte, i) => {
      this.#config.set(netConfig.reg.MAC, byte, i);
    });
    this.#config.set(netConfig.reg.MTU, MTU);
    const features = [NET_F_CSUM, NET_F_MTU, NET_F_MAC, NET_F_STATUS, NET_F_CTRL_VQ, NET_F_GUEST_ANNOUNCE];
    this.transport = new VirtioTransport(options.name, {
      features: [...features, F_ACCESS_PLATFORM, ...(options.standby ? [NET_F_STANDBY] : [])],
      queues: NET_QUEUES,
      config: this.#config,
      sections: [registerSection('counters', this.#counters)],
      notified: (queue) => this.#ring(queue),
      negotiated: () => {
        if (this.transport.has(NET_F_STANDBY)) options.standbyNegotiated?.();
      },
      started: () => this.#ringAll(),
      reset: () => {
        this.#rung = 0;
        this.#forgetWaiting();
        this.#config.setField(netConfig.reg.STATUS, netConfig.reg.STATUS.fields.ANNOUNCE, 0);
      },
      // It comes with a guest that does not run yet.
      restored: () => {
        this.#halted = true;
        this.#ringAll();
      },
      resumed: () => this.#ringAll(),
    });
  }

  /** Frames so far, both ways. */
  get counts(): { readonly received: number; readonly sent: number } {
    const { RECEIVED, SENT } = counters.reg;
    return { received: this.#counters.get64(RECEIVED), sent: this.#counters.get64(SENT) };
  }

  /** The driver has agreed to use it beside another device. */
  get isStandby(): boolean {
    return this.transport.isLive && this.transport.has(NET_F_STANDBY);
  }

  get link(): boolean {
    return this.#config.getField(netConfig.reg.STATUS, netConfig.reg.STATUS.fields.LINK_UP) === 1;
  }

  setLink(up: boolean): void {
    if (up === this.link) return;
    this.#config.setField(netConfig.reg.STATUS, netConfig.reg.STATUS.fields.LINK_UP, up ? 1 : 0);
    this.transport.configChanged();
  }

  /**
   * Asks the driver to tell the network where its station is; false if it can't: a standby has no addresses that it could
   * announce. 5.1.6.5.4
   */
  askToAnnounce(): boolean {
    const { transport } = this;
    if (!transport.isLive || !transport.has(NET_F_GUEST_ANNOUNCE) || transport.has(NET_F_STANDBY))
      return false;
    this.#config.setField(netConfig.reg.STATUS, netConfig.reg.STATUS.fields.ANNOUNCE, 1);
    this.transport.configChanged();
    return true;
  }

  /** The machine stands still: what was done is shown to the driver, and no memory is touched any more. */
  halt(): void {
    this.#forgetWaiting();
    for (let queue = 0; queue < NET_QUEUES; queue++) this.transport.publish(queue);
    this.#halted = true;
  }

  resume(): void {
    this.#halted = false;
    this.#ringAll();
  }

  /** Memory that may not be there yet: queues ask before they work. Undefined: all of it is there. */
  set presence(presence: DmaPresence | undefined) {
    this.transport.waits.presence = presence;
    if (presence === undefined) this.#options.wake();
  }

  /** Some of what a queue asked for in vain is there: `length` bytes at `address`, or is known to be blocked. */
  memoryArrived(address: number, length: number): void {
    if (this.transport.memoryArrived(address, length)) this.#options.wake();
  }

  /** A frame for the guest; its memory is the caller's again when this returns. */
  readonly receive: FrameSink = (bytes, at, length) => {
    // Nothing overtakes what waits.
    if (this.#waiting.frames === 0 && this.#deliver(bytes, at, length)) return;
    if (!this.#waiting.push(bytes, at, length, 0)) this.drops.noDescriptor++;
  };

  /** False if the frame has to wait for memory. */
  #deliver(bytes: Uint8Array, at: number, length: number): boolean {
    const queue = this.#halted || !this.link ? undefined : this.transport.queue(RECEIVE_QUEUE);
    if (queue === undefined) {
      this.drops.stopped++;
      return true;
    }
    const total = NET_HEADER_BYTES + length;
    const taken = queue.take(total);
    if (taken === 'waits') return false;
    if (taken === 'nothing') {
      this.drops.noDescriptor++;
      return true;
    }
    // Without merged buffers each must hold a whole frame. 5.1.6.3.1
    if (taken === 'broken' || queue.readableBytes > 0 || queue.writableBytes < total) {
      this.transport.breaks();
      return true;
    }
    queue.write(0, this.#receiveHeader, 0, NET_HEADER_BYTES);
    queue.write(NET_HEADER_BYTES, bytes, at, length);
    queue.complete(total);
    this.#count(counters.reg.RECEIVED);
    this.#options.wake();
    return true;
  }

  /** Frames whose memory has come, in their order. */
  #deliverWaiting(): void {
    const waiting = this.#waiting;
    while (waiting.frames > 0 && this.#deliver(waiting.bytes, waiting.start, waiting.length)) waiting.drop();
  }

  /** What waits is lost, as what comes from now on. */
  #forgetWaiting(): void {
    this.drops.stopped += this.#waiting.frames;
    this.#waiting.clear();
  }

  /** Works off what the driver has made available, at most `budget` frames; true if there is more to do now. */
  run(budget: number): boolean {
    if (this.#halted) return false;
    this.#deliverWaiting();
    this.transport.publish(RECEIVE_QUEUE);
    let more = false;
    if (this.#takeRing(CONTROL_QUEUE)) this.#serve(CONTROL_QUEUE, budget, (queue) => this.#control(queue));
    if ((this.#rung & (1 << TRANSMIT_QUEUE)) !== 0 && this.#options.ready()) {
      this.#takeRing(TRANSMIT_QUEUE);
      more = this.#serve(TRANSMIT_QUEUE, budget, (queue) => this.#transmit(queue));
      if (more) this.#rung |= 1 << TRANSMIT_QUEUE;
    }
    return more && this.#options.ready();
  }

  /** Serves chains of a queue until there is none, the budget is used up (true then), or the cable takes nothing. */
  #serve(number: number, budget: number, chain: (queue: SplitQueue) => boolean): boolean {
    const queue = this.transport.queue(number);
    if (queue === undefined) return false;
    let left = budget;
    let more = true;
    while (more && left-- > 0 && (number !== TRANSMIT_QUEUE || this.#options.ready())) {
      const taken = queue.take(CHAIN_BYTES_MAX);
      if (taken === 'waits') this.#rung |= 1 << number;
      if (taken === 'nothing' || taken === 'waits') more = false;
      else if (taken === 'broken' || !chain(queue)) {
        this.transport.breaks();
        more = false;
      }
    }
    this.transport.publish(number);
    return more;
  }

  /** Sends what a chain holds; false if it is none that a driver may make. 5.1.6.2 */
  #transmit(queue: SplitQueue): boolean {
    const length = queue.readableBytes - NET_HEADER_BYTES;
    if (length < 0 || queue.writableBytes > 0) return false;
    if (length < ETHER_HEADER_BYTES || length > FRAME_BYTES_MAX) {
      this.drops.malformed++;
    } else {
      const frame = this.#frame;
      frame.length = length;
      if (!queue.read(0, this.#header, 0, NET_HEADER_BYTES)) return false;
      if (!queue.read(NET_HEADER_BYTES, frame.bytes, 0, length)) return false;
      if (this.#fillChecksum()) {
        frame.pad();
        this.#options.send(frame.bytes, 0, frame.length);
        this.#count(counters.reg.SENT);
      } else {
        this.drops.malformed++;
      }
    }
    queue.complete(0);
    return true;
  }

  /** Does what the header asks for; false for what can't be done. */
  #fillChecksum(): boolean {
    const header = this.#header;
    if (header[1] !== 0) return false;
    if ((header[0]! & HEADER_NEEDS_CSUM) === 0) return true;
    const frame = this.#frame;
    const start = header[HEADER_CSUM_START]! | (header[HEADER_CSUM_START + 1]! << 8);
    const at = start + (header[HEADER_CSUM_OFFSET]! | (header[HEADER_CSUM_OFFSET + 1]! << 8));
    if (!this.transport.has(NET_F_CSUM) || at + 2 > frame.length) return false;
    // All zeros as a result would mean none: as Linux does it, whatever the protocol.
    storeChecksum(frame, at, sumBytes(frame, start, frame.length - start), PROTOCOL_UDP);
    return true;
  }

  /** Carries out a command and answers it; false for a chain that holds none. 5.1.6.5 */
  #control(queue: SplitQueue): boolean {
    if (queue.readableBytes < COMMAND_BYTES || queue.writableBytes < 1) return false;
    const command = this.#header;
    if (!queue.read(0, command, 0, COMMAND_BYTES)) return false;
    const acknowledged = command[0] === CTRL_ANNOUNCE && command[1] === CTRL_ANNOUNCE_ACK;
    if (acknowledged) this.#config.setField(netConfig.reg.STATUS, netConfig.reg.STATUS.fields.ANNOUNCE, 0);
    command[0] = acknowledged ? CTRL_OK : CTRL_ERR;
    queue.write(0, command, 0, 1);
    queue.complete(1);
    return true;
  }

  #ring(queue: number): void {
    // A doorbell for receive buffers says nothing: they are looked for when a frame comes.
    if (queue === RECEIVE_QUEUE) return;
    this.#rung |= 1 << queue;
    if (!this.#halted) this.#options.wake();
  }

  /** Doorbells may have rung while nobody listened. */
  #ringAll(): void {
    this.#ring(TRANSMIT_QUEUE);
    this.#ring(CONTROL_QUEUE);
  }

  #takeRing(queue: number): boolean {
    const rang = (this.#rung & (1 << queue)) !== 0;
    this.#rung &= ~(1 << queue);
    return rang;
  }

  #count(register: typeof counters.reg.RECEIVED): void {
    const { words } = this.#counters;
    if (++words[register.word]! === 2 ** 32) words[register.word + 1]!++;
  }
}
