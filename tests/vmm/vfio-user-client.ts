/**
 * A vfio-user client for tests, over the same sockets with descriptors: messages as they are, memory of a guest in a file, eventfds,
 * and the least that a driver of the function does.
 */
import { closeSync, ftruncateSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { onTestFinished } from 'vitest';
import { compose } from '../../base/bits.js';
import { rxRead, txData } from '../../devices/nic82599/descriptors.js';
import { OP_RESET } from '../../devices/nic82599/pf-driver/messages.js';
import { DESCTYPE_ADVANCED, vfRegisters as reg } from '../../devices/nic82599/registers.js';
import {
  COMMAND,
  CONFIG_REGION,
  dmaAccess,
  dmaMap,
  FLAG_ERROR,
  FLAG_NO_REPLY,
  header,
  irqSet,
  regionAccess,
  SET_EVENTFD,
  SET_TRIGGER,
  TYPE_COMMAND,
  TYPE_MASK,
  TYPE_REPLY,
  version,
} from '../../vmm/vfio-user/protocol.js';
import { POLLIN, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { within } from '../waiting.js';

export interface Reply {
  readonly errno: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

const nameOf = (command: number): string =>
  Object.entries(COMMAND).find(([, number]) => number === command)?.[0] ?? `command ${command}`;

const MEMORY_BYTES = 0x10_0000;
const BUFFER_BYTES = 0x20_0000;
const joined = (...parts: readonly Uint8Array[]): Uint8Array => Uint8Array.from(Buffer.concat(parts));

/** Guest memory: a file that is named nowhere. */
export class GuestFile {
  readonly fd: number;

  constructor(path: string) {
    this.fd = openSync(path, 'wx+');
    rmSync(path);
    ftruncateSync(this.fd, MEMORY_BYTES);
  }

  get bytes(): number {
    return MEMORY_BYTES;
  }

  read(address: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    readSync(this.fd, bytes, 0, length, address);
    return bytes;
  }

  write(address: number, bytes: Uint8Array): void {
    writeSync(this.fd, bytes, 0, bytes.length, address);
  }

  close(): void {
    closeSync(this.fd);
  }
}

export class VfioUserClient {
  /** What is sent to it as commands is answered from here; without it they stay unanswered. */
  memory: GuestFile | undefined;
  /** Answers wait for `answer`; what they are of was not carried out before. */
  late = false;
  readonly #late: (() => void)[] = [];
  /** Commands that the device sent. */
  readonly asked: number[] = [];
  readonly #sockets: UnixSockets;
  readonly #fd: number;
  readonly #bytes = new Uint8Array(new ArrayBuffer(BUFFER_BYTES));
  readonly #waiting = new Map<number, { answer(reply: Reply): void; lose(error: Error): void }>();
  #have = 0;
  #id = 0;
  #ended = false;
  #gone: () => void = () => {};
  /** The device has ended the connection, or this side has. */
  readonly gone = new Promise<void>((resolve) => {
    this.#gone = resolve;
  });

  /** It leaves when the test is over that it is of, if it has not; `staysOn`: it is of all tests of a file. */
  constructor(sockets: UnixSockets, path: string, { staysOn = false } = {}) {
    this.#sockets = sockets;
    this.#fd = sockets.connect(path);
    this.#listen();
    // A thread of the pool waits at the socket, and the process of the tests for that thread.
    if (!staysOn) onTestFinished(() => this.close());
  }

  /** Sends bytes as they are. */
  raw(bytes: Uint8Array, fds: readonly number[] = []): void {
    const fixed = new Uint8Array(new ArrayBuffer(bytes.length));
    fixed.set(bytes);
    for (let sent = 0; sent < fixed.length && !this.#ended; ) {
      const more = this.#sockets.send(this.#fd, fixed, sent, fixed.length - sent, sent === 0 ? fds : []);
      if (more === undefined) return;
      sent += more;
    }
  }

  call(
    command: number,
    payload: Uint8Array = new Uint8Array(0),
    fds: readonly number[] = [],
  ): Promise<Reply> {
    const id = this.#id++ & 0xffff;
    this.raw(message({ id, command, payload }), fds);
    const reply = new Promise<Reply>((answer, lose) => {
      if (this.#ended) lose(new Error(`${nameOf(command)}: the connection is at its end`));
      else this.#waiting.set(id, { answer, lose });
    });
    return within(
      `the reply to ${nameOf(command)}`,
      reply,
      () => `commands of the device: ${this.asked.length}`,
    );
  }

  /** The same; undefined if the device lets this client go for it. */
  try(command: number, payload: Uint8Array, fds: readonly number[] = []): Promise<Reply | undefined> {
    return this.call(command, payload, fds).catch((error: unknown) => {
      if (!this.#ended) throw error;
      return undefined;
    });
  }

  /** The same, posted. */
  post(command: number, payload: Uint8Array): void {
    this.raw(message({ id: this.#id++ & 0xffff, command, flags: FLAG_NO_REPLY, payload }));
  }

  async negotiate(minor = 0): Promise<Reply> {
    const text = new TextEncoder().encode('{"capabilities":{"max_msg_fds":16,"pgsizes":4096}}\0');
    return this.call(COMMAND.VERSION, joined(version.encode({ minor }), text));
  }

  map(address: number, size: number, fd?: number, flags = 3): Promise<Reply> {
    const range = { argsz: dmaMap.size, flags, offset: 0, address, size };
    return this.call(COMMAND.DMA_MAP, dmaMap.encode(range), fd === undefined ? [] : [fd]);
  }

  async read(region: number, offset: number, count: number): Promise<Uint8Array<ArrayBuffer>> {
    const { payload } = await this.call(COMMAND.REGION_READ, regionAccess.encode({ offset, region, count }));
    return payload.slice(regionAccess.size);
  }

  /** Posted, as QEMU does it. */
  write(region: number, offset: number, data: Uint8Array): void {
    const access = regionAccess.encode({ offset, region, count: data.length });
    this.post(COMMAND.REGION_WRITE, joined(access, data));
  }

  setVectors(start: number, fds: readonly number[]): Promise<Reply> {
    const set = {
      argsz: irqSet.size,
      flags: SET_EVENTFD | SET_TRIGGER,
      index: 2,
      start,
      count: fds.length,
    };
    return this.call(COMMAND.SET_IRQS, irqSet.encode(set), fds);
  }

  get ended(): boolean {
    return this.#ended;
  }

  /** Commands that wait for `answer`. */
  get unanswered(): number {
    return this.#late.length;
  }

  /** Carries out and answers what has waited so far. */
  answer(): void {
    for (const one of this.#late.splice(0)) one();
  }

  /** Resolves when the device, or this side, has ended the connection. */
  left(): Promise<void> {
    return within('the end of the connection', this.gone);
  }

  close(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#sockets.shutdown(this.#fd);
  }

  #listen(): void {
    this.#sockets.whenReady(this.#fd, POLLIN, () => {
      for (;;) {
        const { bytes } = this.#sockets.receive(this.#fd, this.#bytes, this.#have, BUFFER_BYTES - this.#have);
        if (bytes === undefined) break;
        if (bytes === 0) {
          this.#ended = true;
          closeSync(this.#fd);
          this.#gone();
          const lost = new Error('the device has let the client go');
          for (const { lose } of this.#waiting.values()) lose(lost);
          this.#waiting.clear();
          return;
        }
        this.#have += bytes;
        this.#take();
      }
      this.#listen();
    });
  }

  #take(): void {
    const view = new DataView(this.#bytes.buffer);
    while (this.#have >= header.size) {
      const { id, command, size, flags, error } = header.read(view, 0);
      if (this.#have < size) return;
      const payload = Uint8Array.from(this.#bytes.subarray(header.size, size));
      this.#bytes.copyWithin(0, size, this.#have);
      this.#have -= size;
      if ((flags & TYPE_MASK) === TYPE_COMMAND) {
        this.#answer(id, command, payload);
      } else {
        const done = this.#waiting.get(id);
        this.#waiting.delete(id);
        done?.answer({ errno: (flags & FLAG_ERROR) === 0 ? 0 : error, payload });
      }
    }
  }

  #answer(id: number, command: number, payload: Uint8Array<ArrayBuffer>): void {
    this.asked.push(command);
    if (this.memory === undefined) return;
    if (this.late) this.#late.push(() => this.#carryOut(id, command, payload, this.memory!));
    else this.#carryOut(id, command, payload, this.memory);
  }

  #carryOut(id: number, command: number, payload: Uint8Array<ArrayBuffer>, memory: GuestFile): void {
    const { address, count } = dmaAccess.read(new DataView(payload.buffer), 0);
    const head = payload.slice(0, dmaAccess.size);
    if (command === COMMAND.DMA_WRITE) memory.write(address, payload.subarray(dmaAccess.size));
    const data = command === COMMAND.DMA_READ ? memory.read(address, count) : new Uint8Array(0);
    this.raw(message({ id, command, flags: TYPE_REPLY, payload: joined(head, data) }));
  }
}

export interface SentMessage {
  readonly id: number;
  readonly command: number;
  readonly flags?: number;
  readonly payload: Uint8Array;
  /** What the header says, if it lies. */
  readonly size?: number;
}

export function message({ id, command, flags = TYPE_COMMAND, payload, size }: SentMessage): Uint8Array {
  return joined(header.encode({ id, command, size: size ?? header.size + payload.length, flags }), payload);
}

const RX_RING = 0x1000;
const TX_RING = 0x2000;
const ENTRIES = 8;
const ENTRY_BYTES = 16;
const SENT_FRAME = 0x8000;
const SENT_BYTES = 2048;
/** Of a descriptor that was written back. */
const RECEIVED_AT = 8;
const RECEIVED_FRAME = 0x1_0000;
const RECEIVE_BYTES = 2048;
const TYPE_DATA = 3;
const COMMAND_REGISTER = 4;
const MEMORY_AND_MASTER = 6;
const dword = (value: number): Uint8Array => new Uint8Array(new Uint32Array([value]).buffer);

/** A driver that switches the function on, receives frames and sends one. */
export class TestDriver {
  #client: Pick<VfioUserClient, 'read' | 'write'>;
  readonly #memory: GuestFile;
  #sent = 0;
  #given = 0;

  constructor(client: Pick<VfioUserClient, 'read' | 'write'>, memory: GuestFile) {
    this.#client = client;
    this.#memory = memory;
  }

  /** Resolves when the function receives; both queues raise vector 0. */
  async open(): Promise<void> {
    const { CTRL, MAILBOX, MBMEM } = reg;
    this.#client.write(CONFIG_REGION, COMMAND_REGISTER, Uint8Array.of(MEMORY_AND_MASTER, 0));
    this.#set(CTRL, CTRL.fields.RST.mask);
    await this.get(MAILBOX);
    this.#set(MAILBOX, MAILBOX.fields.VFU.mask);
    this.#set(MBMEM, OP_RESET);
    this.#set(MAILBOX, MAILBOX.fields.REQ.mask);
    await this.get(MAILBOX);
    this.#set(MAILBOX, MAILBOX.fields.ACK.mask);
    this.#set(reg.TDBAL, TX_RING);
    this.#set(reg.TDLEN, ENTRIES * ENTRY_BYTES);
    // A reset leaves these where the last driver had them.
    for (const head of [reg.TDH, reg.TDT, reg.RDH, reg.RDT]) this.#set(head, 0);
    this.#set(reg.TXDCTL, reg.TXDCTL.fields.ENABLE.mask);
    this.#set(reg.RDBAL, RX_RING);
    this.#set(reg.RDLEN, ENTRIES * ENTRY_BYTES);
    const { PACKET_KIB, DESCTYPE, DROP } = reg.SRRCTL.fields;
    this.#set(
      reg.SRRCTL,
      (RECEIVE_BYTES / 1024) * 2 ** PACKET_KIB.shift + DESCTYPE_ADVANCED * 2 ** DESCTYPE.shift + DROP.mask,
    );
    this.#set(reg.RXDCTL, reg.RXDCTL.fields.ENABLE.mask);
    for (let i = 0; i < ENTRIES; i++) {
      this.#describe(RX_RING, i, compose(rxRead, 4, { PACKET_LOW: RECEIVED_FRAME + i * RECEIVE_BYTES }));
    }
    this.#set(reg.RDT, ENTRIES - 1);
    const { RX0_VALID, TX0_VALID } = reg.IVAR.fields;
    this.#set(reg.IVAR, RX0_VALID.mask | TX0_VALID.mask);
    this.#set(reg.EIMS, 1);
    await this.get(reg.RDT);
  }

  send(frame: Uint8Array): void {
    this.queue(frame);
    this.ring();
  }

  /** Puts a frame into the ring, and says nothing of it. */
  queue(frame: Uint8Array): void {
    const entry = this.#sent++ % ENTRIES;
    const buffer = SENT_FRAME + entry * SENT_BYTES;
    this.#memory.write(buffer, frame);
    const words = compose(txData, 4, {
      ADDRESS_LOW: buffer,
      LENGTH: frame.length,
      TYPE: TYPE_DATA,
      EXTENDED: 1,
      EOP: 1,
      REPORT_STATUS: 1,
      PAYLOAD: frame.length,
    });
    this.#describe(TX_RING, entry, words);
  }

  /** Says what there is to send. */
  ring(): void {
    this.#set(reg.TDT, this.#sent % ENTRIES);
  }

  /** Switches what it sends with off, and leaves all else. */
  disable(): void {
    this.#set(reg.TXDCTL, 0);
  }

  /** Whether the `n`th buffer has a frame. */
  isReceived(n: number): boolean {
    return (this.#memory.read(RX_RING + n * ENTRY_BYTES + RECEIVED_AT, 1)[0]! & 1) === 1;
  }

  /** Has done with the buffer that it received first. */
  giveBack(): void {
    const entry = this.#given++ % ENTRIES;
    this.#describe(
      RX_RING,
      entry,
      compose(rxRead, 4, { PACKET_LOW: RECEIVED_FRAME + entry * RECEIVE_BYTES }),
    );
    this.#set(reg.RDT, entry);
  }

  /** Buffers are the function's up to this one, whether or not they were given. */
  tail(entry: number): void {
    this.#set(reg.RDT, entry);
  }

  /** The guest has moved, and finds its function elsewhere. */
  movesTo(client: Pick<VfioUserClient, 'read' | 'write'>): void {
    this.#client = client;
  }

  /** Says that there is something to send, whether or not there is. */
  doorbell(): void {
    this.#set(reg.TDT, ++this.#sent % ENTRIES);
  }

  /** The frame in the `n`th buffer, of `length` bytes. */
  received(n: number, length: number): Uint8Array {
    return this.#memory.read(RECEIVED_FRAME + n * RECEIVE_BYTES, length);
  }

  /** Has read what the physical function's driver said. */
  acknowledge(): void {
    this.#set(reg.MAILBOX, reg.MAILBOX.fields.ACK.mask);
  }

  /** Lets the next interrupt come. */
  async rearm(): Promise<void> {
    await this.get(reg.EICR);
    this.#set(reg.EIMS, 1);
  }

  async get(register: { readonly offset: number }): Promise<number> {
    const bytes = await this.#client.read(0, register.offset, 4);
    return new DataView(bytes.buffer).getUint32(0, true);
  }

  #set(register: { readonly offset: number }, value: number): void {
    this.#client.write(0, register.offset, dword(value));
  }

  #describe(ring: number, entry: number, words: readonly number[]): void {
    words.forEach((word, i) => {
      this.#memory.write(ring + entry * ENTRY_BYTES + 4 * i, dword(word));
    });
  }
}
