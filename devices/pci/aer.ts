/**
 * Advanced Error Reporting of one function: status, header log, and which message goes up. 6.2, 7.8.4
 */
import type { BitField } from '../../base/bits.js';
import type { Registers } from './capability.js';
import type { AerRegisters } from './extended-capabilities.js';
import type { ErrorSeverity, PciFunction } from './function.js';
import type { PcieRegisters } from './pcie-capability.js';

/** The first four dwords of the request that went wrong: byte 0 of the header in bits 31:24 of the first. */
export type TlpHeader = readonly [number, number, number, number];

const NO_HEADER: TlpHeader = [0, 0, 0, 0];

/** A function with the registers that error reporting works on. */
export interface ErrorRegisters {
  readonly fn: PciFunction;
  readonly aer: Registers<AerRegisters>;
  readonly pcie: Registers<PcieRegisters>;
}

export class AerReporter {
  private readonly own: ErrorRegisters;
  /** Whose masks, severities and enables apply: for a virtual function the physical function's. */
  private readonly governor: ErrorRegisters;

  constructor(own: ErrorRegisters, governor: ErrorRegisters = own) {
    this.own = own;
    this.governor = governor;
  }

  /** Fields of the uncorrectable status register, to name an error by. */
  get errors(): Registers<AerRegisters>['UNCORRECTABLE_STATUS']['fields'] {
    return this.own.aer.UNCORRECTABLE_STATUS.fields;
  }

  get correctableErrors(): Registers<AerRegisters>['CORRECTABLE_STATUS']['fields'] {
    return this.own.aer.CORRECTABLE_STATUS.fields;
  }

  /** Whether software has set an uncorrectable error, named by its field in `errors`, to be fatal. */
  isFatal(error: BitField): boolean {
    const { fn, aer } = this.governor;
    return (fn.config.get(aer.UNCORRECTABLE_SEVERITY) & error.mask) !== 0;
  }

  /**
   * An uncorrectable error, named by its field in `errors`. `advisory` is for those that a receiver with role-based
   * reporting signals as correctable when they are not fatal (6.2.3.2.4). True if a message went up for it.
   */
  uncorrectable(error: BitField, header: TlpHeader = NO_HEADER, advisory = false): boolean {
    const { governor } = this;
    const { fn, aer, pcie } = this.own;
    const { DEVICE_STATUS } = pcie;
    const fatal = this.isFatal(error);
    const masked = (governor.fn.config.get(governor.aer.UNCORRECTABLE_MASK) & error.mask) !== 0;
    const unsupported = error.mask === aer.UNCORRECTABLE_STATUS.fields.UNSUPPORTED_REQUEST.mask;
    if (unsupported) fn.config.setField(DEVICE_STATUS, DEVICE_STATUS.fields.UNSUPPORTED, 1);

    const before = fn.config.get(aer.UNCORRECTABLE_STATUS);
    fn.config.set(aer.UNCORRECTABLE_STATUS, (before | error.mask) >>> 0);
    if (advisory && !fatal) {
      if (!masked) this.log(error, before, header);
      return this.correctable(aer.CORRECTABLE_STATUS.fields.ADVISORY);
    }
    const { FATAL, NONFATAL } = DEVICE_STATUS.fields;
    fn.config.setField(DEVICE_STATUS, fatal ? FATAL : NONFATAL, 1);
    if (masked) return false;
    this.log(error, before, header);
    const { DEVICE_CONTROL } = governor.pcie;
    const enables = DEVICE_CONTROL.fields;
    const enabled = (field: BitField): boolean => governor.fn.config.getField(DEVICE_CONTROL, field) === 1;
    const serr = governor.fn.config.getField(
      governor.fn.layout.header.COMMAND,
      governor.fn.layout.header.COMMAND.fields.SERR,
    );
    const reported = fatal
      ? enabled(enables.FATAL_ENABLE)
      : enabled(enables.NONFATAL_ENABLE) && (!unsupported || enabled(enables.UNSUPPORTED_ENABLE));
    if (!reported && serr === 0) return false;
    const { STATUS } = fn.layout.header;
    if (serr === 1) fn.config.setField(STATUS, STATUS.fields.SIGNALLED_SYSTEM_ERROR, 1);
    this.send(fatal ? 'fatal' : 'nonfatal');
    return true;
  }

  /** A correctable error, named by its field in `correctableErrors`. True if a message went up for it. */
  correctable(error: BitField): boolean {
    const { governor } = this;
    const { fn, aer, pcie } = this.own;
    const { DEVICE_STATUS } = pcie;
    fn.config.setField(DEVICE_STATUS, DEVICE_STATUS.fields.CORRECTABLE, 1);
    fn.config.set(aer.CORRECTABLE_STATUS, (fn.config.get(aer.CORRECTABLE_STATUS) | error.mask) >>> 0);
    if ((governor.fn.config.get(governor.aer.CORRECTABLE_MASK) & error.mask) !== 0) return false;
    const { DEVICE_CONTROL } = governor.pcie;
    if (governor.fn.config.getField(DEVICE_CONTROL, DEVICE_CONTROL.fields.CORRECTABLE_ENABLE) === 0)
      return false;
    this.send('correctable');
    return true;
  }

  /** The log belongs to the first error until software clears that error's status. */
  private log(error: BitField, statusBefore: number, header: TlpHeader): void {
    const { fn, aer } = this.own;
    const { FIRST_ERROR } = aer.CONTROL.fields;
    const first = fn.config.getField(aer.CONTROL, FIRST_ERROR);
    const unmasked = ~this.governor.fn.config.get(this.governor.aer.UNCORRECTABLE_MASK);
    if ((statusBefore & unmasked & (1 << first)) !== 0) return;
    fn.config.setField(aer.CONTROL, FIRST_ERROR, error.shift);
    for (let i = 0; i < header.length; i++) fn.config.set(aer.HEADER_LOG, header[i]! >>> 0, i);
  }

  private send(severity: ErrorSeverity): void {
    this.own.fn.upstream.errorMessage(severity, this.own.fn.routingId);
  }
}

/** Header of a 32-bit or 64-bit memory request, for error logs. 2.2.4, 2.2.7 */
export function memoryRequestHeader(
  write: boolean,
  requester: number,
  addressLow: number,
  addressHigh: number,
  lengthBytes: number,
): TlpHeader {
  const wide = addressHigh !== 0;
  const format = (write ? 2 : 0) | (wide ? 1 : 0);
  const dwords = Math.max(1, (lengthBytes + 3) >>> 2) & 0x3ff;
  const first = ((format << 29) | dwords) >>> 0;
  const second = (((requester & 0xffff) << 16) | 0xff) >>> 0;
  const low = (addressLow & ~3) >>> 0;
  return wide ? [first, second, addressHigh >>> 0, low] : [first, second, low, 0];
}
