/** Judges a vCPU record from a peer before anything of it is used. */
import type { RegisterInfo } from '../../base/abi/image.js';
import { UNWIND_BYTES } from '../../base/abi/reserved-range.js';
import type { FerryError } from '../../base/errors.js';
import type { VcpuRecord } from '../../migration/ports.js';
import { vmmErrors } from '../errors.js';
import { PIR_WORDS } from '../threads/control-block.js';
import { VECTOR_MIN } from '../threads/signals.js';
import { REGISTER_BYTES } from './registers.js';

/** Bytes at the start of the unwind area that hold its {current, end} and are no part of the saved stack. */
export const UNWIND_HEADER_BYTES = 8;
export const UNWIND_STACK_BYTES_MAX = UNWIND_BYTES - UNWIND_HEADER_BYTES;

const RUN_STATES: readonly unknown[] = ['off', 'running', 'halted', 'crashed'];

/** Throws `vmm/state-refused` unless `record` can be the state of vCPU `index` of an image with these registers. */
export function checkVcpuRecord(
  record: VcpuRecord,
  index: number,
  registers: readonly RegisterInfo[],
): asserts record is VcpuRecord {
  const refuse = (problem: string): FerryError =>
    vmmErrors.error('state-refused', { record: `vCPU ${index}`, problem });
  if (record.index !== index) throw refuse(`it is that of vCPU ${record.index}`);
  if (!RUN_STATES.includes(record.run)) throw refuse(`unknown run state '${String(record.run)}'`);

  const { registers: values, unwind, pir, timerDeadlineNs } = record;
  if (!(values instanceof Uint8Array) || values.length !== registers.length * REGISTER_BYTES) {
    throw refuse(`${values?.length} bytes for ${registers.length} registers of ${REGISTER_BYTES}`);
  }
  registers.forEach(({ name, type }, i) => {
    const unused = type === 'i32' || type === 'f32' ? values.subarray(i * 8 + 4, i * 8 + 8) : [];
    if (unused.some((byte) => byte !== 0)) throw refuse(`register ${name} is wider than its type ${type}`);
  });

  if (!(unwind instanceof Uint8Array) || unwind.length > UNWIND_STACK_BYTES_MAX) {
    throw refuse(`a call stack of ${unwind?.length} bytes, the most is ${UNWIND_STACK_BYTES_MAX}`);
  }
  if (unwind.length % 4 !== 0)
    throw refuse(`a call stack of ${unwind.length} bytes, which are no whole words`);
  if (record.run === 'halted' && unwind.length === 0) throw refuse('halted without a call stack');
  if (record.run === 'off' && unwind.length !== 0) throw refuse('off with a call stack');

  if (!(pir instanceof Uint8Array) || pir.length !== PIR_WORDS * 4) {
    throw refuse(`${pir?.length} bytes of interrupt requests instead of ${PIR_WORDS * 4}`);
  }
  for (let vector = 0; vector < VECTOR_MIN; vector++) {
    if ((pir[vector >>> 3]! & (1 << (vector & 7))) !== 0) {
      throw refuse(`interrupt vector ${vector} does not exist`);
    }
  }
  if (!Number.isFinite(timerDeadlineNs) || (timerDeadlineNs < 0 && timerDeadlineNs !== -1)) {
    throw refuse(`timer deadline ${timerDeadlineNs}`);
  }
}
