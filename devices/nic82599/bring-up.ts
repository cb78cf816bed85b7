/**
 * How far a driver has come with a function since it reset it. No register shows it; it is for the host's eyes, and no part of the
 * device's state.
 */
export const BRING_UP_STEPS = ['function-reset', 'mailbox', 'interrupts', 'transmit', 'receive'] as const;
export type BringUpStep = (typeof BRING_UP_STEPS)[number];

const BIT: Readonly<Record<BringUpStep, number>> = {
  'function-reset': 1,
  mailbox: 2,
  interrupts: 4,
  transmit: 8,
  receive: 16,
};
const AFTER_RESET = BIT.mailbox | BIT.interrupts | BIT.transmit | BIT.receive;

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

  /** It takes a step; only the first time after a reset says something. */
  takes(step: Exclude<BringUpStep, 'function-reset'>): void {
    if ((this.#left & BIT[step]) === 0) return;
    this.#left &= ~BIT[step];
    this.#report(step);
  }
}
