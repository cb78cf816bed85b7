/** A virtio-net device below a root port, and the least that a driver does with it. */
import { enumerate } from '../../devices/pci/enumerate.js';
import { hostBridge } from '../../devices/pci/host-bridge.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import {
  commonConfig,
  DEVICE_AT,
  F_ACCESS_PLATFORM,
  F_VERSION_1,
  ISR_AT,
  NET_F_CSUM,
  NET_F_CTRL_VQ,
  NET_F_GUEST_ANNOUNCE,
  NET_F_MAC,
  NET_F_STANDBY,
  NET_F_STATUS,
  NET_HEADER_BYTES,
  NET_QUEUES,
  NOTIFY_AT,
  NOTIFY_MULTIPLIER,
} from '../../devices/virtio/registers.js';
import { BAR_RANGE, TestMemory } from './machine.js';

export const MAC = Uint8Array.of(0x52, 0x54, 0, 0, 0, 1);
export const SIZE = 8;
const QUEUE_BYTES = 0x1000;
const BUFFERS = 0x10_000;
const BUFFER_BYTES = 2048;
export const common = commonConfig.reg;
const bit = (feature: number, word: number): number => (feature >>> 5 === word ? 1 << (feature & 31) : 0);

export const ORDINARY = [
  F_VERSION_1,
  F_ACCESS_PLATFORM,
  NET_F_MAC,
  NET_F_STATUS,
  NET_F_CTRL_VQ,
  NET_F_GUEST_ANNOUNCE,
  NET_F_CSUM,
];

export class VirtioGuest {
  readonly memory: TestMemory;
  readonly complex: RootComplex;
  readonly port = new RootPort('virtio-port0', { number: 1, surprise: true });
  readonly sent: Uint8Array[] = [];
  wireReady = true;
  wakeups = 0;
  negotiated = 0;
  readonly net: VirtioNet;
  #structures = 0;
  #table = 0;
  readonly #available = new Array<number>(NET_QUEUES).fill(0);

  constructor({ standby = false, memory = new TestMemory(0x4_0000) } = {}) {
    this.memory = memory;
    this.complex = new RootComplex(memory, memory);
    this.net = new VirtioNet({
      name: 'virtio-net0',
      mac: MAC,
      standby,
      send: (bytes, at, length) => this.sent.push(bytes.slice(at, at + length)),
      ready: () => this.wireReady,
      wake: () => this.wakeups++,
      standbyNegotiated: () => this.negotiated++,
    });
    this.complex.addFunction(0, hostBridge());
    this.complex.addPort(8, this.port);
    this.port.populate(this.net.transport);
    const { bars } = enumerate(this.complex, BAR_RANGE).find(({ deviceId }) => deviceId === 0x1041)!;
    this.#table = bars.find(({ index }) => index === 1)!.base;
    this.#structures = bars.find(({ index }) => index === 4)!.base;
    this.net.setLink(true);
  }

  read(register: { readonly offset: number; readonly width: number }): number {
    return this.complex.memoryRead(this.#structures + register.offset, register.width / 8);
  }

  write(register: { readonly offset: number; readonly width: number }, value: number): void {
    this.complex.memoryWrite(this.#structures + register.offset, register.width / 8, value);
  }

  write64(register: { readonly offset: number }, low: number, high = 0): void {
    this.complex.memoryWrite(this.#structures + register.offset, 4, low);
    this.complex.memoryWrite(this.#structures + register.offset + 4, 4, high);
  }

  deviceConfig(offset: number, size: number): number {
    return this.complex.memoryRead(this.#structures + DEVICE_AT + offset, size);
  }

  isr(): number {
    return this.complex.memoryRead(this.#structures + ISR_AT, 1);
  }

  notify(queue: number): void {
    this.complex.memoryWrite(this.#structures + NOTIFY_AT + queue * NOTIFY_MULTIPLIER, 2, queue);
  }

  /** Turns MSI-X on; vector `n` has data 0x40 + n. */
  enableVectors(): void {
    for (let n = 0; n < 4; n++) {
      this.complex.memoryWrite(this.#table + n * 16, 4, 0xfee0_0000);
      this.complex.memoryWrite(this.#table + n * 16 + 8, 4, 0x40 + n);
      this.complex.memoryWrite(this.#table + n * 16 + 12, 4, 0);
    }
    const { bus } = this.complex.functions().at(-1)!;
    this.complex.configWrite((bus << 20) + 0x98 + 2, 2, 0x8000);
  }

  negotiate(features: readonly number[] = ORDINARY): number {
    this.write(common.STATUS, 0);
    this.write(common.STATUS, 3);
    for (const word of [0, 1]) {
      this.write(common.DRIVER_FEATURE_SELECT, word);
      this.write(
        common.DRIVER_FEATURE,
        features.reduce((bits, feature) => bits | bit(feature, word), 0) >>> 0,
      );
    }
    this.write(common.STATUS, 0x0b);
    return this.read(common.STATUS);
  }

  /** Everything that a driver does until it is ready; `at`: where queue n lies, if not where it should. */
  start(features: readonly number[] = ORDINARY, at: Readonly<Record<number, number>> = {}): void {
    this.enableVectors();
    this.negotiate(features);
    this.write(common.CONFIG_VECTOR, 0);
    for (let queue = 0; queue < NET_QUEUES; queue++) {
      const base = at[queue] ?? this.ring(queue);
      this.write(common.QUEUE_SELECT, queue);
      this.write(common.QUEUE_SIZE, SIZE);
      this.write(common.QUEUE_VECTOR, queue + 1);
      this.write64(common.QUEUE_DESCRIPTORS, base);
      this.write64(common.QUEUE_DRIVER, base + 0x400);
      this.write64(common.QUEUE_DEVICE, base + 0x800);
      this.write(common.QUEUE_ENABLE, 1);
    }
    this.#available.fill(0);
    this.write(common.STATUS, 0x0f);
    this.memory.messages = [];
  }

  ring(queue: number): number {
    return QUEUE_BYTES * (queue + 1);
  }

  buffer(index: number): number {
    return BUFFERS + index * BUFFER_BYTES;
  }

  descriptor(queue: number, index: number, address: number, length: number, flags: number, next = 0): void {
    const at = this.ring(queue) + index * 16;
    const { view } = this.memory;
    view.setUint32(at, address % 2 ** 32, true);
    view.setUint32(at + 4, Math.floor(address / 2 ** 32), true);
    view.setUint32(at + 8, length, true);
    view.setUint16(at + 12, flags, true);
    view.setUint16(at + 14, next, true);
  }

  /** Puts `head` into the available ring. */
  offer(queue: number, head: number): void {
    const at = this.ring(queue) + 0x400;
    const index = this.#available[queue]!++;
    this.memory.view.setUint16(at + 4 + (index % SIZE) * 2, head, true);
    this.memory.view.setUint16(at + 2, this.#available[queue]!, true);
  }

  /** A receive buffer of `length` bytes in descriptor `index`. */
  post(index: number, length = BUFFER_BYTES): void {
    this.descriptor(0, index, this.buffer(index), length, 2);
    this.offer(0, index);
  }

  /** Sends `frame` from descriptor `index`, with `header` in front. */
  send(frame: Uint8Array, index = 0, header = new Uint8Array(NET_HEADER_BYTES)): void {
    this.memory.bytes.set(header, this.buffer(index));
    this.memory.bytes.set(frame, this.buffer(index) + header.length);
    this.descriptor(1, index, this.buffer(index), header.length + frame.length, 0);
    this.offer(1, index);
    this.notify(1);
  }

  used(queue: number): { readonly index: number; readonly entries: readonly (readonly [number, number])[] } {
    const at = this.ring(queue) + 0x800;
    const { view } = this.memory;
    const index = view.getUint16(at + 2, true);
    const entries = Array.from(
      { length: Math.min(index, SIZE) },
      (_, i) => [view.getUint32(at + 4 + i * 8, true), view.getUint32(at + 8 + i * 8, true)] as const,
    );
    return { index, entries };
  }

  get vectors(): number[] {
    return this.memory.messages.map(({ data }) => data - 0x40);
  }

  get needsReset(): boolean {
    return (this.read(common.STATUS) & 0x40) !== 0;
  }
}

export { NET_F_STANDBY };
