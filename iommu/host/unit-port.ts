/** How the driver reaches the unit: its registers, a dword at a time, and a way to wait for memory to change. */
export interface UnitPort {
  read(offset: number, size: 4): number;
  write(offset: number, size: 4, value: number): void;
}

/**
 * Waits until the word may have changed from `expected`, and says whether to go on waiting. A driver beside the unit
 * in one thread needs none: everything has happened when the register write returns.
 */
export type WaitForWord = (words: Int32Array, index: number, expected: number) => boolean;

export const NEVER_WAIT: WaitForWord = () => false;
