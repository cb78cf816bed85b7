/**
 * A hostile guest: random accesses to configuration space and BARs of a whole machine, with frames coming in and time
 * passing. One seed is one run. Whatever it does must be answered; what would be wrong of us is reported as a failure:
 * an exception, a value wider than the access, work without bound, a constant bit that changed.
 */

import { compose } from '../../base/bits.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import type { Register } from '../../base/registers.js';
import { milliseconds } from '../../base/units.js';
import { enumerate } from '../pci/enumerate.js';
import type { PciFunction } from '../pci/function.js';
import { hostBridge } from '../pci/host-bridge.js';
import { ecamOffset, RootComplex } from '../pci/topology.js';
import { RootPort } from '../root-port/device.js';
import { assignVf } from './assigned.js';
import { txContext, txData } from './descriptors.js';
import type { Nic82599 } from './device.js';
import { vfLayout, vfMsixWindow } from './functions.js';
import {
  BAR_BASE,
  BAR_BYTES,
  FuzzMemory,
  FuzzTime,
  hostWithNic,
  MAC_VF0,
  MEMORY_BYTES,
  VFS,
} from './fuzz-world.js';
import { VF_VECTORS, vfTable } from './registers.js';

export interface FuzzReport {
  readonly seed: number;
  readonly accesses: number;
  /** What was wrong, with the number of the access; empty if nothing was. */
  readonly failures: readonly string[];
  /** What the run met, to judge whether it went deep enough. */
  readonly dmaRequests: number;
  readonly dmaBlocked: number;
  readonly messages: number;
  readonly framesSent: number;
  readonly framesReceived: number;
  /** Hash of every value read, equal for equal seeds. */
  readonly hash: number;
}

/** A guest on a second root complex gets this one of them. */
const ASSIGNED_VF = 1;
const RUN_BUDGET = 64;
const RING_BYTES = 0x800;
/** Requests that one step may make for each unit of its budget: 40 descriptors and a few writes. */
const REQUESTS_PER_BUDGET_MAX = 256;
const FAILURES_MAX = 10;

class FuzzRun {
  readonly failures: string[] = [];
  readonly memory = new FuzzMemory();
  hash = 0;
  framesSent = 0;
  framesReceived = 0;
  private readonly random: SeededRandom;
  private readonly time = new FuzzTime();
  private readonly host: RootComplex;
  private readonly guest: RootComplex;
  private readonly guestPort: RootPort;
  readonly nic: Nic82599;
  private readonly functions: readonly PciFunction[];
  private readonly frame = new Uint8Array(2048);
  private access = 0;

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const { memory } = this;
    const { host, nic, driver } = hostWithNic(memory, this.time, () => {
      this.framesSent++;
    });
    this.host = host;
    this.nic = nic;
    this.interruptDriver = () => driver.interrupt();

    const assigned = assignVf('vf0', this.nic.vf(ASSIGNED_VF), { route: (_vector, message) => message });
    this.guest = new RootComplex(memory, memory);
    this.guest.addFunction(0, hostBridge());
    this.guestPort = new RootPort('root-port0', { number: 1, surprise: true });
    this.guest.addPort(8, this.guestPort);
    this.guestPort.populate(assigned);
    enumerate(this.guest, { base: BAR_BASE, bytes: BAR_BYTES });
    this.functions = [this.nic.vf(0).fn, this.nic.vf(ASSIGNED_VF).fn, assigned.fn, this.guestPort.fn];
    this.constants = this.functions.map((fn) => fn.config.words.slice());
    this.assigned = assigned;
  }

  private readonly interruptDriver: () => void;
  private readonly constants: readonly Uint32Array[];
  private readonly assigned: ReturnType<typeof assignVf>;

  step(): void {
    this.access++;
    const kind = this.random.below(100);
    try {
      if (kind < 30) this.configAccess();
      else if (kind < 80) this.barAccess();
      else if (kind < 86) this.receive();
      else if (kind < 90) this.work();
      else if (kind < 93) this.time.advance(milliseconds(this.random.below(4)));
      else if (kind < 95) this.interruptDriver();
      else if (kind < 96) this.slotEvent();
      else if (kind < 97) this.scribble();
      else if (kind < 99) this.revive();
      else this.check();
    } catch (error) {
      this.fail(`threw ${String(error)}`);
    }
  }

  private fail(what: string): void {
    if (this.failures.length < FAILURES_MAX) this.failures.push(`access ${this.access}: ${what}`);
  }

  private note(value: number, size: number): void {
    if (!Number.isInteger(value) || value < 0 || value >= 2 ** (size * 8)) {
      this.fail(`read ${value} from ${size} bytes`);
    }
    this.hash = (Math.imul(this.hash ^ value, 0x01000193) + size) | 0;
  }

  /** Values that find edges more often than uniform ones. */
  private value(): number {
    const { random } = this;
    switch (random.below(6)) {
      case 0:
        return 0;
      case 1:
        return 0xffff_ffff;
      case 2:
        return (1 << random.below(32)) >>> 0;
      case 3:
        return random.below(MEMORY_BYTES);
      case 4:
        return random.below(256);
      default:
        return random.u32();
    }
  }

  private configAccess(): void {
    const { random } = this;
    const complex = random.chance(0.5) ? this.guest : this.host;
    const size = [1, 2, 4][random.below(3)]!;
    // On the host only VFs are a guest's; on its own root complex everything is.
    const bus = complex === this.guest ? random.below(4) : 1;
    const devfn = complex === this.guest ? random.below(16) : 0x80 + random.below(8);
    const register = random.chance(0.7) ? random.below(0x180) : random.below(4096);
    const offset = ecamOffset(bus, devfn, register & ~(size - 1));
    if (random.chance(0.4)) this.note(complex.configRead(offset, size), size);
    else complex.configWrite(offset, size, this.value());
  }

  private barAccess(): void {
    const { random } = this;
    const fn = this.functions[random.below(3)]!;
    const msix = random.chance(0.15);
    const bar = msix ? 3 : 0;
    const size = random.chance(0.9) ? 4 : [1, 2][random.below(2)]!;
    const register = vfTable.registers[random.below(vfTable.registers.length)]!;
    const offset = msix
      ? random.below(0x80) * 4
      : random.chance(0.9)
        ? register.offset + random.below(register.count) * register.stride
        : random.below(0x4000) & ~3;
    if (random.chance(0.3)) this.note(fn.behaviour.readBar(bar, offset, size), size);
    else fn.behaviour.writeBar(bar, offset, size, this.value());
    if (random.chance(0.1)) this.note(this.guest.memoryRead(BAR_BASE + random.below(0x10_0000), 4), 4);
  }

  private receive(): void {
    const { random, frame } = this;
    const length = random.below(frame.length);
    for (let i = 0; i < Math.min(length, 64); i++) frame[i] = random.below(256);
    if (random.chance(0.7)) frame.set(MAC_VF0, 0);
    if (random.chance(0.2)) frame.fill(0xff, 0, 6);
    if (random.chance(0.6)) frame.set([0x08, 0x00, 0x45, 0x00], 12);
    this.framesReceived++;
    this.nic.receive({ bytes: frame, length });
  }

  /** One step of the NIC, whose requests must be bounded by its budget. */
  private work(): void {
    const before = this.memory.requests;
    this.nic.run(RUN_BUDGET);
    const requests = this.memory.requests - before;
    if (requests > RUN_BUDGET * REQUESTS_PER_BUDGET_MAX) this.fail(`${requests} requests in one step`);
  }

  private slotEvent(): void {
    const { random, guestPort } = this;
    if (random.chance(0.3)) guestPort.requestUnplug();
    else if (random.chance(0.5)) guestPort.eject();
    else if (guestPort.occupant === undefined) guestPort.plug(this.assigned, 'link');
  }

  /** Random descriptors where rings may be. */
  private scribble(): void {
    const { random, memory } = this;
    const view = new DataView(memory.bytes.buffer);
    const base = random.below(MEMORY_BYTES / 128) * 128;
    for (let at = base; at < Math.min(base + 512, MEMORY_BYTES); at += 4) {
      view.setUint32(at, this.value(), true);
    }
  }

  /**
   * What a sane driver does, so that random accesses meet a device at work: bus mastering, RESET, rings, plausible
   * transmit descriptors, doorbells.
   */
  private revive(): void {
    const { random, memory } = this;
    const vf = random.below(VFS);
    const { behaviour } = this.nic.vf(vf).fn;
    const write = (register: Register<unknown>, value: number, index = 0): void =>
      behaviour.writeBar(0, register.offset + index * register.stride, 4, value);
    const { reg } = vfTable;
    const { fn } = this.nic.vf(vf);
    fn.configWrite(vfLayout.header.COMMAND.offset, 2, vfLayout.header.COMMAND.fields.MASTER.mask);
    const { CONTROL } = vfLayout.cap.msix;
    fn.configWrite(CONTROL.offset, 2, CONTROL.fields.ENABLE.mask);
    const table = vfMsixWindow.reg;
    for (let vector = 0; vector < VF_VECTORS; vector++) {
      behaviour.writeBar(3, table.CONTROL.offset + vector * table.CONTROL.stride, 4, random.below(2));
    }
    write(reg.MAILBOX, reg.MAILBOX.fields.VFU.mask);
    write(reg.MBMEM, 1);
    write(reg.MAILBOX, reg.MAILBOX.fields.REQ.mask);
    this.interruptDriver();
    const queue = random.below(2);
    const ring = random.below(8) * RING_BYTES;
    const view = new DataView(memory.bytes.buffer);
    for (let i = 0; i < RING_BYTES / 16; i++) {
      const context = random.chance(0.2);
      const words = context
        ? compose(txContext, 4, {
            IP_BYTES: 20,
            MAC_BYTES: 14,
            L4_TYPE: 1,
            L4_BYTES: 20,
            SEGMENT_BYTES: 1 + random.below(1500),
          })
        : compose(txData, 4, {
            ADDRESS_LOW: random.below(MEMORY_BYTES),
            LENGTH: random.below(random.chance(0.9) ? 1500 : 0x1_0000),
            EOP: random.below(2),
            REPORT_STATUS: random.below(2),
            SEGMENT: random.chance(0.2) ? 1 : 0,
            IP_CHECKSUM: random.below(2),
            L4_CHECKSUM: random.below(2),
          });
      words[2]! |= ((context ? 2 : 3) << 20) | (1 << 29);
      words.forEach((word, at) => {
        view.setUint32(ring + i * 16 + at * 4, word >>> 0, true);
      });
    }
    write(reg.TDBAL, ring, queue);
    write(reg.TDBAH, 0, queue);
    write(reg.TDLEN, RING_BYTES, queue);
    write(reg.TDH, 0, queue);
    write(reg.TXDCTL, reg.TXDCTL.fields.ENABLE.mask, queue);
    write(reg.TDT, RING_BYTES / 16 - 1, queue);
    write(reg.RDBAL, ring + 0x8_0000, queue);
    write(reg.RDBAH, 0, queue);
    write(reg.RDLEN, RING_BYTES, queue);
    write(reg.RDH, 0, queue);
    write(reg.SRRCTL, random.pick([0x402, 0x0200_0402, 0x0400_0402, 0x0a00_0402, 0x0200_0401]), queue);
    write(reg.RXDCTL, reg.RXDCTL.fields.ENABLE.mask, queue);
    write(reg.RDT, RING_BYTES / 16 - 1, queue);
    write(reg.IVAR, 0x8180_8281);
    write(reg.EIMS, 7);
    write(reg.EITR, random.below(0x1000) & 0xff8, random.below(3));
  }

  /** Constant bits are what they were, and a VF that is there never reads as gone. */
  private check(): void {
    this.functions.forEach((fn, i) => {
      const { reserved } = fn.config.table.masks;
      const before = this.constants[i]!;
      for (let word = 0; word < before.length; word++) {
        if (((fn.config.words[word]! ^ before[word]!) & reserved[word]!) !== 0) {
          this.fail(`${fn.name}: constant bits changed at 0x${(word * 4).toString(16)}`);
        }
      }
    });
    const status = this.nic.vf(0).fn.behaviour.readBar(0, vfTable.reg.STATUS.offset, 4);
    if (status === 0xffff_ffff) this.fail('VFSTATUS reads as if the device were gone');
  }
}

/**
 * Makes `accesses` random accesses from `seed`, and tells `begins` the number of each before. Never throws: what goes wrong is in the
 * report. `tamper` lets a test break the device on purpose, to see that the run notices.
 */
export function fuzzConfigAndBars(
  seed: number,
  accesses: number,
  tamper: (nic: Nic82599) => void = () => {},
  begins: (number: number) => void = () => {},
): FuzzReport {
  const run = new FuzzRun(seed);
  tamper(run.nic);
  for (let i = 0; i < accesses; i++) {
    begins(i + 1);
    run.step();
  }
  return {
    seed,
    accesses,
    failures: run.failures,
    dmaRequests: run.memory.requests,
    dmaBlocked: run.memory.blocked,
    messages: run.memory.messages,
    framesSent: run.framesSent,
    framesReceived: run.framesReceived,
    hash: run.hash >>> 0,
  };
}
