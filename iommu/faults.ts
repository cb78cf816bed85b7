/**
 * Primary fault recording (VT-d 7.2 to 7.3): a ring of records, an overflow bit when software is too slow, one event
 * until it has caught up. Whatever a device does, recording is bounded: repeated faults of one source collapse, and
 * nothing is recorded after an overflow until software clears it.
 */
import type { RegisterFile } from '../base/registers.js';
import type { EventInterrupt } from './event.js';
import { isQualified } from './fault-reasons.js';
import { FAULT_RECORDS, reg } from './registers.js';

const status = reg.FSTS.fields;
const low = reg.FRCD_LOW.fields;
const high = reg.FRCD_HIGH.fields;

/** Type of the faulted request: T1, set for reads and atomics. */
export const REQUEST_WRITE = 0;
export const REQUEST_READ = 1;

export class FaultLog {
  /** Record that the next fault goes to. */
  next = 0;
  private readonly registers: RegisterFile<unknown>;
  private readonly event: EventInterrupt;

  constructor(registers: RegisterFile<unknown>, event: EventInterrupt) {
    this.registers = registers;
    this.event = event;
  }

  /**
   * Records a blocked request. `info` is the faulting address (its page is kept) or, for an interrupt, the index of
   * the table entry times 2^48. `pasid` is negative for a request without one; `disabled` is fault-processing-disable.
   */
  record(
    reason: number,
    source: number,
    info: number,
    pasid: number,
    type: number,
    privileged: boolean,
    execute: boolean,
    disabled: boolean,
  ): void {
    if (disabled && isQualified(reason)) return;
    const { registers } = this;
    if (registers.getField(reg.FSTS, status.PFO) === 1 || this.isPendingFor(source)) return;
    const index = this.next;
    const event = !this.hasCause();
    if (registers.getField(reg.FRCD_HIGH, high.F, index) === 1) {
      registers.setField(reg.FSTS, status.PFO, 1);
      if (event) this.event.raise();
      return;
    }
    registers.set(reg.FRCD_LOW, 0, index);
    registers.setField(reg.FRCD_LOW, low.FI, Math.floor(info / 4096) % 2 ** 52, index);
    registers.set(reg.FRCD_HIGH, 0, index);
    const set = (field: (typeof high)[keyof typeof high], value: number): void =>
      registers.setField(reg.FRCD_HIGH, field, value, index);
    set(high.SID, source);
    set(high.FR, reason);
    set(high.T1, type);
    if (pasid >= 0) {
      set(high.PP, 1);
      set(high.PV, pasid);
      set(high.PRIV, privileged ? 1 : 0);
      set(high.EXE, execute ? 1 : 0);
    }
    set(high.F, 1);
    this.next = (index + 1) % FAULT_RECORDS;
    if (registers.getField(reg.FSTS, status.PPF) === 0) {
      registers.setField(reg.FSTS, status.PPF, 1);
      registers.setField(reg.FSTS, status.FRI, index);
      if (event) this.event.raise();
    }
  }

  /** Sets one of the invalidation error bits in FSTS and raises the event, unless a cause stands already. */
  raiseError(field: typeof status.IQE | typeof status.ITE): void {
    const event = !this.hasCause();
    this.registers.setField(reg.FSTS, field, 1);
    if (event) this.event.raise();
  }

  /** After software cleared bits of FSTS or a record's F: PPF follows the records, a moot event is withdrawn. */
  settle(): void {
    let pending = 0;
    for (let i = 0; i < FAULT_RECORDS; i++) pending |= this.registers.getField(reg.FRCD_HIGH, high.F, i);
    this.registers.setField(reg.FSTS, status.PPF, pending);
    if (!this.hasCause()) this.event.withdraw();
  }

  private hasCause(): boolean {
    const { PFO, PPF, IQE, ICE, ITE } = status;
    const causes = PFO.mask | PPF.mask | IQE.mask | ICE.mask | ITE.mask;
    return (this.registers.get(reg.FSTS) & causes) !== 0;
  }

  private isPendingFor(source: number): boolean {
    for (let i = 0; i < FAULT_RECORDS; i++) {
      const record = this.registers;
      if (record.getField(reg.FRCD_HIGH, high.F, i) === 0) continue;
      if (record.getField(reg.FRCD_HIGH, high.SID, i) === source) return true;
    }
    return false;
  }
}
