/** Waiting for what a guest does, and what is said of its machines when it does not. */
import { setTimeout as elapsed } from 'node:timers/promises';
import type { MachineEvent } from '../../dist/vmm/machine/events.js';
import type { Machine, MachineQuery } from '../../dist/vmm/machine/machine.js';

/** Shorter than a test's time-out, which ends it without a word. No guest here takes a second where nothing is wrong. */
const PATIENCE_MS = 30_000;
/** Whether a vCPU does anything is looked at for so long. */
const LOOK_MS = 100;
const LINES_SHOWN = 5;

/** Listens to a guest wherever it runs: keeps its lines, and lets a test wait for what it will do. */
export class Watch {
  readonly lines: string[] = [];
  readonly events: MachineEvent[] = [];
  readonly #machines: Machine[] = [];
  readonly #waiting = new Set<() => void>();
  readonly #patienceMs: number;

  constructor(machine: Machine, patienceMs = PATIENCE_MS) {
    this.#patienceMs = patienceMs;
    this.follow(machine);
  }

  /** Listens to `machine` as well: the guest went there. */
  follow(machine: Machine): void {
    this.#machines.push(machine);
    machine.on((event) => {
      this.events.push(event);
      if (event.kind === 'console') this.lines.push(event.line.text);
      for (const look of [...this.#waiting]) look();
    });
  }

  /** Resolves with the first line, of those so far or to come, that matches. */
  line(pattern: RegExp, from = 0): Promise<string> {
    return this.#until(`a line like ${pattern}`, () =>
      this.lines.slice(from).find((line) => pattern.test(line)),
    );
  }

  /** Resolves when there are `count` lines. */
  async count(count: number): Promise<void> {
    await this.#until(`${count} lines`, () => (this.lines.length >= count ? true : undefined));
  }

  event<K extends MachineEvent['kind']>(kind: K): Promise<Extract<MachineEvent, { kind: K }>> {
    return this.#until(
      `the event '${kind}'`,
      () =>
        this.events.find((event) => event.kind === kind) as Extract<MachineEvent, { kind: K }> | undefined,
    );
  }

  #until<T>(what: string, look: () => T | undefined): Promise<T> {
    return new Promise((resolve, reject) => {
      const attempt = (): void => {
        const found = look();
        if (found === undefined) return;
        clearTimeout(patience);
        this.#waiting.delete(attempt);
        resolve(found);
      };
      const patience = setTimeout(() => {
        this.#waiting.delete(attempt);
        void this.#report().then((report) => {
          reject(new Error(`${what} did not come within ${this.#patienceMs / 1000} s\n${report}`));
        }, reject);
      }, this.#patienceMs);
      patience.unref();
      this.#waiting.add(attempt);
      attempt();
    });
  }

  async #report(): Promise<string> {
    const before = this.#machines.map((machine) => machine.query());
    await elapsed(LOOK_MS);
    const machines = this.#machines.map((machine, i) => reportOf(machine, i, before[i]));
    const last = this.lines.slice(-LINES_SHOWN).map((line) => `    ${line}`);
    return [...machines, `  the last of ${this.lines.length} console lines:`, ...last].join('\n');
  }
}

/** What a machine and each of its vCPUs are at, a line for each; `before` is what it was a moment ago. */
export function reportOf(machine: Machine, number: number, before?: MachineQuery): string {
  const { state, guest, clockNs, variant, vcpus } = machine.query();
  const lines = vcpus.map((vcpu, i) => {
    const { exits, interrupts, halts, mmioAccesses } = vcpu.counters;
    const { vector, commands } = vcpu.pending;
    const past = before?.vcpus[i];
    const still = past !== undefined && past.state === vcpu.state && past.counters.exits === exits;
    return [
      `  vCPU ${vcpu.index}: ${vcpu.state}${still ? ` without an exit in ${LOOK_MS} ms` : ''}`,
      ...(vector === 0 ? [] : [`vector 0x${vector.toString(16)} is requested`]),
      ...(commands === 0 ? [] : [`${commands} commands wait`]),
      `${exits} exits, ${interrupts} interrupts, ${halts} halts, ${mmioAccesses} MMIO accesses`,
    ].join('; ');
  });
  const head = `machine ${number}: ${state}, guest ${guest ?? 'none'}, code ${variant ?? 'none'}, clock ${clockNs / 1e6} ms`;
  return [head, ...lines].join('\n');
}
