/** What of the serial ports travels: how much is on its way, the registers, and then those bytes. */
import { layout, u32 } from '../../base/layout.js';
import { SERIAL_PORTS, serialRegisters } from './registers.js';

export const SERIAL_VERSION = 1;

/** Of each port, in their order; the bytes come in the same order behind the registers. */
export const serialFifoState = layout('serial_fifo_state', { fromHost: u32(), toHost: u32() });

/** Where the bytes begin. */
export const FIFOS_AT = SERIAL_PORTS.length * serialFifoState.size + serialRegisters.mapped.length * 4;
