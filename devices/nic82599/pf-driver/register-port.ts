/** How the physical function's driver reaches its device: registers by offset, and nothing else. */
import type { Register } from '../../../base/registers.js';
import { POOLS } from '../pf-registers.js';
import { poolViews } from '../views.js';

export interface RegisterPort {
  read(offset: number): number;
  write(offset: number, value: number): void;
}

export const offsetOf = (register: Register<unknown>, index = 0): number =>
  register.offset + index * register.stride;

/** Where the physical function sees the register at `target` of pool `pool`'s file. */
export function poolOffset(target: number, pool: number): number {
  const view = poolViews.find(
    (v) => v.target === target && pool >= v.firstPool && pool < v.firstPool + v.pools,
  );
  return view!.offset + (pool - view!.firstPool) * view!.stride;
}

/** Which of two words of a set of pools holds `pool`. */
export const poolHalf = (pool: number): 0 | 1 => (pool < POOLS / 2 ? 0 : 1);

/** The bit of `pool` in the low (0) or high (1) word of a set of pools. */
export const poolBit = (pool: number, half: 0 | 1): number =>
  poolHalf(pool) === half ? (1 << (pool % (POOLS / 2))) >>> 0 : 0;

/** Clears, then sets, bits of a register. */
export function change(port: RegisterPort, offset: number, clear: number, set: number): void {
  port.write(offset, ((port.read(offset) & ~clear) | set) >>> 0);
}
