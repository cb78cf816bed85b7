/** A guest's VF driver for tests: the register accesses of ixgbevf, with rings in test memory. */

import { compose } from '../../base/bits.js';
import { rxRead, rxWriteBack, txContext, txData } from '../../devices/nic82599/descriptors.js';
import { vfLayout } from '../../devices/nic82599/functions.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import type { TestMachine } from './machine.js';

export const RX_COUNT = 64;
export const TX_COUNT = 64;
const BUFFER_BYTES = 2048;

export class GuestVf {
  readonly machine: TestMachine;
  readonly vf: VirtualFunction;
  readonly base: number;
  private rxNext = 0;
  private rxTail = 0;
  private txNext = 0;

  /** `base` is where its memory starts; it takes 1 MiB. */
  constructor(machine: TestMachine, vf: VirtualFunction, base: number) {
    this.machine = machine;
    this.vf = vf;
    this.base = base;
  }

  /** The same driver, in the middle of its work, on the function and the machine that its guest was moved to. */
  movedTo(machine: TestMachine, vf: VirtualFunction): GuestVf {
    const moved = new GuestVf(machine, vf, this.base);
    moved.rxNext = this.rxNext;
    moved.rxTail = this.rxTail;
    moved.txNext = this.txNext;
    return moved;
  }

  get rxRing(): number {
    return this.base;
  }

  get txRing(): number {
    return this.base + 0x1_0000;
  }

  rxBuffer(i: number): number {
    return this.base + 0x2_0000 + i * BUFFER_BYTES;
  }

  txBuffer(i: number): number {
    return this.base + 0x8_0000 + i * BUFFER_BYTES;
  }

  read(register: { readonly offset: number; readonly stride: number }, index = 0): number {
    return this.vf.fn.behaviour.readBar(0, register.offset + index * register.stride, 4);
  }

  write(register: { readonly offset: number; readonly stride: number }, value: number, index = 0): void {
    this.vf.fn.behaviour.writeBar(0, register.offset + index * register.stride, 4, value >>> 0);
  }

  /** Bus mastering, and MSI-X with vector n sending data 0x50 + n. */
  enableDevice(): void {
    const { fn } = this.vf;
    fn.configWrite(vfLayout.header.COMMAND.offset, 2, vfLayout.header.COMMAND.fields.MASTER.mask);
    for (let vector = 0; vector < 3; vector++) {
      fn.behaviour.writeBar(3, vector * 16, 4, 0xfee0_1000);
      fn.behaviour.writeBar(3, vector * 16 + 8, 4, 0x50 + vector);
      fn.behaviour.writeBar(3, vector * 16 + 12, 4, 0);
    }
    fn.configWrite(vfLayout.cap.msix.CONTROL.offset, 2, vfLayout.cap.msix.CONTROL.fields.ENABLE.mask);
  }

  /** Sends a request by the older handshake and returns the answer. */
  request(...words: number[]): number[] {
    const { VFU, REQ, ACK, PFSTS } = reg.MAILBOX.fields;
    this.write(reg.MAILBOX, VFU.mask);
    words.forEach((word, i) => {
      this.write(reg.MBMEM, word, i);
    });
    this.write(reg.MAILBOX, REQ.mask);
    if (PFSTS.get(this.read(reg.MAILBOX)) === 0) return [];
    this.write(reg.MAILBOX, VFU.mask);
    const answer = Array.from({ length: 16 }, (_, i) => this.read(reg.MBMEM, i));
    this.write(reg.MAILBOX, ACK.mask);
    return answer;
  }

  /** Reset, RESET message, API 1.4. */
  negotiate(version = 5): void {
    this.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    this.read(reg.MAILBOX);
    this.request(1);
    this.request(8, version);
  }

  /** Rings, vectors (0 queue, 1 mailbox), receive buffers. */
  open(): void {
    const { machine } = this;
    this.write(reg.TDBAL, this.txRing);
    this.write(reg.TDBAH, 0);
    this.write(reg.TDLEN, TX_COUNT * 16);
    this.write(reg.TDH, 0);
    this.write(reg.TDT, 0);
    this.write(reg.TXDCTL, reg.TXDCTL.fields.ENABLE.mask);
    this.write(reg.RDBAL, this.rxRing);
    this.write(reg.RDBAH, 0);
    this.write(reg.RDLEN, RX_COUNT * 16);
    this.write(reg.RDH, 0);
    this.write(reg.RDT, 0);
    this.write(reg.SRRCTL, 2 | (1 << 25) | (1 << 28));
    this.write(reg.RXDCTL, reg.RXDCTL.fields.ENABLE.mask | reg.RXDCTL.fields.STRIP_VLAN.mask);
    this.rxNext = 0;
    this.txNext = 0;
    for (let i = 0; i < RX_COUNT; i++) this.postBuffer(i);
    this.rxTail = RX_COUNT - 1;
    this.write(reg.RDT, this.rxTail);
    this.write(reg.IVAR, 0x80 | (0x80 << 8));
    this.write(reg.IVAR_MISC, 0x81);
    this.read(reg.EICR);
    this.write(reg.EIAM, 3);
    this.write(reg.EIAC, 3);
    this.write(reg.EIMS, 3);
    machine.memory.messages = [];
  }

  private postBuffer(i: number): void {
    const { view } = this.machine.memory;
    view.setUint32(this.rxRing + i * 16, this.rxBuffer(i), true);
    for (let word = 1; word < 4; word++) view.setUint32(this.rxRing + i * 16 + word * 4, 0, true);
  }

  /** The next completed receive descriptor as four dwords, or undefined. */
  peek(): Uint32Array | undefined {
    const words = this.descriptor(this.rxRing, this.rxNext);
    return rxWriteBack.LENGTH.read(words, 0) === 0 ? undefined : words;
  }

  /** Takes the next received frame and posts its buffer again. */
  receive(): { data: Uint8Array; descriptor: Uint32Array } | undefined {
    const descriptor = this.peek();
    if (descriptor === undefined) return undefined;
    const length = rxWriteBack.LENGTH.read(descriptor, 0);
    const at = this.rxBuffer(this.rxNext);
    const data = this.machine.memory.bytes.slice(at, at + length);
    this.postBuffer(this.rxNext);
    this.rxNext = (this.rxNext + 1) % RX_COUNT;
    this.rxTail = (this.rxTail + 1) % RX_COUNT;
    this.write(reg.RDT, this.rxTail);
    return { data, descriptor };
  }

  descriptor(ring: number, i: number): Uint32Array {
    const { view } = this.machine.memory;
    return Uint32Array.from({ length: 4 }, (_, word) => view.getUint32(ring + i * 16 + word * 4, true));
  }

  private put(words: readonly number[]): number {
    const slot = this.txNext;
    words.forEach((word, i) => {
      this.machine.memory.view.setUint32(this.txRing + slot * 16 + i * 4, word, true);
    });
    this.txNext = (slot + 1) % TX_COUNT;
    return slot;
  }

  putContext(values: Partial<Record<keyof typeof txContext, number>>): number {
    const words = compose(txContext, 4, values);
    words[2]! |= (2 << 20) | (1 << 29);
    return this.put(words);
  }

  /** Queues one data descriptor over `data`; flags by field name. */
  putData(data: Uint8Array, flags: Partial<Record<keyof typeof txData, number>> = {}): number {
    const at = this.txBuffer(this.txNext);
    this.machine.memory.bytes.set(data, at);
    return this.put(
      compose(txData, 4, {
        ADDRESS_LOW: at,
        LENGTH: data.length,
        TYPE: 3,
        EXTENDED: 1,
        EOP: 1,
        REPORT_STATUS: 1,
        PAYLOAD: data.length,
        ...flags,
      }),
    );
  }

  ring(): void {
    this.write(reg.TDT, this.txNext);
  }

  send(data: Uint8Array, flags: Partial<Record<keyof typeof txData, number>> = {}): number {
    const slot = this.putData(data, flags);
    this.ring();
    this.machine.settle();
    return slot;
  }

  isDone(slot: number): boolean {
    return txData.DONE.read(this.descriptor(this.txRing, slot), 0) === 1;
  }

  /** All of it: what ixgbevf does from probe to open. */
  start(): this {
    this.enableDevice();
    this.negotiate();
    this.open();
    return this;
  }
}

export { rxRead, rxWriteBack, txContext, txData };
