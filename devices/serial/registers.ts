/** The registers of the serial ports. A few bytes or a whole buffer cross with two writes, through guest RAM. */
import { SERIAL_BYTES } from '../../base/abi/platform.js';
import { block, registerTable } from '../../base/registers.js';

/** The ports by number, under the names that programs of the guest know them by. */
export const SERIAL_PORTS = ['org.qemu.guest_agent.0', 'org.vf-ferry.guest_agent.0'] as const;
export type SerialPortName = (typeof SERIAL_PORTS)[number];

/** What may wait in each direction of a port. */
export const SERIAL_FIFO_BYTES = 4096;

export const serialRegisters = registerTable(
  'serial',
  { bytes: SERIAL_BYTES },
  block(SERIAL_PORTS.length, 0x40, {
    CONTROL: {
      offset: 0x00,
      width: 32,
      fields: {
        /** A program of the guest has opened the port. */
        OPEN: [0, 1, 'rw'],
        /** The interrupt's; 0: none is sent. */
        VECTOR: [8, 8, 'rw'],
        /** The vCPU that is interrupted. */
        TARGET: [16, 8, 'rw'],
      },
    },
    /** Guest physical address of what a write to SEND sends, or one to RECEIVE stores. */
    ADDRESS: { offset: 0x04, width: 32, access: 'rw' },
    /** Sends this many bytes from ADDRESS, as far as there is ROOM. */
    SEND: { offset: 0x08, width: 32, access: 'wo' },
    /** Stores this many bytes at ADDRESS, as far as they are PENDING. */
    RECEIVE: { offset: 0x0c, width: 32, access: 'wo' },
    PENDING: { offset: 0x10, width: 32, access: 'ro' },
    ROOM: { offset: 0x14, width: 32, access: 'ro' },
  }),
);
