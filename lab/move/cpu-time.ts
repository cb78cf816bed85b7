/** What a move costs in CPU time, of the guest and of the host, phase by phase; from Linux's accounting of threads. */
import { readFileSync } from 'node:fs';
import { isFerryError } from '../../base/errors.js';
import type { Vmm } from '../vmm-client/spawn.js';
import { threadTimes } from '../vmm-client/thread-times.js';

/** CPU time in one phase, nanoseconds. */
export interface CpuTime {
  readonly durationNs: number;
  /** In threads of vCPUs, on both sides. */
  readonly guestNs: number;
  /** In all other threads of both VMMs: device, pages, monitor. */
  readonly hostNs: number;
}

/** As the phases of the network: before the move, until traffic flows again, and after. Undefined elsewhere than on Linux. */
export interface CpuRecord {
  readonly before: CpuTime | undefined;
  readonly move: CpuTime | undefined;
}

/** Of `/proc/PID/stat`: clock ticks of a process, in user and kernel mode. USER_HZ is 100 on all that Node runs on. proc(5) */
const UTIME_FIELD = 13;
const TICK_NS = 1e7;

interface Reading {
  readonly atNs: number;
  /** Of whole processes: threads that have ended count as well. */
  readonly allNs: number;
  readonly guestNs: number;
}

export class CpuMeter {
  readonly #vmms: readonly Vmm[];
  /** By process and by thread, as last read: what has ended keeps what it had then. */
  readonly #processes = new Map<number, number>();
  readonly #vcpus = new Map<number, number>();
  #last: Reading | undefined;

  constructor(vmms: readonly Vmm[]) {
    this.#vmms = vmms;
  }

  /** What was spent since the last time; undefined the first time, and where it can't be read. */
  async phase(): Promise<CpuTime | undefined> {
    const [before, now] = [this.#last, await this.#read()];
    this.#last = now;
    if (before === undefined || now === undefined) return undefined;
    const guestNs = now.guestNs - before.guestNs;
    return {
      durationNs: now.atNs - before.atNs,
      guestNs,
      hostNs: Math.max(0, now.allNs - before.allNs - guestNs),
    };
  }

  async #read(): Promise<Reading | undefined> {
    const atNs = performance.now() * 1e6;
    for (const vmm of this.#vmms) {
      const ns = processTime(vmm.pid);
      if (ns === undefined && !this.#processes.has(vmm.pid)) return undefined;
      if (ns !== undefined) this.#processes.set(vmm.pid, ns);
      const times = threadTimes(vmm.pid);
      for (const { 'thread-id': id } of await vcpusOf(vmm))
        this.#vcpus.set(id, times.get(id) ?? this.#vcpus.get(id) ?? 0);
    }
    return { atNs, allNs: sum(this.#processes), guestNs: sum(this.#vcpus) };
  }
}

/** Of a VMM that ends, as a destination does that nothing came of, none. */
async function vcpusOf(vmm: Vmm): Promise<readonly { readonly 'thread-id': number }[]> {
  try {
    return (await vmm.execute('query-cpus-fast')) as readonly { readonly 'thread-id': number }[];
  } catch (error) {
    if (!isFerryError(error)) throw error;
    return [];
  }
}

const sum = (times: ReadonlyMap<number, number>): number =>
  [...times.values()].reduce((total, ns) => total + ns, 0);

/** CPU time of a process so far, nanoseconds; undefined where nothing tells it. */
function processTime(pid: number): number | undefined {
  try {
    // The second field, the name in parentheses, may have blanks in it.
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '_ _ ')
      .split(' ');
    return (Number(fields[UTIME_FIELD]) + Number(fields[UTIME_FIELD + 1])) * TICK_NS;
  } catch {
    return undefined;
  }
}
