/** What a hostile client of a vfio-user device does: steps, most of them as one that means it. */
import type { SeededRandom } from '../../base/random.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import {
  FEATURE_DMA_LOGGING_REPORT,
  FEATURE_DMA_LOGGING_START,
  FEATURE_DMA_LOGGING_STOP,
  FEATURE_GET,
  FEATURE_MIG_DATA_SIZE,
  FEATURE_MIG_DEVICE_STATE,
  FEATURE_MIGRATION,
  FEATURE_SET,
} from '../../devices/vfio/device.js';
import {
  COMMAND,
  CONFIG_REGION,
  dmaMap,
  dmaUnmap,
  FLAG_NO_REPLY,
  header,
  IRQ_MSIX,
  irqSet,
  regionAccess,
  SET_BOOL,
  SET_EVENTFD,
  SET_NONE,
  SET_TRIGGER,
  TYPE_COMMAND,
  UNMAP_ALL,
  version,
} from '../../vmm/vfio-user/protocol.js';
import { edgeWord, joined, mutateBytes } from './mutate.js';

/** What the first byte of a step says. Its second is a detail, then come two bytes of length, and so many bytes. */
export const STEP = {
  /** Bytes are sent; the detail says which descriptors come along, two bits each for up to four. */
  send: 0,
  /** A frame of the detail's tens of bytes comes from the network. */
  frame: 1,
  /** So many milliseconds pass. */
  time: 2,
  /** The client leaves, and the next one comes. */
  leave: 3,
  /** How it answers the device's commands from now on: an `ANSWER`. */
  answer: 4,
  /** It reads nothing any more, and its socket holds the detail's tens of bytes, until it reads on (0). */
  deaf: 5,
} as const;
export const STEP_HEAD = 4;

/** Descriptors, by two bits: none, memory, an eventfd, something else. */
export const FD = { none: 0, memory: 1, eventfd: 2, other: 3 } as const;
export const ANSWER = { right: 0, error: 1, never: 2, short: 3, another: 4, late: 5, leaves: 6 } as const;

/** Of the file that is the guest's memory. */
export const MEMORY_BYTES = 0x2_0000;
const PAGE = 0x1000;
const RX_RING = 0x1000;
const TX_RING = 0x2000;
const ENTRIES = 8;

const VFU = reg.MAILBOX.fields.VFU.mask;
const REQ = reg.MAILBOX.fields.REQ.mask;
/** What a driver writes until the function receives and sends. */
const DRIVER: readonly (readonly [offset: number, value: number])[] = [
  [reg.CTRL.offset, reg.CTRL.fields.RST.mask],
  [reg.MAILBOX.offset, VFU],
  [reg.MBMEM.offset, 1],
  [reg.MAILBOX.offset, REQ],
  [reg.TDBAL.offset, TX_RING],
  [reg.TDLEN.offset, ENTRIES * 16],
  [reg.TXDCTL.offset, reg.TXDCTL.fields.ENABLE.mask],
  [reg.RDBAL.offset, RX_RING],
  [reg.RDLEN.offset, ENTRIES * 16],
  [reg.SRRCTL.offset, 0x0200_0402],
  [reg.RXDCTL.offset, reg.RXDCTL.fields.ENABLE.mask],
  [reg.RDT.offset, ENTRIES - 1],
  [reg.IVAR.offset, reg.IVAR.fields.RX0_VALID.mask | reg.IVAR.fields.TX0_VALID.mask],
  [reg.EIMS.offset, 7],
  [reg.TDT.offset, 2],
];

const words = (...values: readonly number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

class Steps {
  readonly #random: SeededRandom;
  /** A device's state, as another one saved it. */
  readonly #state: Uint8Array;
  readonly #steps: Uint8Array[] = [];
  #id = 0;

  constructor(random: SeededRandom, state: Uint8Array) {
    this.#random = random;
    this.#state = state;
  }

  bytes(): Uint8Array {
    return joined(this.#steps);
  }

  add(kind: number, detail = 0, bytes: Uint8Array = new Uint8Array(0)): void {
    this.#steps.push(Uint8Array.of(kind, detail, bytes.length & 0xff, bytes.length >> 8), bytes);
  }

  /** A command, in which now and then something is another. */
  command(command: number, payload: Uint8Array, fds: readonly number[] = []): void {
    const random = this.#random;
    const body = random.chance(0.03) ? mutateBytes(payload, random) : payload;
    const flags = random.chance(0.1) ? FLAG_NO_REPLY : TYPE_COMMAND;
    const head = header.encode({
      id: this.#id++ & 0xffff,
      command: random.chance(0.01) ? random.below(0x1_0000) : command,
      size: random.chance(0.003) ? edgeWord(random) : header.size + body.length,
      flags: random.chance(0.005) ? edgeWord(random) : flags,
    });
    const detail = fds.reduce((all, kind, i) => all | (kind << (2 * i)), 0);
    this.add(STEP.send, random.chance(0.02) ? random.below(256) : detail, joined([head, body]));
  }

  /** What comes first. */
  greet(): void {
    const random = this.#random;
    const capabilities = random.chance(0.9)
      ? '{"capabilities":{"max_msg_fds":8,"pgsizes":4096}}\0'
      : random.pick(['{', '[]\0', '{"capabilities":null}\0', '{"capabilities":{"pgsizes":1}}\0', '']);
    const minor = random.below(3);
    this.command(
      COMMAND.VERSION,
      joined([version.encode({ minor }), new TextEncoder().encode(capabilities)]),
    );
  }

  /** From the greeting until a driver may work. */
  begin(): void {
    const random = this.#random;
    this.greet();
    this.map(0, MEMORY_BYTES / 2, random.chance(0.7));
    if (random.chance(0.3)) this.map(MEMORY_BYTES / 2, PAGE * (1 + random.below(8)), random.chance(0.5));
    this.command(COMMAND.RESET, new Uint8Array(0));
    if (random.chance(0.8)) this.wire();
    this.write(CONFIG_REGION, 4, Uint8Array.of(6, 0));
    if (random.chance(0.8)) this.drive();
  }

  map(address: number, size: number, shared: boolean): void {
    const random = this.#random;
    const offset = random.chance(0.8) ? 0 : random.below(64) * PAGE;
    const flags = random.chance(0.9) ? 3 : random.below(4);
    const range = { argsz: dmaMap.size, flags, offset, address, size };
    this.command(COMMAND.DMA_MAP, dmaMap.encode(range), shared ? [FD.memory] : []);
  }

  wire(): void {
    const count = 1 + this.#random.below(3);
    const set = { argsz: irqSet.size, flags: SET_EVENTFD | SET_TRIGGER, index: IRQ_MSIX, start: 0, count };
    this.command(COMMAND.SET_IRQS, irqSet.encode(set), new Array<number>(count).fill(FD.eventfd));
  }

  write(region: number, offset: number, data: Uint8Array): void {
    const access = { offset, region, count: data.length };
    this.command(COMMAND.REGION_WRITE, joined([regionAccess.encode(access), data]));
  }

  drive(): void {
    for (const [offset, value] of DRIVER) {
      this.write(0, offset, words(this.#random.chance(0.02) ? edgeWord(this.#random) : value));
    }
  }

  feature(flags: number, data: Uint8Array, argsz = 8 + data.length): void {
    this.command(COMMAND.DEVICE_FEATURE, joined([words(argsz, flags), data]));
  }

  /** Migration states, what lies between them, and the log of what is written. */
  migrate(): void {
    const random = this.#random;
    const set = (state: number): void =>
      this.feature(FEATURE_SET | FEATURE_MIG_DEVICE_STATE, words(state, 0));
    switch (random.below(8)) {
      case 0:
        set(random.below(9));
        return;
      case 1: {
        set(4);
        const state = random.chance(0.3) ? mutateBytes(this.#state, random) : this.#state;
        const piece = random.pick([64, 512, 8192]);
        for (let at = 0; at < state.length; at += piece) {
          const part = state.subarray(at, at + piece);
          this.command(COMMAND.MIG_DATA_WRITE, joined([words(8 + part.length, part.length), part]));
        }
        set(random.pick([1, 2, 2]));
        return;
      }
      case 2: {
        set(random.pick([3, 6]));
        for (let reads = 1 + random.below(6); reads > 0; reads--) {
          const size = random.chance(0.9) ? random.pick([16, 512, 4096]) : edgeWord(random);
          this.command(COMMAND.MIG_DATA_READ, words((8 + size) >>> 0, size));
        }
        set(random.pick([2, 3]));
        return;
      }
      case 3:
        this.feature(
          FEATURE_GET | random.pick([FEATURE_MIGRATION, FEATURE_MIG_DEVICE_STATE]),
          new Uint8Array(0),
          16,
        );
        return;
      case 4: {
        // A range, and none would be of everything.
        const pageSize = random.chance(0.9) ? PAGE : edgeWord(random);
        const length = random.chance(0.9) ? MEMORY_BYTES : edgeWord(random);
        this.feature(FEATURE_SET | FEATURE_DMA_LOGGING_START, words(pageSize, 0, 1, 0, 0, 0, length, 0));
        return;
      }
      case 5: {
        const length = random.chance(0.8) ? MEMORY_BYTES : edgeWord(random);
        const request = words(0, random.chance(0.05) ? edgeWord(random) : 0, length, 0, PAGE, 0);
        this.feature(
          FEATURE_GET | FEATURE_DMA_LOGGING_REPORT,
          request,
          random.chance(0.8) ? 4096 : edgeWord(random),
        );
        return;
      }
      case 6:
        this.feature(FEATURE_SET | FEATURE_DMA_LOGGING_STOP, new Uint8Array(0));
        return;
      default:
        this.feature(
          random.chance(0.5) ? FEATURE_GET | FEATURE_MIG_DATA_SIZE : edgeWord(random),
          words(edgeWord(random), 0),
        );
    }
  }

  /** Something that a client does at any time. */
  any(): void {
    const random = this.#random;
    switch (random.below(16)) {
      case 0:
      case 1:
        this.add(STEP.frame, random.below(150));
        return;
      case 2:
        this.write(0, random.pick([reg.TDT, reg.RDT]).offset, words(random.below(ENTRIES)));
        return;
      case 3:
        this.write(
          random.below(9),
          random.below(0x4000),
          new Uint8Array(random.pick([1, 2, 4, 4, 8, 100])).fill(0xa5),
        );
        return;
      case 4: {
        const count = random.chance(0.9) ? random.pick([1, 2, 4, 4, 64, 4096]) : edgeWord(random);
        const access = { offset: random.below(0x4000) & ~3, region: random.below(9), count };
        this.command(COMMAND.REGION_READ, regionAccess.encode(access));
        return;
      }
      case 5:
        this.map(
          random.below(64) * PAGE,
          (random.chance(0.9) ? 1 + random.below(8) : 0) * PAGE,
          random.chance(0.5),
        );
        return;
      case 6: {
        const all = random.chance(0.3);
        const range = all
          ? { flags: UNMAP_ALL }
          : { address: random.below(64) * PAGE, size: MEMORY_BYTES / 2 };
        this.command(COMMAND.DMA_UNMAP, dmaUnmap.encode({ argsz: dmaUnmap.size, ...range }));
        return;
      }
      case 7: {
        const flags = SET_TRIGGER | random.pick([SET_NONE, SET_BOOL, SET_EVENTFD]);
        const set = {
          argsz: irqSet.size,
          flags,
          index: random.below(5),
          start: random.below(4),
          count: random.below(4),
        };
        this.command(COMMAND.SET_IRQS, joined([irqSet.encode(set), Uint8Array.of(1, 0, 1)]));
        return;
      }
      case 8: {
        const count = random.below(4);
        const one = joined([regionAccess.encode({ offset: reg.EIMS.offset, count: 4 }), words(7, 0)]);
        this.command(
          COMMAND.REGION_WRITE_MULTI,
          joined([words(count, 0), ...new Array<Uint8Array>(count).fill(one)]),
        );
        return;
      }
      case 9:
        this.command(
          random.pick(Object.values(COMMAND)),
          words(32, random.below(9), random.below(9), 0, 0, 0, 0, 0),
        );
        return;
      case 10:
        this.add(STEP.time, random.below(200));
        return;
      case 11:
        if (random.chance(0.5)) this.add(STEP.answer, random.below(Object.keys(ANSWER).length));
        else this.add(STEP.deaf, random.pick([0, 0, 1, 10]));
        return;
      case 12:
        if (random.chance(0.3)) this.add(STEP.leave);
        else this.greet();
        return;
      default:
        this.migrate();
    }
  }
}

/** What one client, or several one after the other, does. `state`: of a device of that kind. */
export function stepsOf(random: SeededRandom, state: Uint8Array): Uint8Array {
  const steps = new Steps(random, state);
  if (random.chance(0.9)) steps.begin();
  for (let left = 2 + random.below(24); left > 0; left--) steps.any();
  return steps.bytes();
}
