/** All that must hold whatever is inflicted on a migration. */
import { boundedTime } from './bounded-time.js';
import type { Checker, Happened } from './happened.js';
import { heals } from './heals.js';
import { networkLedger } from './network-ledger.js';
import { nothingLeft } from './nothing-left.js';
import { oneRunner } from './one-runner.js';
import { sameAtHandOver } from './same-at-hand-over.js';
import { survivorWorks } from './survivor-works.js';
import { typedErrors } from './typed-errors.js';

export const CHECKERS: readonly Checker[] = [
  oneRunner,
  sameAtHandOver,
  networkLedger,
  typedErrors,
  boundedTime,
  survivorWorks,
  heals,
  nothingLeft,
];

export interface Violation {
  readonly checker: string;
  readonly finding: string;
}

/** What any of them finds wrong; nothing if all holds. */
export function violationsOf(happened: Happened): readonly Violation[] {
  return CHECKERS.flatMap(({ name, check }) =>
    check(happened).map((finding) => ({ checker: name, finding })),
  );
}
