/** Inflicts a plan of faults on a simulated migration: as rules of the links, and as what is asked of processes and monitors. */
import { crc32 } from '../../base/crc32.js';
import { seededRandom } from '../../base/random.js';
import { microseconds } from '../../base/units.js';
import { CONTROL_VERSION, frameHeader } from '../../migration/frame.js';
import { type Fault, isDataFault, isMessageFault, type MessageFault, nameOfFault } from './fault.js';
import type { LinkMessage, LinkRule, LinkVerdict, Side } from './link.js';
import type { Tamper } from './memory-wire.js';
import type { SimulatedWorld } from './run.js';

/** A fault that strikes by itself, or by what somebody does; false if there is nobody whom it could strike. */
export type Strike = (fault: Fault) => boolean;

export class Infliction {
  readonly #plan: readonly Fault[];
  readonly #world: SimulatedWorld;
  readonly #struck = new Set<Fault>();
  #begun = false;
  #over = false;
  /** Messages so far, by sender and kind. */
  readonly #said = new Map<string, number>();
  /** Events so far that a fault waits for. */
  readonly #came = new Map<Fault, number>();
  readonly #strike: Strike;

  /** `strike` carries out what is done to a process, or by an operator. */
  constructor(plan: readonly Fault[], world: SimulatedWorld, strike: Strike) {
    this.#plan = plan;
    this.#world = world;
    this.#strike = strike;
  }

  /** Those that struck so far, and those that did not. */
  get struck(): readonly Fault[] {
    return this.#plan.filter((fault) => this.#struck.has(fault));
  }

  get idle(): readonly Fault[] {
    return this.#plan.filter((fault) => !this.#struck.has(fault));
  }

  /** Nothing strikes any more: the migration has ended. */
  end(): void {
    this.#over = true;
  }

  /** `migrate` is asked for next. */
  begin(): void {
    this.#begun = true;
    for (const fault of this.#plan) {
      if (fault.when.at === 'start') this.#carryOut(fault);
      if (fault.when.at !== 'time') continue;
      this.#world.scheduler.after(microseconds(fault.when.us), () => this.#carryOut(fault));
    }
  }

  /** `side` tells its operators of an event. */
  event(side: Side, event: string, data: object): void {
    if (!this.#begun) return;
    for (const fault of this.#plan) {
      const { when } = fault;
      if (when.at !== 'event' || when.side !== side || when.event !== event) continue;
      if (!Object.entries(when.where).every(([name, value]) => Reflect.get(data, name) === value)) continue;
      const came = this.#came.get(fault) ?? 0;
      this.#came.set(fault, came + 1);
      if (came === when.nth) this.#carryOut(fault);
    }
  }

  /** Those of the control link. */
  readonly rules: readonly LinkRule[] = [{ name: 'plan', judge: (message) => this.#judge(message) }];

  /** That of the data channels. */
  readonly tamper: Tamper = (chunk, { channel, at }) => {
    let verdict: ReturnType<Tamper> = chunk;
    if (this.#over) return verdict;
    for (const fault of this.#plan) {
      const { when, kind, amount } = fault;
      if (when.at !== 'byte' || !isDataFault(kind) || this.#struck.has(fault)) continue;
      if (when.channel !== channel || when.byte < at || when.byte >= at + chunk.length) continue;
      this.#note(fault);
      const within = when.byte - at;
      if (kind === 'data-flip') chunk[within]! ^= 1 << (amount & 7);
      else if (kind === 'data-truncate') verdict = { last: chunk.subarray(0, within) };
      else if (kind === 'data-delay') verdict = { late: microseconds(amount), bytes: chunk };
      else verdict = kind === 'data-cut' ? 'cut' : 'stall';
    }
    return verdict;
  };

  #judge(message: LinkMessage): LinkVerdict | undefined {
    const counted = `${message.from}/${message.kind}`;
    const nth = this.#said.get(counted) ?? 0;
    this.#said.set(counted, nth + 1);
    let verdict: LinkVerdict | undefined;
    if (this.#over) return undefined;
    for (const fault of this.#plan) {
      const { when, kind } = fault;
      if (when.at !== 'message' || this.#struck.has(fault)) continue;
      if (when.from !== message.from || when.kind !== message.kind || when.nth !== nth) continue;
      if (!isMessageFault(kind)) this.#carryOut(fault);
      else if (verdict === undefined) {
        this.#note(fault);
        verdict = verdictOf(kind, fault.amount, message);
      }
    }
    return verdict;
  }

  #carryOut(fault: Fault): void {
    if (this.#over || this.#struck.has(fault)) return;
    this.#note(fault);
    if (!this.#strike(fault)) this.#struck.delete(fault);
  }

  #note(fault: Fault): void {
    this.#struck.add(fault);
    this.#world.trace.note(this.#world.scheduler.now(), `fault ${nameOfFault(fault)}`);
  }
}

/** The message as a peer says it whose protocol is of another version, and who knows how its headers are checked. */
function ofVersion(bytes: Uint8Array, amount: number): Uint8Array {
  const other = bytes.slice();
  const view = new DataView(other.buffer);
  const { version, headerCrc } = frameHeader.offset;
  const [older, newer] = [CONTROL_VERSION - 1, CONTROL_VERSION + 1 + (amount >>> 1)];
  view.setUint16(version, (amount & 1) === 0 ? newer : older, true);
  view.setUint32(headerCrc, crc32(other, 0, headerCrc), true);
  return other;
}

function verdictOf(kind: MessageFault, amount: number, { bytes }: LinkMessage): LinkVerdict {
  switch (kind) {
    case 'delay':
      return { do: 'delay', by: microseconds(amount) };
    case 'cut':
      return { do: 'cut', when: 'before' };
    case 'cut-after':
      return { do: 'cut', when: 'after' };
    case 'silence':
      return { do: 'silence' };
    case 'repeat':
      return { do: 'repeat' };
    case 'truncate':
      return { do: 'replace', bytes: bytes.slice(0, amount % bytes.length) };
    case 'flip': {
      const flipped = bytes.slice();
      const bit = amount % (8 * bytes.length);
      flipped[bit >>> 3]! ^= 1 << (bit & 7);
      return { do: 'replace', bytes: flipped };
    }
    case 'other-version':
      return { do: 'replace', bytes: ofVersion(bytes, amount) };
    case 'garbage': {
      const garbage = new Uint8Array(1 + (amount % 4096));
      seededRandom(amount).fill(garbage);
      return { do: 'replace', bytes: garbage };
    }
  }
}
