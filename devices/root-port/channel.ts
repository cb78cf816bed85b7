/**
 * The hypervisor's end of the channel in a root port. The guest has one request before it at a time, and the next once it has
 * answered: as software gives a hot-plug controller its next command when the last has completed (PCIe 6.7.3.2). What waits is
 * kept here, and moves with the port.
 *
 * What a host asks by one word it asks anew only because it wants something else by now: of those that wait only the latest of
 * each word is kept. So they are few, and a guest that was away ends where the host wants it, in the order of the last words.
 */
import { layout, u32 } from '../../base/layout.js';
import type { RegisterFile } from '../../base/registers.js';
import { deviceErrors } from '../errors.js';
import type { StateSection } from '../pci/state.js';
import type { RootPortLayout } from './registers.js';

/** A guest has no room to offer more. */
export const WAITING_MAX = 8;

interface Request {
  readonly sequence: number;
  readonly word: number;
  /** As many as the registers have. */
  readonly args: readonly number[];
}

export interface ChannelOwner {
  readonly name: string;
  readonly config: RegisterFile;
  readonly registers: RootPortLayout['cap']['channel'];
  interrupt(): void;
  /** The guest handed over words; `answers`: under the number of the request that was before it. */
  heard(sequence: number, answer: number, args: readonly number[], answers: boolean): void;
}

/** In front of the requests that wait. */
const headLayout = /* @__PURE__ */ layout('channel_requests', {
  /** 1: the guest has not answered the request in the registers. */
  unanswered: u32(),
  waiting: u32(),
});
const requestLayout = /* @__PURE__ */ layout('channel_request', {
  sequence: u32(),
  word: u32(),
  argument0: u32(),
  argument1: u32(),
  argument2: u32(),
  argument3: u32(),
});

export class HypervisorChannel {
  readonly section: StateSection;
  readonly #owner: ChannelOwner;
  /** The guest has not answered the request in the registers. Nothing waits behind one that it has answered. */
  #unanswered = false;
  #waiting: readonly Request[] = [];

  constructor(owner: ChannelOwner) {
    this.#owner = owner;
    this.section = {
      name: 'requests',
      save: () => encode(this.#unanswered, this.#waiting),
      restore: (bytes) => {
        const saved = decode(bytes);
        if (typeof saved === 'string') return saved;
        this.#unanswered = saved.unanswered;
        this.#waiting = saved.waiting;
        return undefined;
      },
      describe,
    };
  }

  /** What the guest says that it can do: the words in its registers, without those that are zero. */
  get features(): readonly number[] {
    const { config, registers } = this.#owner;
    const { GUEST_FEATURE } = registers;
    const words = Array.from({ length: GUEST_FEATURE.count }, (_, i) => config.get(GUEST_FEATURE, i));
    return words.filter((word) => word !== 0);
  }

  /**
   * Asks `word` of the guest, with up to four numbers, as soon as it has answered what it was asked before; a request of the same
   * word that it has not been shown yet is forgotten. Returns its number; numbers go on where another host left them. Throws
   * `devices/channelFull`.
   */
  request(word: number, args: readonly number[] = []): number {
    const { name, config, registers } = this.#owner;
    const last = this.#waiting.at(-1)?.sequence ?? config.get(registers.HOST_SEQUENCE);
    const request = {
      sequence: (last + 1) >>> 0,
      word: word >>> 0,
      args: Array.from({ length: registers.HOST_ARGUMENT.count }, (_, i) => (args[i] ?? 0) >>> 0),
    };
    const others = this.#waiting.filter((one) => one.word !== request.word);
    if (others.length === WAITING_MAX)
      throw deviceErrors.error('channelFull', { device: name, waiting: WAITING_MAX });
    if (this.#unanswered) this.#waiting = [...others, request];
    else this.#show(request);
    return request.sequence;
  }

  /** The guest wrote GUEST_SEQUENCE. */
  answered(sequence: number): void {
    const { config, registers, heard } = this.#owner;
    const { GUEST_ANSWER, GUEST_ARGUMENT, HOST_SEQUENCE } = registers;
    const args = Array.from({ length: GUEST_ARGUMENT.count }, (_, i) => config.get(GUEST_ARGUMENT, i));
    const answers = this.#unanswered && sequence === config.get(HOST_SEQUENCE);
    heard(sequence, config.get(GUEST_ANSWER), args, answers);
    if (!answers) return;
    this.#unanswered = false;
    const [next, ...others] = this.#waiting;
    this.#waiting = others;
    if (next !== undefined) this.#show(next);
  }

  /** The guest wrote CONTROL: what it was asked before it wanted interrupts is not asked again. */
  controlWritten(): void {
    const { config, registers } = this.#owner;
    if (config.getField(registers.STATUS, registers.STATUS.fields.REQUEST) === 1) this.#interrupt();
  }

  #show({ sequence, word, args }: Request): void {
    const { config, registers } = this.#owner;
    const { HOST_SEQUENCE, HOST_REQUEST, HOST_ARGUMENT, STATUS } = registers;
    config.set(HOST_REQUEST, word);
    for (let i = 0; i < args.length; i++) config.set(HOST_ARGUMENT, args[i]!, i);
    config.set(HOST_SEQUENCE, sequence);
    config.setField(STATUS, STATUS.fields.REQUEST, 1);
    this.#unanswered = true;
    this.#interrupt();
  }

  /** If the guest wants it. */
  #interrupt(): void {
    const { config, registers, interrupt } = this.#owner;
    if (config.getField(registers.CONTROL, registers.CONTROL.fields.INTERRUPT) === 1) interrupt();
  }
}

function encode(unanswered: boolean, waiting: readonly Request[]): Uint8Array {
  const bytes = new Uint8Array(headLayout.size + waiting.length * requestLayout.size);
  const view = new DataView(bytes.buffer);
  headLayout.write(view, 0, { unanswered: Number(unanswered), waiting: waiting.length });
  waiting.forEach(({ sequence, word, args }, i) => {
    const [argument0, argument1, argument2, argument3] = args as [number, number, number, number];
    const values = { sequence, word, argument0, argument1, argument2, argument3 };
    requestLayout.write(view, headLayout.size + i * requestLayout.size, values);
  });
  return bytes;
}

/** What was saved, or what is wrong with it. */
function decode(
  bytes: Uint8Array,
): { readonly unanswered: boolean; readonly waiting: readonly Request[] } | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < headLayout.size) return `${bytes.length} bytes`;
  const { unanswered, waiting: count } = headLayout.read(view, 0);
  if (unanswered > 1) return `unanswered is ${unanswered}`;
  if (count > WAITING_MAX) return `${count} requests wait, of ${WAITING_MAX} at most`;
  if (count > 0 && unanswered === 0) return `${count} requests wait for none`;
  const length = headLayout.size + count * requestLayout.size;
  if (bytes.length !== length) return `${bytes.length} bytes where ${length} belong`;
  const waiting = Array.from({ length: count }, (_, i) => {
    const { sequence, word, ...args } = requestLayout.read(view, headLayout.size + i * requestLayout.size);
    return { sequence, word, args: Object.values(args) };
  });
  if (new Set(waiting.map(({ word }) => word)).size < count) return 'a word waits twice';
  return { unanswered: unanswered === 1, waiting };
}

function describe(bytes: Uint8Array): readonly (readonly [string, string])[] {
  const saved = decode(bytes);
  if (typeof saved === 'string') return [['damaged', saved]];
  const hex = (value: number): string => `0x${value.toString(16)}`;
  return [
    ['unanswered', String(saved.unanswered)],
    ...saved.waiting.map(
      ({ sequence, word, args }) => [`waiting${sequence}`, [word, ...args].map(hex).join(' ')] as const,
    ),
  ];
}
