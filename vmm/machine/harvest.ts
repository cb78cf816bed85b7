/** Harvesting the dirty log: every vCPU publishes its own, and host writes are merged in. */
import { AtomicBitmap, popCount } from '../../base/bitmap.js';
import { invariant } from '../../base/errors.js';
import { nanoseconds } from '../../base/units.js';
import type { HarvestReport } from '../../migration/ports.js';
import type { VcpuHandle } from '../vcpu/handle.js';

export class Harvester {
  readonly #vcpus: readonly VcpuHandle[];
  readonly #deviceLog: AtomicBitmap;
  /** What the vCPUs published in this harvest; empty in between. */
  readonly #published: AtomicBitmap;
  /** Pages that the host or a device wrote, over all harvests since `clear`. */
  readonly deviceDirtied: AtomicBitmap;
  #busy = false;

  constructor(vcpus: readonly VcpuHandle[], deviceLog: AtomicBitmap) {
    this.#vcpus = vcpus;
    this.#deviceLog = deviceLog;
    this.#published = new AtomicBitmap(deviceLog.length);
    this.deviceDirtied = new AtomicBitmap(deviceLog.length);
  }

  /** Forgets what host writes marked so far. */
  clear(): void {
    this.#deviceLog.clear();
    this.deviceDirtied.clear();
  }

  async harvest(into: AtomicBitmap): Promise<HarvestReport> {
    invariant(into.length === this.#deviceLog.length, 'one bit for each page that migrates');
    invariant(!this.#busy, 'one harvest at a time');
    this.#busy = true;
    try {
      const answers = await Promise.all(this.#vcpus.map((vcpu) => vcpu.publish(this.#published)));
      const cost = nanoseconds(answers.reduce((sum, { costNs }) => sum + costNs, 0));
      return { ...this.#merge(into), cost };
    } finally {
      this.#busy = false;
    }
  }

  #merge(into: AtomicBitmap): Omit<HarvestReport, 'cost'> {
    let cpuPages = 0;
    let devicePages = 0;
    let bothPages = 0;
    const [published, written] = [this.#published.words, this.#deviceLog.words];
    for (let i = 0; i < into.words.length; i++) {
      // A plain look first, because most words are empty. What it misses of a write of this moment, the next harvest finds.
      if ((published[i]! | written[i]!) === 0) continue;
      const cpu = this.#take(this.#published, i);
      const device = this.#take(this.#deviceLog, i);
      this.deviceDirtied.words[i]! |= device;
      const added = (cpu | device) & ~Atomics.or(into.words, i, cpu | device);
      cpuPages += popCount(added & ~device);
      devicePages += popCount(added & ~cpu);
      bothPages += popCount(added & cpu & device);
    }
    return { cpuPages, devicePages, bothPages };
  }

  #take(bitmap: AtomicBitmap, word: number): number {
    return Atomics.load(bitmap.words, word) === 0 ? 0 : bitmap.exchangeWord(word);
  }
}
