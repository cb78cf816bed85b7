/**
 * Registers of a virtual function, read out before a reset and written into another: by the accesses that its own driver has,
 * in the order that the part asks for. 82599 datasheet, 4.6.7, 4.6.8
 *
 * What no access changes can't be put back: counters, the transmit contexts that were loaded, how much of a packet was sent,
 * how long an interrupt still waits. Heads can, because a queue takes them while it is off.
 */

import { pfRegisters } from './pf-registers.js';
import type { Pool } from './pool.js';
import { vfRegisters as reg } from './registers.js';

const BYTES = 4;

type Named = (typeof reg)['RDBAL' | 'MBMEM' | 'CTRL'];

const each = (register: { offset: number; stride: number }, count: number): readonly number[] =>
  Array.from({ length: count }, (_, i) => register.offset + i * register.stride);
const all = (register: Named): readonly number[] => each(register, register.count);

/** Offsets, in the order of writing: what may be set while the queues are off, */
const SETTINGS: readonly number[] = [
  ...[reg.PSRTYPE, reg.IVAR, reg.IVAR_MISC, reg.EITR, reg.EIAC, reg.EIAM, reg.MBMEM].flatMap(all),
  ...[reg.RDBAL, reg.RDBAH, reg.RDLEN, reg.DCA_RXCTRL, reg.SRRCTL, reg.RSCCTL, reg.RDH].flatMap(all),
  ...[reg.TDBAL, reg.TDBAH, reg.TDLEN, reg.DCA_TXCTRL, reg.TDWBAL, reg.TDWBAH, reg.TDH].flatMap(all),
];
/** the switches of the queues, */
const SWITCHES: readonly number[] = [reg.RXDCTL, reg.TXDCTL].flatMap(all);
/** and what has a queue begin. */
const TAILS: readonly number[] = [reg.RDT, reg.TDT].flatMap(all);
/** Reading these clears them, and none is written as it was read. */
const EVENTS: readonly number[] = [reg.EIMS.offset, reg.EICR.offset, reg.MAILBOX.offset];

const OFFSETS: readonly number[] = [...SETTINGS, ...SWITCHES, ...TAILS, ...EVENTS];

/** Little-endian, four bytes each. Events are gone from the function then, which is about to be reset. */
export function readRegisters(pool: Pool): Uint8Array {
  const bytes = new Uint8Array(OFFSETS.length * BYTES);
  const view = new DataView(bytes.buffer);
  for (const [i, offset] of OFFSETS.entries()) view.setUint32(i * BYTES, pool.read(offset, BYTES), true);
  return bytes;
}

/** Into a function that was reset. Returns what is wrong with the bytes; then nothing was written. */
export function writeRegisters(pool: Pool, bytes: Uint8Array): string | undefined {
  if (bytes.length !== OFFSETS.length * BYTES) {
    return `${bytes.length} bytes of registers where ${OFFSETS.length * BYTES} belong`;
  }
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const values = new Map(OFFSETS.map((offset, i) => [offset, view.getUint32(i * BYTES, true)]));
  const write = (offset: number): void => pool.write(offset, BYTES, values.get(offset)!);
  // A reset of the function alone leaves them on.
  for (const offset of SWITCHES) pool.write(offset, BYTES, 0);
  for (const offset of [...SETTINGS, ...SWITCHES, ...TAILS]) write(offset);
  // Read to be cleared: that the physical function here was reset once is nothing that the driver has to hear of.
  pool.read(reg.MAILBOX.offset, BYTES);
  const mailbox = values.get(reg.MAILBOX.offset)!;
  pool.write(reg.MAILBOX.offset, BYTES, mailbox & reg.MAILBOX.fields.VFU.mask);
  raiseFromPhysicalFunction(pool, mailbox);
  pool.write(reg.EICS.offset, BYTES, values.get(reg.EICR.offset)!);
  write(reg.EIMS.offset);
  return undefined;
}

/** An answer that the driver has not seen yet stands for it: only the other side can say so. */
function raiseFromPhysicalFunction(pool: Pool, mailbox: number): void {
  const { PFSTS, PFACK } = reg.MAILBOX.fields;
  const { STS, ACK } = pfRegisters.MAILBOX.fields;
  const events = STS.set(ACK.set(0, PFACK.get(mailbox)), PFSTS.get(mailbox));
  if (events !== 0) pool.mailbox.physicalFunctionWrote(events);
}
