/** What of the console travels: its registers, the line that has no end yet, and its counter. */
import { layout, u16, u32 } from '../../base/layout.js';
import { consoleRegisters } from './registers.js';

export const CONSOLE_VERSION = 1;

/** A longer line is broken in two. */
export const LINE_BYTES_MAX = 1024;

/** Followed by the registers, then by the bytes of the open line. */
export const consoleState = layout('console_state', {
  /** Writes to LENGTH whose text did not lie in RAM. */
  ignoredWrites: u32(),
  lineBytes: u16(),
  reserved: u16(),
});

export const REGISTERS_BYTES = consoleRegisters.mapped.length * 4;
