/** The host's end of a serial port of the guest's, from wherever it is used. */
import type { Cancel } from '../../base/clock.js';

export interface SerialLine {
  /** Whether a program of the guest has opened the port. */
  isOpen(): Promise<boolean>;
  /** Resolves with how many of the bytes the port has taken. */
  write(bytes: Uint8Array): Promise<number>;
  /** Resolves with all that the guest has sent since the last time. */
  read(): Promise<Uint8Array>;
  /** Calls `listener` when the guest has opened or closed the port, sent something or made room, until cancelled. */
  onChange(listener: () => void): Cancel;
}
