/** What a QEMU has told of itself from the moment when somebody began to listen, and waiting for what it will. */

import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';
import type { QmpEvent } from '../vmm-client/qmp-client.js';
import type { Linux } from './linux.js';

/** Nobody has that many to tell in one move. */
const EVENTS_MAX = 10_000;

export class Events {
  readonly #linux: Linux;
  readonly #seen: QmpEvent[] = [];
  readonly #waiting = new Set<(event: QmpEvent) => void>();

  constructor(linux: Linux) {
    this.#linux = linux;
    linux.qmp.onEvent((event) => {
      if (this.#seen.length < EVENTS_MAX) this.#seen.push(event);
      for (const heard of [...this.#waiting]) heard(event);
    });
  }

  get seen(): readonly QmpEvent[] {
    return this.#seen;
  }

  /** The first of a name, and of a status where one is said. */
  first(name: string, status?: string): QmpEvent | undefined {
    return this.#seen.find(
      ({ event, data }) => event === name && (status === undefined || data.status === status),
    );
  }

  /** MIGRATION reaches one of these statuses, or has; resolves with which. Rejects with `lab/timeout`, or with how QEMU ended. */
  async reaches(statuses: readonly string[], patienceMs: number): Promise<string> {
    const wanted = ({ event, data }: QmpEvent): boolean =>
      event === 'MIGRATION' && statuses.includes(String(data.status));
    const found =
      this.#seen.find(wanted) ?? (await this.#next(wanted, `migration ${statuses[0]}`, patienceMs));
    return String(found.data.status);
  }

  async #next(wanted: (event: QmpEvent) => boolean, what: string, patienceMs: number): Promise<QmpEvent> {
    let heard: (event: QmpEvent) => void = () => {};
    let cancel = (): void => {};
    try {
      return await new Promise<QmpEvent>((resolve, reject) => {
        heard = (event) => {
          if (wanted(event)) resolve(event);
        };
        this.#waiting.add(heard);
        cancel = afterMs(patienceMs, () =>
          reject(labErrors.error('timeout', { what, waitedMs: patienceMs })),
        );
        void this.#linux.ended.then(reject);
      });
    } finally {
      cancel();
      this.#waiting.delete(heard);
    }
  }
}
