/** The console's registers. Text is printed byte by byte, or from guest RAM, a whole line for two writes. */
import { CONSOLE_BYTES } from '../../base/abi/platform.js';
import { registerTable } from '../../base/registers.js';

export const consoleRegisters = registerTable(
  'console',
  { bytes: CONSOLE_BYTES },
  {
    /** Prints one byte. */
    DATA: { offset: 0x00, width: 8, access: 'wo' },
    /** Guest physical address of the text that a write to LENGTH prints. */
    ADDRESS: { offset: 0x04, width: 32, access: 'rw' },
    /** Prints this many bytes, at most WRITE_BYTES_MAX, from ADDRESS. */
    LENGTH: { offset: 0x08, width: 32, access: 'wo' },
  },
);

/** What one write to LENGTH prints at most; more is cut off. */
export const WRITE_BYTES_MAX = 4096;
