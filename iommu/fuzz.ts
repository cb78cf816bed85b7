/**
 * A hostile driver and hostile devices against the VT-d unit, at random and with the habits of real ones: registers of
 * all offsets and widths, queues of malformed descriptors, tables with reserved bits, loops and holes, interrupt
 * entries of any kind, while requests are translated and interrupts sent. Looks for an exception, work or fault events
 * without bound, answers that can't be, and writes to pages that nothing names (see `fuzz-world.ts`).
 */
import { requesterOf } from '../base/dma.js';
import { type SeededRandom, seededRandom } from '../base/random.js';
import { iova } from '../base/units.js';
import { TranslatedBus } from './dma.js';
import { FuzzDriver } from './fuzz-driver.js';
import { FuzzWorld } from './fuzz-world.js';
import { FAULT_RECORDS, REGISTER_BYTES, reg, vtdTable } from './registers.js';
import { BLOCKED, INTERRUPT, TRANSLATED, VtdUnit } from './unit.js';
import { ACCESS_PRIVILEGED, ACCESS_WRITE } from './walk.js';

export interface VtdFuzzReport {
  readonly seed: number;
  readonly accesses: number;
  /** What was wrong, with the number of the access; empty if nothing was. */
  readonly failures: readonly string[];
  /** What the run met, to judge whether it went deep enough. */
  readonly translated: number;
  readonly blocked: number;
  /** Writes let through to guarded pages, as they may be. */
  readonly guardedWrites: number;
  readonly remapped: number;
  readonly posted: number;
  readonly messages: number;
  /** Descriptors that a running queue consumed, and times that it stopped at an error. */
  readonly descriptors: number;
  readonly queueErrors: number;
  /** The guarded area lost its meaning on the way, so that writes were not judged to the end. */
  readonly guardNamed: boolean;
  /** Hash of everything that was answered, equal for equal seeds. */
  readonly hash: number;
}

const FAILURES_MAX = 10;
/** Look-ups in host memory: of a request for each page it touches, and of a register access (a whole queue of 512 KiB). */
const REQUEST_LOOKUPS_MAX = 1500;
const ACCESS_LOOKUPS_MAX = 2 * 32768 + REQUEST_LOOKUPS_MAX;
const DATA_BYTES_MAX = 8192;
const IOTLB_ENTRIES_MAX = 4096;
const INTERRUPT_WINDOW_FIRST = 0xfee0_0000;
const INTERRUPT_WINDOW_END = 0xfef0_0000;
const CHECK_EVERY = 500;

const OFFSETS = vtdTable.registers.flatMap(({ offset, count, stride, width }) =>
  Array.from({ length: count }, (_, i) => offset + i * stride).flatMap((at) =>
    width === 64 ? [at, at + 4] : [at],
  ),
);

class VtdFuzzRun {
  readonly failures: string[] = [];
  readonly unit: VtdUnit;
  readonly world: FuzzWorld;
  readonly met = {
    translated: 0,
    blocked: 0,
    guardedWrites: 0,
    remapped: 0,
    posted: 0,
    messages: 0,
    descriptors: 0,
  };
  queueErrors = 0;
  hash = 0;
  private readonly random: SeededRandom;
  private readonly bus: TranslatedBus;
  private readonly driver: FuzzDriver;
  private readonly bytes = new Uint8Array(DATA_BYTES_MAX);
  private access = 0;
  /** Interrupts that the unit has raised, but for those that an answer to one of them led to. */
  private raised = 0;
  /** Fault events that requests have led to since software last wrote a register. */
  private events = 0;
  private readonly recordsBefore = new Uint32Array(4 * FAULT_RECORDS);

  constructor(seed: number) {
    this.random = seededRandom(seed);
    const { random, met } = this;
    this.world = new FuzzWorld(random);
    this.unit = new VtdUnit(
      'iommu0',
      {
        memory: this.world.memory,
        interrupts: {
          message: () => {
            met.messages++;
            this.raised++;
            if (random.chance(0.2)) this.answerEvent();
          },
          remapped: (...attributes) => {
            met.remapped++;
            this.raised++;
            for (const value of attributes) this.note(Number(value));
          },
          notify: (destination, vector) => {
            met.posted++;
            this.raised++;
            this.note(destination * 256 + vector);
          },
        },
        deviceTlb: { invalidate: () => random.chance(0.8), respond: () => {} },
      },
      {
        hostAddressWidth: this.world.width,
        deviceTlb: random.chance(0.5),
        scalableMode: random.chance(0.9),
        secondStageDirty: random.chance(0.9),
        invalidateOnPointerSet: random.chance(0.5),
        domainIdBits: random.pick([4, 8, 16]),
      },
    );
    this.bus = new TranslatedBus(this.unit, this.world.memory, random.below(4));
    this.driver = new FuzzDriver(random, this.world, this.unit, (offset, size, value) =>
      this.write(offset, size, value),
    );
  }

  step(): void {
    this.access++;
    const { memory } = this.world;
    const before = memory.lookups;
    const kind = this.random.below(100);
    let limit = ACCESS_LOOKUPS_MAX;
    try {
      if (kind < 12) this.registerRead();
      else if (kind < 32) this.registerWrite();
      else if (kind < 62) limit = this.request();
      else if (kind < 75) limit = this.transfer();
      else if (kind < 85) limit = this.interrupt();
      else if (kind < 88) limit = this.pageRequest();
      else if (kind < 92) this.world.scribble(this.world.tablePage() + this.random.below(512) * 8, 16);
      else if (kind < 95) this.driver.buildTables();
      else if (kind < 98) this.driver.buildQueue();
      else this.driver.buildInterrupts();
      if (this.access % CHECK_EVERY === 0) this.check();
    } catch (error) {
      this.fail(`threw ${String(error)}`);
    }
    const lookups = memory.lookups - before;
    if (lookups > limit) this.fail(`${lookups} look-ups in host memory`);
    if (memory.absurd !== undefined) this.fail(`asked host memory for address ${memory.absurd}`);
    memory.absurd = undefined;
  }

  /** Software that answers an event at once leads the unit back to its queue. */
  private answerEvent(): void {
    const { raised } = this;
    this.unit.write(reg.IQT.offset, 4, this.random.below(256) * 16);
    this.raised = raised;
  }

  private fail(what: string): void {
    if (this.failures.length < FAILURES_MAX) this.failures.push(`access ${this.access}: ${what}`);
  }

  private note(value: number): void {
    this.hash = (Math.imul(this.hash ^ (value | 0), 0x01000193) + 1) | 0;
  }

  private registerRead(): void {
    const { random, unit } = this;
    const size = random.pick([1, 2, 4, 4, 8, 8, 3]);
    const value = unit.read(this.offset(), size);
    const { high } = unit.registers;
    for (const word of size === 8 ? [value, high] : [value]) {
      if (!Number.isInteger(word) || word < 0 || word >= 2 ** (8 * Math.min(size, 4))) {
        this.fail(`read ${word} from ${size} bytes`);
      }
      this.note(word);
    }
  }

  private registerWrite(): void {
    const { random, world } = this;
    const size = random.pick([1, 2, 4, 4, 4, 8, 8, 3]);
    this.write(this.offset(), size, world.word(), world.high());
  }

  private offset(): number {
    const { random } = this;
    return random.chance(0.9) ? random.pick(OFFSETS) : random.below(REGISTER_BYTES + 100) - 50;
  }

  /** A register write, and what it did to the queue. */
  private write(offset: number, size: number, value: number, high = 0): void {
    const { unit, met } = this;
    const { registers } = unit;
    const { QH } = reg.IQH.fields;
    const { IQE } = reg.FSTS.fields;
    const head = registers.getField(reg.IQH, QH);
    const failed = registers.getField(reg.FSTS, IQE);
    unit.write(offset, size, value, high);
    this.events = 0;
    met.descriptors += Math.max(0, registers.getField(reg.IQH, QH) - head);
    if (failed === 0 && registers.getField(reg.FSTS, IQE) === 1) this.queueErrors++;
  }

  private request(): number {
    const { random, unit, met } = this;
    const { source, pasid, low, high } = this.driver.aim();
    const access = random.below(16);
    const near = (low ^ (random.chance(0.3) ? random.below(4) * 4096 : 0)) | 0;
    const before = this.raised;
    const outcome = this.judgeLog(() => unit.translate(source, pasid, near, high | 0, access));
    this.note(outcome);
    if (outcome === TRANSLATED) {
      met.translated++;
      this.judgeResult(near, access);
    } else if (outcome === BLOCKED) met.blocked++;
    else if (outcome !== INTERRUPT) this.fail(`outcome ${outcome}`);
    this.events += this.raised - before;
    if (this.raised > before && this.events > 1)
      this.fail(`${this.events} fault events, and nobody looked yet`);
    return REQUEST_LOOKUPS_MAX;
  }

  private judgeResult(low: number, access: number): void {
    const { unit, world, met } = this;
    const [address = -1, bytes = -1] = unit.result;
    this.note(address % 2 ** 32);
    const whole = Number.isInteger(address) && address >= 0 && bytes >= 1 && (address + bytes) % 4096 === 0;
    if (!whole || address % 4096 !== (low & 0xfff)) this.fail(`translated to ${bytes} bytes at ${address}`);
    const translating = unit.registers.getField(reg.GSTS, reg.GSTS.fields.TE) === 1;
    if (translating && address < INTERRUPT_WINDOW_END && address + bytes > INTERRUPT_WINDOW_FIRST) {
      this.fail('translated into the interrupt range');
    }
    if ((access & ACCESS_WRITE) === 0) return;
    const wrong = world.judgeWrite(address, (access & ACCESS_PRIVILEGED) !== 0);
    if (wrong !== undefined) this.fail(wrong);
    if (address >= 2 ** 32) met.guardedWrites++;
  }

  /** Does something that may be blocked; a log that has overflowed stays as it is. */
  private judgeLog(work: () => number): number {
    const { registers } = this.unit;
    const overflown = registers.getField(reg.FSTS, reg.FSTS.fields.PFO) === 1;
    const first = reg.FRCD_LOW.word;
    const records = registers.words.subarray(first, first + this.recordsBefore.length);
    if (overflown) this.recordsBefore.set(records);
    const outcome = work();
    if (overflown && records.some((word, i) => word !== this.recordsBefore[i])) {
      this.fail('a fault was recorded after the log had overflown');
    }
    return outcome;
  }

  private transfer(): number {
    const { random, bus, bytes, world } = this;
    const { source, low, high } = this.driver.aim();
    const address = iova((high >>> 0) * 2 ** 32 + (low >>> 0));
    const length = random.below(random.chance(0.1) ? DATA_BYTES_MAX : 64);
    const requester = requesterOf(source);
    if (random.chance(0.3)) {
      bus.read(requester, address, bytes, 0, length);
    } else {
      world.data(bytes);
      const word = bytes[0]! * 0x0101_0101;
      if (random.chance(0.3))
        bus.writeDescriptor(requester, iova(address - (address % 16)), word, word, word, word);
      else bus.write(requester, address, bytes, 0, length);
    }
    return REQUEST_LOOKUPS_MAX * 4;
  }

  private interrupt(): number {
    const { random, bus, unit, world, met } = this;
    const source = this.driver.source();
    const before = this.raised;
    const { posted } = met;
    // Remappable format most of the time, handles near the start of the table.
    const handle = random.chance(0.8) ? random.below(64) : random.below(2 ** 15);
    const address = random.chance(0.9)
      ? (handle << 5) | 0x10 | (random.below(2) << 3)
      : random.below(2 ** 20);
    const data = random.chance(0.6) ? 0 : random.chance(0.5) ? random.below(64) : world.word();
    this.judgeLog(() => {
      if (random.chance(0.5)) bus.send(requesterOf(source), iova(INTERRUPT_WINDOW_FIRST + address), data);
      else unit.interrupt(source, INTERRUPT_WINDOW_FIRST + address, data);
      return 0;
    });
    const raised = this.raised - before;
    if (raised > 1) this.fail(`one interrupt request became ${raised}`);
    if (met.posted > posted) world.look();
    return REQUEST_LOOKUPS_MAX;
  }

  private pageRequest(): number {
    const { random, unit } = this;
    const { source, pasid, low } = this.driver.aim();
    const request = {
      source,
      pasid,
      page: low,
      read: random.chance(0.5),
      write: random.chance(0.5),
      group: random.below(512),
      last: random.chance(0.5),
    };
    this.note(unit.pageRequests.queue(request) ? 1 : 0);
    return REQUEST_LOOKUPS_MAX;
  }

  /** What must hold at any time. */
  check(): void {
    const { unit, world } = this;
    const wrong = world.judgeContents();
    if (wrong !== undefined) this.fail(wrong);
    world.look();
    if (unit.iotlb.size > IOTLB_ENTRIES_MAX) this.fail(`${unit.iotlb.size} entries in the IOTLB`);
    const record = unit.save();
    unit.describe(record);
    unit.restore(record);
    const again = unit.save().state;
    if (again.some((byte, i) => byte !== record.state[i])) this.fail('a restored unit saves another state');
  }
}

/**
 * Makes `accesses` random accesses and requests from `seed`, and tells `begins` the number of each before. Never throws: what goes wrong
 * is in the report. `tamper` lets a test break the unit on purpose, to see that the run notices.
 */
export function fuzzVtd(
  seed: number,
  accesses: number,
  tamper: (unit: VtdUnit) => void = () => {},
  begins: (number: number) => void = () => {},
): VtdFuzzReport {
  const run = new VtdFuzzRun(seed);
  tamper(run.unit);
  for (let i = 0; i < accesses; i++) {
    begins(i + 1);
    run.step();
  }
  const { failures, queueErrors, hash, world } = run;
  return {
    seed,
    accesses,
    failures,
    ...run.met,
    queueErrors,
    guardNamed: world.guardNamed,
    hash: hash >>> 0,
  };
}
