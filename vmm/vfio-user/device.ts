/**
 * An assigned function as a vfio-user device: each command of a client carried out, and answered. Whatever a client sends gets
 * the protocol's answer; nothing that it says is believed before it was looked at.
 *
 * State stays over a disconnect, as the protocol has it, but the function masters no bus until its next client has reset it,
 * given it an interrupt or written one of its registers: what the last guest left there must not write into another's memory.
 */
import { multipleOf, number, object, optional, pipe, safeParse } from 'valibot';
import { PAGE_BYTES } from '../../base/units.js';
import type { AssignedFunction } from '../../devices/pci/assigned-function.js';
import type { VfioMigration } from '../../devices/vfio/migration.js';
import { type DeviceState, RESUMING, RUNNING } from '../../devices/vfio/states.js';
import type { ClientInterrupts } from './client-interrupts.js';
import type { ClientMemory } from './client-memory.js';
import type { Message } from './connection.js';
import type { MemoryMessages } from './message-memory.js';
import {
  BARS,
  CAPABILITIES,
  COMMAND,
  CONFIG_BYTES,
  CONFIG_REGION,
  DEVICE_IS_PCI,
  DEVICE_RESETS,
  deviceInfo,
  dmaMap,
  dmaUnmap,
  E2BIG,
  EINVAL,
  ENODEV,
  ENOSYS,
  IRQ_EVENTFD,
  IRQ_INDICES,
  IRQ_MSIX,
  IRQ_NO_RESIZE,
  irqInfo,
  irqSet,
  MAJOR,
  MINOR,
  MINOR_OF_FIXED_REPLIES,
  REGION_READS,
  REGION_WRITES,
  REGIONS,
  Refusal,
  regionAccess,
  regionInfo,
  SET_NONE,
  SET_TRIGGER,
  TRANSFER_BYTES_MAX,
  UNMAP_ALL,
  version,
  WRITE_MULTI_COUNT_BYTES,
  WRITE_MULTI_ENTRY_BYTES,
} from './protocol.js';
import { ServedMigration } from './served-migration.js';
import type { ServedVf } from './served-vf.js';

const NOTHING = new Uint8Array(0);

/** What is to be answered; `errno` 0 for success. */
export interface Answer {
  readonly payload: Uint8Array;
  readonly errno: number;
}

type Handler = (message: Message) => Uint8Array;

export interface VfioUserDeviceOptions {
  readonly served: Pick<ServedVf, 'nic' | 'assigned' | 'driver' | 'migration' | 'vfio'>;
  readonly memory: ClientMemory;
  readonly interrupts: ClientInterrupts;
  /** Why a state or its data was refused; the client only learns a number. */
  refused?(why: string): void;
}

export class VfioUserDevice {
  readonly #assigned: AssignedFunction;
  readonly #states: VfioMigration;
  readonly #migration: ServedMigration;
  readonly #memory: ClientMemory;
  readonly #interrupts: ClientInterrupts;
  /** Tells the physical function's driver that the function goes on here with another host's state. */
  readonly #arrived: () => void;
  /** A state was brought, and the function does not run on it yet. */
  #arrives = false;
  /** The function may master the bus, if its client lets it. */
  #isOpen = false;
  /** It was not taken away from its client by the host. */
  #present = true;
  /** Minor version of the client; undefined until it has said it. */
  #minor: number | undefined;
  readonly #handlers: Readonly<Record<number, Handler>> = {
    [COMMAND.DMA_MAP]: (message) => this.#map(message),
    [COMMAND.DMA_UNMAP]: (message) => this.#unmap(message),
    [COMMAND.GET_INFO]: (message) => this.#info(message),
    [COMMAND.GET_REGION_INFO]: (message) => this.#regionInfo(message),
    [COMMAND.GET_IRQ_INFO]: (message) => this.#irqInfo(message),
    [COMMAND.SET_IRQS]: (message) => this.#setIrqs(message),
    [COMMAND.REGION_READ]: (message) => this.#readRegion(message),
    [COMMAND.REGION_WRITE]: (message) => this.#writeRegion(message),
    [COMMAND.REGION_WRITE_MULTI]: (message) => this.#writeRegions(message),
    [COMMAND.RESET]: () => this.#reset(),
    [COMMAND.DEVICE_FEATURE]: (message) => this.#feature(message),
    [COMMAND.MIG_DATA_READ]: (message) => this.#migration.read(message),
    [COMMAND.MIG_DATA_WRITE]: (message) => this.#migration.write(message),
  };

  constructor({ served, memory, interrupts, refused }: VfioUserDeviceOptions) {
    const { nic, assigned, migration, vfio, driver } = served;
    memory.arrived = (address, length) => nic.memoryArrived(address, length);
    memory.needsAsking = (needed) => {
      nic.presence = needed ? memory : undefined;
    };
    interrupts.whenWritten = (then) => memory.whenWritten(then);
    this.#arrived = () => driver.arrived(0);
    this.#assigned = assigned;
    this.#states = migration;
    this.#migration = new ServedMigration(vfio, memory, refused ?? (() => {}));
    this.#memory = memory;
    this.#interrupts = interrupts;
    interrupts.changed = () => assigned.rewire();
    this.#setGate(false);
  }

  /** Carries out a command. Descriptors that are kept are taken out of the message. */
  handle(message: Message): Answer {
    try {
      if (this.#minor === undefined || message.command === COMMAND.VERSION) {
        return { payload: this.#negotiate(message), errno: 0 };
      }
      const handler = this.#handlers[message.command];
      if (handler === undefined) throw new Refusal(ENOSYS, `command ${message.command}`);
      return { payload: handler(message), errno: 0 };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      return { payload: this.#errorPayload(message), errno: error.errno };
    }
  }

  /** A client has come, who may be asked for what its guest has in memory. */
  clientCame(client: MemoryMessages): void {
    this.#memory.client = client;
  }

  /** The client is gone: its memory and its interrupts with it. */
  clientGone(): void {
    this.#minor = undefined;
    this.#migration.clientGone();
    this.#setGate(false);
    this.#interrupts.clear();
    this.#memory.unmapAll();
    this.#memory.client = undefined;
  }

  /** `then` is called when the client has all that was written to its memory so far, or is gone; at once if that is so. */
  whenWritten(then: () => void): void {
    this.#memory.whenWritten(then);
  }

  /**
   * Host: takes the function away under its client, or gives it back, as after power-on. Away, it is what a function is that was
   * pulled out of its slot: reads are all ones, writes lead nowhere, no request and no interrupt leaves it.
   */
  setPresent(present: boolean): void {
    if (present === this.#present) return;
    this.#present = present;
    this.#arrives = false;
    this.#states.reset();
    this.#memory.forgetAsked();
    this.#interrupts.forget();
    this.#setGate(false);
  }

  get present(): boolean {
    return this.#present;
  }

  /** Host: the step to a state of VFIO's migration that a client takes by DEVICE_FEATURE. Throws a FerryError. */
  setState(to: number): void {
    const before = this.#states.state;
    this.#states.setState(to);
    this.#stateSet(before);
  }

  /** A client is there that has agreed on a version. */
  get negotiated(): boolean {
    return this.#minor !== undefined;
  }

  #negotiate({ command, payload, view, fds }: Message): Uint8Array {
    if (this.#minor !== undefined) throw new Refusal(EINVAL, 'the version is known');
    if (command !== COMMAND.VERSION) throw new Refusal(EINVAL, 'the version comes first');
    if (payload.length < version.size || fds.length > 0) throw new Refusal(EINVAL, 'no version');
    const { major, minor } = version.read(view, 0);
    if (major !== MAJOR) throw new Refusal(EINVAL, `version ${major}.${minor}`);
    if (payload.length > version.size) checkCapabilities(payload.subarray(version.size));
    // Never above the client's, which may refuse that.
    this.#minor = minor;
    const head = version.encode({ major, minor: Math.min(minor, MINOR) });
    return joined(head, new TextEncoder().encode(`${JSON.stringify(CAPABILITIES)}\0`));
  }

  #map(message: Message): Uint8Array {
    const { argsz, flags, offset, address, size } = dmaMap.read(sized(message, dmaMap.size), 0);
    if (argsz < dmaMap.size) throw new Refusal(EINVAL, `argsz ${argsz}`);
    const [fd, ...more] = message.fds;
    if (more.length > 0) throw new Refusal(EINVAL, `${message.fds.length} descriptors for one range`);
    this.#memory.map(address, size, flags, fd, offset);
    message.fds.length = 0;
    return NOTHING;
  }

  #unmap(message: Message): Uint8Array {
    const { argsz, flags, address, size } = dmaUnmap.read(sized(message, dmaUnmap.size), 0);
    if (argsz < dmaUnmap.size || (flags !== 0 && flags !== UNMAP_ALL))
      throw new Refusal(EINVAL, `flags ${flags}`);
    if (flags === 0) this.#memory.unmap(address, size);
    else if (address === 0 && size === 0) this.#memory.unmapAll();
    else throw new Refusal(EINVAL, 'all, and a range');
    return message.payload.slice(0, dmaUnmap.size);
  }

  #info(message: Message): Uint8Array {
    atLeast(message, deviceInfo.size);
    return deviceInfo.encode({
      argsz: deviceInfo.size,
      flags: DEVICE_RESETS | DEVICE_IS_PCI,
      regions: REGIONS,
      irqs: IRQ_INDICES,
    });
  }

  #regionInfo(message: Message): Uint8Array {
    const { index } = regionInfo.read(sized(message, regionInfo.size), 0);
    if (index >= REGIONS) throw new Refusal(EINVAL, `region ${index}`);
    const size = this.#bytesOf(index);
    const flags = size === 0 ? 0 : REGION_READS | REGION_WRITES;
    return regionInfo.encode({ argsz: regionInfo.size, flags, index, size });
  }

  #irqInfo(message: Message): Uint8Array {
    const { index } = irqInfo.read(sized(message, irqInfo.size), 0);
    if (index >= IRQ_INDICES) throw new Refusal(EINVAL, `interrupts ${index}`);
    const count = index === IRQ_MSIX ? this.#interrupts.vectors : 0;
    const flags = count === 0 ? 0 : IRQ_EVENTFD | IRQ_NO_RESIZE;
    return irqInfo.encode({ argsz: irqInfo.size, flags, index, count });
  }

  #setIrqs(message: Message): Uint8Array {
    const { flags, index, start, count } = irqSet.read(sized(message, irqSet.size), 0);
    if (index >= IRQ_INDICES) throw new Refusal(EINVAL, `interrupts ${index}`);
    if (index === IRQ_MSIX) {
      this.#interrupts.set({ flags, start, count }, message.payload.subarray(irqSet.size), message.fds);
      if (this.#interrupts.count > 0) this.#openGate();
    } else if (count > 0 || start > 0 || flags !== (SET_NONE | SET_TRIGGER)) {
      throw new Refusal(EINVAL, 'there are none of that kind');
    }
    return NOTHING;
  }

  #reset(): Uint8Array {
    this.#arrives = false;
    this.#states.reset();
    this.#memory.forgetAsked();
    this.#interrupts.forget();
    this.#openGate();
    return NOTHING;
  }

  #openGate(): void {
    if (this.#present) this.#setGate(true);
  }

  #feature(message: Message): Uint8Array {
    if (!this.#present) throw new Refusal(ENODEV, 'the function was taken away');
    const before = this.#states.state;
    const reply = this.#migration.feature(message);
    this.#stateSet(before);
    return reply;
  }

  #stateSet(before: DeviceState): void {
    const after = this.#states.state;
    // Another state, and perhaps another guest's memory.
    if (after !== before) this.#memory.forgetAsked();
    if (after === RESUMING) {
      // Whoever brings a state along knows what it says, as one that writes registers does.
      this.#openGate();
      this.#arrives = true;
    } else if (after !== before && after === RUNNING && this.#arrives) {
      this.#arrives = false;
      this.#arrived();
    }
  }

  #readRegion(message: Message): Uint8Array {
    const view = sized(message, regionAccess.size);
    const { offset, region, count } = regionAccess.read(view, 0);
    this.#check(offset, region, count);
    const reply = new Uint8Array(regionAccess.size + count);
    reply.set(message.payload.subarray(0, regionAccess.size));
    if (!this.#present) return reply.fill(0xff, regionAccess.size);
    const data = new DataView(reply.buffer, regionAccess.size);
    for (let done = 0; done < count; ) {
      const step = stepOf(offset + done, count - done);
      const value = this.#read(region, offset + done, step);
      if (step === 4) data.setUint32(done, value, true);
      else if (step === 2) data.setUint16(done, value, true);
      else data.setUint8(done, value);
      done += step;
    }
    return reply;
  }

  #writeRegion(message: Message): Uint8Array {
    const { offset, region, count } = regionAccess.read(sized(message, regionAccess.size), 0);
    this.#check(offset, region, count);
    if (message.payload.length < regionAccess.size + count) throw new Refusal(EINVAL, 'data is missing');
    this.#writeAll(region, offset, count, message.view, regionAccess.size);
    return message.payload.slice(0, regionAccess.size);
  }

  #writeRegions(message: Message): Uint8Array {
    const { payload } = message;
    const view = sized(message, WRITE_MULTI_COUNT_BYTES);
    const entries = (payload.length - WRITE_MULTI_COUNT_BYTES) / WRITE_MULTI_ENTRY_BYTES;
    const high = view.getUint32(4, true);
    if (high !== 0 || view.getUint32(0, true) !== entries)
      throw new Refusal(EINVAL, 'another number of writes');
    const wordBytes = WRITE_MULTI_ENTRY_BYTES - regionAccess.size;
    const each = (work: (region: number, offset: number, count: number, at: number) => void): void => {
      for (let at = WRITE_MULTI_COUNT_BYTES; at < payload.length; at += WRITE_MULTI_ENTRY_BYTES) {
        const { offset, region, count } = regionAccess.read(view, at);
        work(region, offset, count, at + regionAccess.size);
      }
    };
    // All or none.
    each((region, offset, count) => {
      if (count > wordBytes) throw new Refusal(EINVAL, `a write of ${count} bytes`);
      this.#check(offset, region, count);
    });
    each((region, offset, count, at) => this.#writeAll(region, offset, count, view, at));
    return payload.slice(0, WRITE_MULTI_COUNT_BYTES);
  }

  #writeAll(region: number, offset: number, count: number, data: DataView, at: number): void {
    if (!this.#present) return;
    if (region !== CONFIG_REGION && !this.#isOpen) this.#openGate();
    for (let done = 0; done < count; ) {
      const step = stepOf(offset + done, count - done);
      const value =
        step === 4
          ? data.getUint32(at + done, true)
          : step === 2
            ? data.getUint16(at + done, true)
            : data.getUint8(at + done);
      this.#write(region, offset + done, step, value);
      done += step;
    }
  }

  /** Throws Refusal if the access is not wholly within a region that there is. */
  #check(offset: number, region: number, count: number): void {
    if (count > TRANSFER_BYTES_MAX) throw new Refusal(E2BIG, `${count} bytes`);
    if (region >= REGIONS || offset + count > this.#bytesOf(region)) {
      throw new Refusal(EINVAL, `${count} bytes at ${offset} of region ${region}`);
    }
  }

  #bytesOf(region: number): number {
    if (region === CONFIG_REGION) return CONFIG_BYTES;
    return region < BARS ? (this.#bars.find(({ index }) => index === region)?.bytes ?? 0) : 0;
  }

  get #bars() {
    return this.#assigned.fn.behaviour.bars;
  }

  #setGate(open: boolean): void {
    this.#isOpen = open;
    this.#assigned.setGate(open);
  }

  #read(region: number, offset: number, size: number): number {
    const { fn } = this.#assigned;
    if (region === CONFIG_REGION) return fn.configRead(offset, size);
    // Without Memory Space Enable nobody answers.
    return fn.decoding ? fn.behaviour.readBar(region, offset, size) : 0xffff_ffff;
  }

  #write(region: number, offset: number, size: number, value: number): void {
    const { fn } = this.#assigned;
    if (region === CONFIG_REGION) fn.configWrite(offset, size, value);
    else if (fn.decoding) fn.behaviour.writeBar(region, offset, size, value);
  }

  /** Behind the header of an error there is nothing, but for the client that waits for as much as with success. */
  #errorPayload({ command, payload, view }: Message): Uint8Array {
    if (this.#minor !== MINOR_OF_FIXED_REPLIES) return NOTHING;
    const same = (bytes: number): Uint8Array =>
      joined(payload.subarray(0, bytes), new Uint8Array(bytes)).slice(0, bytes);
    if (command === COMMAND.DMA_UNMAP) return same(dmaUnmap.size);
    if (command === COMMAND.REGION_WRITE) return same(regionAccess.size);
    if (command !== COMMAND.REGION_READ) return NOTHING;
    const count = payload.length < regionAccess.size ? 0 : view.getUint32(regionAccess.offset.count, true);
    return joined(same(regionAccess.size), new Uint8Array(Math.min(count, TRANSFER_BYTES_MAX)).fill(0xff));
  }
}

/** Registers are as wide as this part of an access that goes on for `left` bytes. */
const stepOf = (offset: number, left: number): 1 | 2 | 4 =>
  left >= 4 && offset % 4 === 0 ? 4 : left >= 2 && offset % 2 === 0 ? 2 : 1;

function atLeast({ payload }: Message, bytes: number): void {
  if (payload.length < bytes) throw new Refusal(EINVAL, `a payload of ${payload.length} bytes`);
}

function sized(message: Message, bytes: number): DataView {
  atLeast(message, bytes);
  return message.view;
}

function joined(head: Uint8Array, tail: Uint8Array): Uint8Array {
  const whole = new Uint8Array(head.length + tail.length);
  whole.set(head);
  whole.set(tail, head.length);
  return whole;
}

/** What is looked at of what a client says that it can do. */
const ANNOUNCED = object({
  capabilities: optional(object({ pgsizes: optional(pipe(number(), multipleOf(PAGE_BYTES))) })),
});

/** JSON text with a NUL at its end. */
function checkCapabilities(bytes: Uint8Array): void {
  if (bytes.at(-1) !== 0) throw new Refusal(EINVAL, 'the capabilities do not end in NUL');
  let parsed: unknown;
  try {
    parsed = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, -1)));
  } catch {
    throw new Refusal(EINVAL, 'the capabilities are no JSON');
  }
  if (!safeParse(ANNOUNCED, parsed).success)
    throw new Refusal(EINVAL, 'the capabilities are not as they are declared');
}
