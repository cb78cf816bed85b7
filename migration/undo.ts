/**
 * What a side has done so far and how each of it is undone. A step pushes its inverse before it begins, so that one that
 * fails half-way is undone as well; an inverse must therefore be harmless where its step never took effect.
 */

export interface Inverse {
  /** Completes "could not undo": `the pause of the vCPUs`. */
  readonly step: string;
  readonly undo: () => Promise<void> | void;
}

/** A step that could not be undone, and why. */
export interface UndoFailure {
  readonly step: string;
  readonly cause: unknown;
}

export class UndoStack {
  /** Those of one group run beside each other. */
  #groups: (readonly Inverse[])[] = [];

  /** A step that goes on, and is pushed again, is undone once, at its newest place. */
  push(step: string, undo: () => Promise<void> | void): void {
    this.pushAll([{ step, undo }]);
  }

  /** Steps that were taken beside each other, and are undone so. */
  pushAll(inverses: readonly Inverse[]): void {
    const again = new Set(inverses.map(({ step }) => step));
    const before = this.#groups.map((group) => group.filter(({ step }) => !again.has(step)));
    this.#groups = [...before, inverses];
  }

  /** What was done stays done: from here on there is nothing to take back. */
  forget(): void {
    this.#groups = [];
  }

  /** Undoes everything, newest first, whatever one of it throws. Resolves with what could not be undone; a second call does nothing. */
  async takeBack(): Promise<readonly UndoFailure[]> {
    const failures: UndoFailure[] = [];
    for (let group = this.#groups.pop(); group !== undefined; group = this.#groups.pop()) {
      const results = await Promise.allSettled(group.map(async ({ undo }) => undo()));
      results.forEach((result, i) => {
        if (result.status === 'rejected') failures.push({ step: group[i]!.step, cause: result.reason });
      });
    }
    return failures;
  }
}
