/**
 * The local APIC's page as a vCPU sees it: its id, and the Interrupt Command Register by which it sends interrupts to
 * the others (Intel SDM vol. 3, 11.6.1). Interrupts come in through the posted-interrupt descriptor, so there is no
 * IRR or ISR here, and EOI has nothing to do.
 */
import {
  ICR_MODE_FIXED,
  ICR_MODE_STARTUP,
  ICR_SHORTHAND_OTHERS,
  LAPIC_ICR_HIGH,
  LAPIC_ICR_LOW,
} from '../../base/abi/platform.js';

const LAPIC_ID = 0x20;
const LAPIC_VERSION = 0x30;
/** Integrated APIC, 1 LVT entry (the timer). */
const VERSION = 0x14;

const ICR_VECTOR = 0xff;
const ICR_MODE_SHIFT = 8;
const ICR_MODE_MASK = 7;
const ICR_SHORTHAND_SHIFT = 18;
const ICR_SHORTHAND_MASK = 3;
const ICR_SHORTHAND_SELF = 1;
const ICR_SHORTHAND_ALL = 2;
const ICR_DESTINATION_SHIFT = 24;
/** Destination of all ones: every local APIC. */
const DESTINATION_BROADCAST = 0xff;

export interface IpiPort {
  /** Posts `vector` to vCPU `target`; both are in range. */
  post(target: number, vector: number): void;
  startVcpu(target: number): void;
}

export class Lapic {
  /** ICR bits 63:32; written before the low half. Both are registers: they keep what was written, and travel. */
  icrHigh = 0;
  icrLow = 0;
  readonly #index: number;
  readonly #vcpus: number;
  readonly #ipi: IpiPort;

  constructor(index: number, vcpus: number, ipi: IpiPort) {
    this.#index = index;
    this.#vcpus = vcpus;
    this.#ipi = ipi;
  }

  read(offset: number): number {
    if (offset === LAPIC_ID) return (this.#index << ICR_DESTINATION_SHIFT) >>> 0;
    if (offset === LAPIC_VERSION) return VERSION;
    if (offset === LAPIC_ICR_LOW) return this.icrLow >>> 0;
    if (offset === LAPIC_ICR_HIGH) return this.icrHigh >>> 0;
    return 0;
  }

  write(offset: number, value: number): void {
    if (offset === LAPIC_ICR_HIGH) this.icrHigh = value | 0;
    else if (offset === LAPIC_ICR_LOW) this.#send(value);
  }

  #send(low: number): void {
    this.icrLow = low | 0;
    const mode = (low >>> ICR_MODE_SHIFT) & ICR_MODE_MASK;
    const shorthand = (low >>> ICR_SHORTHAND_SHIFT) & ICR_SHORTHAND_MASK;
    const destination = this.icrHigh >>> ICR_DESTINATION_SHIFT;
    for (let target = 0; target < this.#vcpus; target++) {
      const self = target === this.#index;
      const addressed =
        shorthand === ICR_SHORTHAND_SELF
          ? self
          : shorthand === ICR_SHORTHAND_ALL
            ? true
            : shorthand === ICR_SHORTHAND_OTHERS
              ? !self
              : destination === target || destination === DESTINATION_BROADCAST;
      if (!addressed) continue;
      if (mode === ICR_MODE_FIXED) this.#ipi.post(target, low & ICR_VECTOR);
      else if (mode === ICR_MODE_STARTUP && !self) this.#ipi.startVcpu(target);
    }
  }
}
