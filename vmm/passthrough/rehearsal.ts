/**
 * Traffic through a NIC that nobody uses, before a guest comes. The device thread of a destination has never moved a
 * frame, and the engine has compiled nothing of what does; the guest's first packets would take ten times as long as
 * later ones, while the machine has its hands full. So a host like the real one is made on a scratch memory, a few
 * thousand frames are received and answered by it, its device is moved into itself, and it is forgotten. What was learned stays:
 * compiled code belongs to functions, not to objects.
 */
import { BAR_WINDOW_BASE } from '../../base/abi/platform.js';
import { compose } from '../../base/bits.js';
import type { Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { MmioHandler } from '../../base/mmio.js';
import { instant, PAGE_BYTES } from '../../base/units.js';
import { buildUdp, finishUdp } from '../../devices/ethernet/datagram.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { FrameStreamEncoder, FrameStreamParser } from '../../devices/ethernet/stream-framing.js';
import { rxRead, txData } from '../../devices/nic82599/descriptors.js';
import { OP_RESET } from '../../devices/nic82599/pf-driver/messages.js';
import { DESCTYPE_ADVANCED, vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { GuestRam } from '../ram/guest-ram.js';
import { allocateControl } from '../threads/control-block.js';
import { PassthroughHost } from './host.js';
import type { NicOptions } from './records.js';
import { VfDevice } from './vf-device.js';

/** Frames received and answered: so many that the engine compiles what runs, in some 50 ms. */
const FRAMES = 3000;
/** Frames between two doorbells. */
const BURST = 8;
const PAYLOAD_BYTES = 64;
/** The scratch memory's layout: rings, then a buffer for each of their descriptors. */
const RING_ENTRIES = 64;
const DESCRIPTOR_BYTES = 16;
const RX_RING = PAGE_BYTES;
const TX_RING = 2 * PAGE_BYTES;
/** The frame that is sent in answer to each. */
const ANSWER = 3 * PAGE_BYTES;
const BUFFERS = 4 * PAGE_BYTES;
const BUFFER_BYTES = 2048;
const MEMORY_PAGES = 8;
const TYPE_DATA = 3;

const PEER = { mac: Uint8Array.of(2, 0, 0, 0, 0, 1), ip: 0x0a00_0001, port: 40_000 };

/** Time that goes on whenever somebody looks, so that interrupt moderation holds nothing back, and no timer is needed. */
function hastyTime(): Scheduler {
  let now = 0;
  return {
    now: () => {
      now += LOOK_NS;
      return instant(now);
    },
    after: () => () => {},
    sleep: () => Promise.resolve(),
    yield: () => Promise.resolve(),
  };
}
const LOOK_NS = 1e6;

/** Harmless without a function. */
export function rehearse(options: NicOptions): void {
  const memory = new WebAssembly.Memory({ initial: MEMORY_PAGES, maximum: MEMORY_PAGES, shared: true });
  const ram = GuestRam.create(memory, memory.buffer.byteLength / PAGE_BYTES);
  const encoder = new FrameStreamEncoder(() => {});
  const scheduler = hastyTime();
  let answered = 0;
  const [mac] = options.macs;
  if (mac === undefined) return;
  const host: PassthroughHost = new PassthroughHost(
    {
      macs: [mac],
      ...(options.leaves === undefined ? {} : { leaves: options.leaves }),
      ...(options.stage === undefined ? {} : { stage: options.stage }),
    },
    {
      ram,
      control: allocateControl(1),
      vcpus: 1,
      scheduler,
      kick: () => {},
      interrupt: () => {},
      send: (bytes, at, length) => {
        answered++;
        encoder.add(bytes, at, length);
        return true;
      },
      wireReady: () => true,
      wake: () => {},
      event: () => {},
    },
  );
  host.network.setCable(true);
  const guest = { mac: Uint8Array.from(mac), ip: 0x0a00_0002, port: 7 };
  const driver = new RehearsalDriver(host, ram, datagram(guest, PEER));
  driver.open();
  const piece = arriving(datagram(PEER, guest));
  const parser = new FrameStreamParser(host.receive);
  host.iommu.track('dirty-bits');
  let sent = 0;
  for (; sent < FRAMES; sent += BURST) {
    parser.push(piece, piece.length);
    driver.answer(BURST);
    while (host.run());
    encoder.flush();
    encoder.written();
    host.iommu.readDirty();
  }
  const [fn] = host.functions;
  const received = fn!.vf.pool.registers.get(reg.GPRC);
  invariant(
    received === sent && answered === sent,
    `a rehearsal of ${sent} frames: ${received}, ${answered}`,
  );
  new VfDevice(host, fn!).rehearse();
}

function datagram(from: typeof PEER, to: typeof PEER): FrameBuffer {
  const frame = new FrameBuffer();
  buildUdp(frame, from, to, PAYLOAD_BYTES);
  finishUdp(frame, PAYLOAD_BYTES);
  return frame;
}

/** A burst of the frame as it comes from the cable. */
function arriving(frame: FrameBuffer): Uint8Array {
  let piece = new Uint8Array(0);
  const encoder = new FrameStreamEncoder((bytes) => {
    piece = bytes.slice();
  });
  for (let i = 0; i < BURST; i++) encoder.add(frame.bytes, 0, frame.length);
  encoder.flush();
  return piece;
}

/** The least that a driver does: reset by mailbox, rings, and an answer to each frame. */
class RehearsalDriver {
  readonly #window: MmioHandler;
  readonly #view: DataView;
  #received = 0;
  #sent = 0;
  readonly #answerBytes: number;

  constructor(host: PassthroughHost, ram: GuestRam, answer: FrameBuffer) {
    const window = host.devices
      .flatMap(({ regions }) => regions)
      .find(({ base }) => base === BAR_WINDOW_BASE);
    invariant(window !== undefined, 'a host without a BAR window');
    this.#window = window.handler;
    this.#view = new DataView(ram.u8.buffer);
    this.#answerBytes = answer.length;
    ram.u8.set(answer.bytes.subarray(0, answer.length), ANSWER);
  }

  open(): void {
    const { CTRL, MAILBOX, MBMEM } = reg;
    this.#write(CTRL, CTRL.fields.RST.mask);
    this.#read(MAILBOX);
    this.#write(MAILBOX, MAILBOX.fields.VFU.mask);
    this.#write(MBMEM, OP_RESET);
    this.#write(MAILBOX, MAILBOX.fields.REQ.mask);
    this.#read(MAILBOX);
    this.#write(MAILBOX, MAILBOX.fields.ACK.mask);
    this.#write(reg.TDBAL, TX_RING);
    this.#write(reg.TDLEN, RING_ENTRIES * DESCRIPTOR_BYTES);
    this.#write(reg.TXDCTL, reg.TXDCTL.fields.ENABLE.mask);
    this.#write(reg.RDBAL, RX_RING);
    this.#write(reg.RDLEN, RING_ENTRIES * DESCRIPTOR_BYTES);
    const { PACKET_KIB, DESCTYPE, DROP } = reg.SRRCTL.fields;
    this.#write(
      reg.SRRCTL,
      (BUFFER_BYTES / 1024) * 2 ** PACKET_KIB.shift + DESCTYPE_ADVANCED * 2 ** DESCTYPE.shift + DROP.mask,
    );
    this.#write(reg.RXDCTL, reg.RXDCTL.fields.ENABLE.mask);
    for (let i = 0; i < RING_ENTRIES; i++) this.#post(i);
    this.#write(reg.RDT, RING_ENTRIES - 1);
    // Both queues raise vector 0.
    const { RX0_VALID, TX0_VALID } = reg.IVAR.fields;
    this.#write(reg.IVAR, RX0_VALID.mask | TX0_VALID.mask);
    this.#write(reg.EIMS, 1);
  }

  /** Answers the next `count` frames, and gives their buffers to the device again. */
  answer(count: number): void {
    for (let i = 0; i < count; i++) {
      const slot = this.#sent % RING_ENTRIES;
      const words = compose(txData, DESCRIPTOR_BYTES / 4, {
        ADDRESS_LOW: ANSWER,
        LENGTH: this.#answerBytes,
        TYPE: TYPE_DATA,
        EXTENDED: 1,
        EOP: 1,
        REPORT_STATUS: 1,
        PAYLOAD: this.#answerBytes,
      });
      this.#put(TX_RING, slot, words);
      this.#sent++;
    }
    this.#write(reg.TDT, this.#sent % RING_ENTRIES);
    for (let i = 0; i < count; i++) this.#post(this.#received++ % RING_ENTRIES);
    this.#write(reg.RDT, (this.#received + RING_ENTRIES - 1) % RING_ENTRIES);
    this.#read(reg.EICR);
    this.#write(reg.EIMS, 1);
  }

  #buffer(slot: number): number {
    return BUFFERS + slot * BUFFER_BYTES;
  }

  #post(slot: number): void {
    this.#put(RX_RING, slot, compose(rxRead, DESCRIPTOR_BYTES / 4, { PACKET_LOW: this.#buffer(slot) }));
  }

  #put(ring: number, slot: number, words: readonly number[]): void {
    words.forEach((word, i) => {
      this.#view.setUint32(ring + slot * DESCRIPTOR_BYTES + 4 * i, word, true);
    });
  }

  /** Firmware put BAR 0 of the only function at the window's start. */
  #write(register: { readonly offset: number }, value: number): void {
    this.#window.write(register.offset, 4, value >>> 0);
  }

  #read(register: { readonly offset: number }): number {
    return this.#window.read(register.offset, 4);
  }
}
