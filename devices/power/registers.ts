/** The power device's one register. */
import { POWER_BYTES } from '../../base/abi/platform.js';
import { registerTable } from '../../base/registers.js';

export const powerRegisters = registerTable(
  'power',
  { bytes: POWER_BYTES },
  {
    /** What becomes of the machine: one of the POWER_* values; others do nothing. */
    CONTROL: { offset: 0x00, width: 32, access: 'wo' },
  },
);

export const POWER_OFF = 1;
export const POWER_RESET = 2;
export const POWER_PANIC = 3;
