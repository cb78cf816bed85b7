/**
 * What a side has done so far and how each of it is undone. A step pushes its inverse before it begins, so that one that
 * fails half-way is undone as well; an inverse must therefore be harmless where its step never took effect.
 */

/** A step that could not be undone, and why. */
export interface UndoFailure {
  readonly step: string;
  readonly cause: unknown;
}

interface Step {
  readonly step: string;
  readonly undo: () => Promise<void> | void;
}

export class UndoStack {
  readonly #steps: Step[] = [];

  /**
   * `step` completes "could not undo": `the pause of the vCPUs`. One that goes on, and is pushed again, is undone once, at
   * its newest place.
   */
  push(step: string, undo: () => Promise<void> | void): void {
    const before = this.#steps.findIndex((other) => other.step === step);
    if (before >= 0) this.#steps.splice(before, 1);
    this.#steps.push({ step, undo });
  }

  /** What was done stays done: from here on there is nothing to take back. */
  forget(): void {
    this.#steps.length = 0;
  }

  /** Undoes everything, newest first, whatever one of it throws. Resolves with what could not be undone; a second call does nothing. */
  async takeBack(): Promise<readonly UndoFailure[]> {
    const failures: UndoFailure[] = [];
    for (let last = this.#steps.pop(); last !== undefined; last = this.#steps.pop()) {
      try {
        await last.undo();
      } catch (cause) {
        failures.push({ step: last.step, cause });
      }
    }
    return failures;
  }
}
