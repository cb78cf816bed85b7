/**
 * How far a driver has come with a function since it reset it. No register shows it; it is for the host's eyes, and no part of the
 * device's state.
 */
import { vfRegisters as reg } from './registers.js';

export const BRING_UP_STEPS = ['function-reset', 'mailbox', 'interrupts', 'transmit', 'receive'] as const;
export type BringUpStep = (typeof BRING_UP_STEPS)[number];
type LaterStep = Exclude<BringUpStep, 'function-reset'>;

const BIT: Readonly<Record<LaterStep, number>> = { mailbox: 1, interrupts: 2, transmit: 4, receive: 8 };
const AFTER_RESET = BIT.mailbox | BIT.interrupts | BIT.transmit | BIT.receive;

const everyQueue = (
  register: { readonly offset: number; readonly stride: number; readonly count: number },
  step: LaterStep,
  mask: number,
): (readonly [number, { readonly step: LaterStep; readonly mask: number }])[] =>
  Array.from({ length: register.count }, (_, queue) => [
    register.offset + queue * register.stride,
    { step, mask },
  ]);

/** By the offset that a driver writes: the step that it takes by setting one of the bits of `mask`. */
const STEP_AT: ReadonlyMap<number, { readonly step: LaterStep; readonly mask: number }> =
  /* @__PURE__ */ new Map([
    [reg.MAILBOX.offset, { step: 'mailbox', mask: reg.MAILBOX.fields.REQ.mask }],
    [reg.EIMS.offset, { step: 'interrupts', mask: reg.EIMS.fields.CAUSES.mask }],
    ...everyQueue(reg.TXDCTL, 'transmit', reg.TXDCTL.fields.ENABLE.mask),
    ...everyQueue(reg.RXDCTL, 'receive', reg.RXDCTL.fields.ENABLE.mask),
  ]);

export class BringUp {
  readonly #report: (step: BringUpStep) => void;
  /** Steps that were not taken since the last reset. None is waited for before the first. */
  #left = 0;

  constructor(report: (step: BringUpStep) => void) {
    this.#report = report;
  }

  /** The driver resets the function. */
  begins(): void {
    this.#left = AFTER_RESET;
    this.#report('function-reset');
  }

  /**
   * The function's own driver writes; only the first time after a reset that it takes a step says something. What the physical
   * function's driver writes into the same registers, as when it switches queues on and off after a reset, is none of its steps.
   */
  wrote(offset: number, value: number): void {
    if (this.#left === 0) return;
    const at = STEP_AT.get(offset);
    if (at === undefined || (value & at.mask) === 0 || (this.#left & BIT[at.step]) === 0) return;
    this.#left &= ~BIT[at.step];
    this.#report(at.step);
  }
}
