/** What a hostile driver of a virtio-net device does: steps of eight bytes, most of them as a driver's that means it. */
import type { SeededRandom } from '../../base/random.js';
import {
  commonConfig,
  F_ACCESS_PLATFORM,
  F_VERSION_1,
  NET_F_CSUM,
  NET_F_CTRL_VQ,
  NET_F_GUEST_ANNOUNCE,
  NET_F_MAC,
  NET_HEADER_BYTES,
  NET_QUEUES,
  RECEIVE_QUEUE,
  TRANSMIT_QUEUE,
} from '../../devices/virtio/registers.js';
import { edgeWord } from './mutate.js';

/** What the first byte of a step says. The second is its size or a choice, then follow an offset (16 bits) and a value (32 bits). */
export const STEP = {
  memory: 0,
  write: 1,
  read: 2,
  writeVectors: 3,
  readVectors: 4,
  configWrite: 5,
  configRead: 6,
  doorbell: 7,
  frame: 8,
  run: 9,
  halt: 10,
  resume: 11,
  link: 12,
  announce: 13,
  move: 14,
  wire: 15,
} as const;
export const STEP_BYTES = 8;
/** Of the guest; what an offset reaches. */
export const MEMORY_BYTES = 0x1_0000;

/** Sizes of an access, as a step says them. */
const BYTE = 0;
const WORD = 1;
const DWORD = 2;
const { reg } = commonConfig;
const COMMAND_AT = 0x04;
const COMMAND_MEMORY_AND_MASTER = 6;
const MSIX_CONTROL_AT = 0x9a;
/** Where the parts of queue 0 lie, and from one queue to the next. */
const QUEUES_AT = 0x1000;
const QUEUE_BYTES = 0x2000;
const AVAILABLE_AT = 0x1000;
const USED_AT = 0x1400;
const BUFFERS_AT = 0x8000;
const BUFFER_BYTES = 0x800;
const BUFFERS = 16;
const NEXT = 1;
const WRITE = 2;
const bits = (...features: readonly number[]): number =>
  features.reduce((word, feature) => word | (1 << (feature & 31)), 0) >>> 0;

class Steps {
  readonly #random: SeededRandom;
  readonly #steps: (readonly [kind: number, detail: number, offset: number, value: number])[] = [];
  /** Chains that were made available so far, by queue. */
  readonly #offered = new Array<number>(NET_QUEUES).fill(0);
  #size = 8;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  bytes(): Uint8Array {
    const bytes = new Uint8Array(this.#steps.length * STEP_BYTES);
    const view = new DataView(bytes.buffer);
    this.#steps.forEach(([kind, detail, offset, value], i) => {
      const at = i * STEP_BYTES;
      view.setUint8(at, kind);
      view.setUint8(at + 1, detail);
      view.setUint16(at + 2, offset, true);
      view.setUint32(at + 4, value, true);
    });
    return bytes;
  }

  /** One, of which now and then the value is another. */
  add(kind: number, detail = 0, offset = 0, value = 0): void {
    this.#steps.push([kind, detail, offset, this.#random.chance(0.02) ? edgeWord(this.#random) : value]);
  }

  /** From reset until queues may be used. */
  begin(): void {
    this.#size = this.#random.pick([1, 2, 8, 8, 8, 16, 256]);
    this.add(STEP.configWrite, WORD, COMMAND_AT, COMMAND_MEMORY_AND_MASTER);
    if (this.#random.chance(0.7)) this.add(STEP.configWrite, WORD, MSIX_CONTROL_AT, 0x8000);
    this.add(STEP.link, 1);
    for (const status of [0, 3]) this.#register(reg.STATUS, status);
    const words = [
      bits(NET_F_CSUM, NET_F_MAC, NET_F_CTRL_VQ, NET_F_GUEST_ANNOUNCE),
      bits(F_VERSION_1, F_ACCESS_PLATFORM),
    ];
    words.forEach((word, select) => {
      this.#register(reg.DRIVER_FEATURE_SELECT, select);
      this.#register(reg.DRIVER_FEATURE, word);
    });
    this.#register(reg.STATUS, 0x0b);
    for (let queue = 0; queue < NET_QUEUES; queue++) {
      this.#register(reg.QUEUE_SELECT, queue);
      this.#register(reg.QUEUE_SIZE, this.#size);
      this.#register(reg.QUEUE_VECTOR, queue + 1);
      const at = QUEUES_AT + queue * QUEUE_BYTES;
      this.#register(reg.QUEUE_DESCRIPTORS, at);
      this.#register(reg.QUEUE_DRIVER, at + AVAILABLE_AT);
      this.#register(reg.QUEUE_DEVICE, at + USED_AT);
      this.#register(reg.QUEUE_ENABLE, 1);
    }
    this.#register(reg.STATUS, 0x0f);
  }

  /** Something that a driver or its host does at any time. */
  any(): void {
    const random = this.#random;
    const kind = random.below(20);
    if (kind < 8) this.#offer(random.below(NET_QUEUES));
    else if (kind < 11) this.add(STEP.run, 0, 0, random.u32());
    else if (kind < 13) this.add(STEP.frame, 0, 0, random.chance(0.8) ? random.below(1500) : random.u32());
    else if (kind === 13) this.add(STEP.doorbell, random.below(8));
    else if (kind === 14) this.#register(random.pick(Object.values(reg)), edgeWord(random));
    else if (kind === 15) this.add(STEP.memory, DWORD, random.below(MEMORY_BYTES), edgeWord(random));
    else if (kind === 16) this.add(random.pick([STEP.halt, STEP.resume, STEP.resume]));
    else if (kind === 17) this.add(random.pick([STEP.move, STEP.announce, STEP.link]), random.below(2));
    else if (kind === 18) this.add(STEP.wire, random.below(3));
    else this.add(random.below(7), random.below(256), random.below(MEMORY_BYTES), edgeWord(random));
  }

  #register({ offset, width }: { readonly offset: number; readonly width: number }, value: number): void {
    const detail = width === 8 ? BYTE : width === 16 ? WORD : DWORD;
    this.add(STEP.write, detail, offset, value);
  }

  /** A chain for a queue, as it is used there: made available, and the doorbell rung. */
  #offer(queue: number): void {
    const random = this.#random;
    const at = QUEUES_AT + queue * QUEUE_BYTES;
    const pieces = 1 + random.below(Math.min(3, this.#size));
    const head = random.below(this.#size);
    const answered = queue === TRANSMIT_QUEUE ? pieces : queue === RECEIVE_QUEUE ? 0 : pieces - 1;
    for (let piece = 0; piece < pieces; piece++) {
      const descriptor = at + ((head + piece) % this.#size) * 16;
      const buffer = BUFFERS_AT + random.below(BUFFERS) * BUFFER_BYTES;
      const wrong = random.chance(0.03);
      const flags = (piece + 1 < pieces ? NEXT : 0) | (piece >= answered ? WRITE : 0);
      this.add(STEP.memory, DWORD, descriptor, random.chance(0.02) ? random.below(MEMORY_BYTES) : buffer);
      this.add(STEP.memory, DWORD, descriptor + 4, random.chance(0.01) ? edgeWord(random) : 0);
      this.add(STEP.memory, DWORD, descriptor + 8, this.#length(queue));
      this.add(STEP.memory, WORD, descriptor + 12, wrong ? random.below(8) : flags);
      this.add(
        STEP.memory,
        WORD,
        descriptor + 14,
        wrong ? edgeWord(random) : (head + piece + 1) % this.#size,
      );
      if (queue === TRANSMIT_QUEUE && piece === 0) this.#header(buffer);
    }
    const slot = this.#offered[queue]! % this.#size;
    this.add(
      STEP.memory,
      WORD,
      at + AVAILABLE_AT + 4 + slot * 2,
      random.chance(0.02) ? edgeWord(random) : head,
    );
    this.#offered[queue]!++;
    const jump = random.chance(0.02) ? random.below(0x1_0000) : 0;
    this.add(STEP.memory, WORD, at + AVAILABLE_AT + 2, this.#offered[queue]! + jump);
    this.add(STEP.doorbell, queue);
    if (random.chance(0.5)) this.add(STEP.run, 0, 0, random.u32());
  }

  /** Bytes of a buffer. */
  #length(queue: number): number {
    const random = this.#random;
    if (random.chance(0.05)) return edgeWord(random);
    if (queue === RECEIVE_QUEUE) return BUFFER_BYTES;
    return queue === TRANSMIT_QUEUE ? NET_HEADER_BYTES + random.below(1600) : 1 + random.below(4);
  }

  /** In front of a frame: mostly none of what it can ask for. */
  #header(buffer: number): void {
    const random = this.#random;
    this.add(STEP.memory, DWORD, buffer, random.chance(0.4) ? 1 : random.below(2) * edgeWord(random));
    this.add(STEP.memory, DWORD, buffer + 4, random.below(64) << 16);
    this.add(STEP.memory, DWORD, buffer + 8, random.chance(0.1) ? edgeWord(random) : random.below(64));
  }
}

/** What one driver does from its first access to its last. */
export function stepsOf(random: SeededRandom): Uint8Array {
  const steps = new Steps(random);
  if (random.chance(0.9)) steps.begin();
  for (let left = 5 + random.below(40); left > 0; left--) steps.any();
  return steps.bytes();
}
