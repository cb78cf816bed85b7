/** The power device's registers. */
import { POWER_BYTES } from '../../base/abi/platform.js';
import { registerTable } from '../../base/registers.js';

export const powerRegisters = registerTable(
  'power',
  { bytes: POWER_BYTES },
  {
    /** What becomes of the machine: one of the POWER_* values; others do nothing. */
    CONTROL: { offset: 0x00, width: 32, access: 'wo' },
    /** Who is interrupted when the power button is pressed; vector 0: nobody, as after power-on. */
    BUTTON: {
      offset: 0x04,
      width: 32,
      access: 'ro',
      fields: { VECTOR: [0, 8, 'rw'], TARGET: [8, 8, 'rw'] },
    },
  },
);

export const POWER_OFF = 1;
export const POWER_RESET = 2;
export const POWER_PANIC = 3;
