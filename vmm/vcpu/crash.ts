/**
 * What ends a guest: a trap of its code, or an exception that its code provoked in the engine. Whatever leaves the
 * guest call is turned into a `GuestCrash`; it is reported and never takes the VMM along.
 */

export type CrashKind =
  | 'memory'
  | 'unaligned'
  | 'unreachable'
  | 'arithmetic'
  | 'indirect-call'
  | 'stack'
  | 'unwind-area'
  | 'code'
  | 'host';

/** Plain data: crosses threads. */
export interface GuestCrash {
  readonly vcpu: number;
  readonly kind: CrashKind;
  /** What happened, in words, such as `divide by zero`. */
  readonly reason: string;
  /** The guest's innermost calls, the faulting one first; as many as the engine tells. */
  readonly frames: readonly GuestFrame[];
}

export interface GuestFrame {
  readonly functionIndex: number;
  /** If the code carries names of its own. */
  readonly functionName?: string;
  /** Of the instruction, in bytes from the start of the module. */
  readonly offset: number;
}

/** V8's messages (src/common/message-template.h, kTrap*), first match wins. */
const TRAPS: readonly (readonly [pattern: RegExp, kind: CrashKind, reason: string])[] = [
  [/memory access out of bounds/, 'memory', 'out of bounds access'],
  [/unaligned/, 'unaligned', 'unaligned atomic access'],
  [/unreachable/, 'unreachable', 'reached an unreachable instruction'],
  [/divide by zero|remainder by zero/, 'arithmetic', 'divide by zero'],
  [/divide result unrepresentable/, 'arithmetic', 'division overflow'],
  [/float unrepresentable/, 'arithmetic', 'float does not fit an integer'],
  [/table index|signature mismatch|null function/, 'indirect-call', 'indirect call to no such function'],
  [/call stack/, 'stack', 'call stack overflow'],
];

const FRAME = /at (?:(\S+) \()?wasm:\/\/[^:]*:wasm-function\[(\d+)\]:0x([0-9a-f]+)/g;

/** Classifies whatever was thrown out of the guest call of `vcpu`. */
export function classifyCrash(vcpu: number, thrown: unknown): GuestCrash {
  const error = thrown instanceof Error ? thrown : new Error(String(thrown));
  const frames = [...(error.stack ?? '').matchAll(FRAME)].map(([, functionName, index, offset]) => ({
    functionIndex: Number(index),
    offset: Number.parseInt(offset!, 16),
    ...(functionName === undefined ? {} : { functionName }),
  }));
  const fromEngine = error instanceof WebAssembly.RuntimeError || error instanceof RangeError;
  for (const [pattern, kind, reason] of TRAPS) {
    if (fromEngine && pattern.test(error.message)) return { vcpu, kind, reason, frames };
  }
  return { vcpu, kind: 'host', reason: `${error.name}: ${error.message}`, frames };
}

/** Memory instructions by opcode (WebAssembly core specification, 5.4.7). */
const LOADS = [0x28, 0x35] as const;
const STORES = [0x36, 0x3e] as const;
const PREFIXED = new Map([
  [0xfc, 'bulk memory operation'],
  [0xfd, 'vector access'],
  [0xfe, 'atomic access'],
]);

/** What the toolchain adds to a guest; the guest's own function is the one that called it. */
const ADDED_BY_TOOLCHAIN = /^ferry:/;

/**
 * Names the faulting instruction and function from the code that ran: `out of bounds store` and
 * ` at worker_loop (wasm function 7 +0x94)`. `functionNames` by index, as the image has them.
 */
export function explainCrash(
  { kind, reason: given, frames }: GuestCrash,
  code: Uint8Array | undefined,
  functionNames: readonly string[],
): { readonly reason: string; readonly where: string } {
  const innermost = frames[0];
  if (innermost === undefined) return { reason: given, where: '' };
  let reason = given;
  const opcode = code?.[innermost.offset];
  if (kind === 'memory' && opcode !== undefined) {
    if (opcode >= LOADS[0] && opcode <= LOADS[1]) reason = 'out of bounds load';
    else if (opcode >= STORES[0] && opcode <= STORES[1]) reason = 'out of bounds store';
    else if (PREFIXED.has(opcode)) reason = `out of bounds ${PREFIXED.get(opcode)}`;
  }
  // The image's names are the guest's own; the engine also knows the copies that the toolchain made of functions.
  const nameOf = (frame: GuestFrame): string | undefined =>
    functionNames[frame.functionIndex] ?? frame.functionName;
  const shown = frames.find((frame) => !ADDED_BY_TOOLCHAIN.test(nameOf(frame) ?? '')) ?? innermost;
  const name = nameOf(shown);
  const place = `wasm function ${shown.functionIndex} +0x${shown.offset.toString(16)}`;
  return { reason, where: name ? ` at ${name} (${place})` : ` at ${place}` };
}
