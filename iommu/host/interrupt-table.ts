/** The interrupt-remapping table as the driver keeps it: entries handed out, filled, changed live, taken back. */
import { compose } from '../../base/bits.js';
import { IRTE_BYTES, postedEntry, remappedEntry, SVT_SOURCE_ID } from '../entries.js';
import { iommuErrors } from '../errors.js';
import { requestAddress } from '../interrupt-remapping.js';
import type { VtdDriver } from './driver.js';
import { descriptors } from './queue-client.js';

/** What a device must write to raise the interrupt. */
export interface InterruptMessage {
  readonly address: number;
  readonly data: number;
}

export type InterruptTarget =
  | { readonly kind: 'remapped'; readonly destination: number; readonly vector: number }
  /** `descriptor` is the host address of the vCPU's posted-interrupt descriptor; `vector` is the guest's. */
  | { readonly kind: 'posted'; readonly descriptor: number; readonly vector: number };

const PAGE = 4096;
const INTERRUPT_BASE = 0xfee0_0000;

export class InterruptTable {
  private readonly driver: VtdDriver;
  private readonly table: number;
  private readonly free: number[];

  /** Allocates the table, `entries` a power of two from 256 to 65536, and turns interrupt remapping on. */
  constructor(driver: VtdDriver, entries = 256) {
    this.driver = driver;
    this.table = driver.pages.take((entries * IRTE_BYTES) / PAGE);
    this.free = Array.from({ length: entries }, (_, i) => entries - 1 - i);
    driver.enableInterruptRemapping(this.table, entries);
  }

  /** An entry that leads nowhere until it is given a target. Throws `iommu/refused` (ENOSPC) when none is left. */
  reserve(): number {
    const index = this.free.pop();
    if (index === undefined) {
      const problem = 'the interrupt-remapping table is full';
      throw iommuErrors.error('refused', { operation: 'interrupt allocation', errno: 'ENOSPC', problem });
    }
    return index;
  }

  /** An entry for `source` alone. Throws as `reserve` does. */
  allocate(source: number, target: InterruptTarget): number {
    const index = this.reserve();
    this.fill(index, source, target);
    return index;
  }

  /** Changes where an interrupt goes; when it returns the old target is not used any more. */
  retarget(index: number, source: number, target: InterruptTarget): void {
    this.clear(index);
    this.fill(index, source, target);
  }

  release(index: number): void {
    this.clear(index);
    this.free.push(index);
  }

  /** The message for entry `index`, with the index whole in the address. */
  message(index: number): InterruptMessage {
    const [address] = compose(requestAddress, 1, {
      FORMAT: 1,
      HANDLE_LOW: index & 0x7fff,
      HANDLE_HIGH: index >>> 15,
    });
    return { address: INTERRUPT_BASE + address!, data: 0 };
  }

  private fill(index: number, source: number, target: InterruptTarget): void {
    const verify = { P: 1, SID: source, SVT: SVT_SOURCE_ID, VECTOR: target.vector };
    const words =
      target.kind === 'remapped'
        ? compose(remappedEntry, 4, { ...verify, DST: target.destination * 2 ** 8 })
        : compose(postedEntry, 4, {
            ...verify,
            IM: 1,
            PDA_LOW: (target.descriptor % 2 ** 32) / 64,
            PDA_HIGH: Math.floor(target.descriptor / 2 ** 32),
          });
    const { region } = this.driver.pages;
    const at = region.index(this.table + index * IRTE_BYTES);
    // The word with the present bit comes last.
    for (let i = 3; i >= 0; i--) Atomics.store(region.words, at + i, words[i]! | 0);
  }

  private clear(index: number): void {
    const { region } = this.driver.pages;
    Atomics.store(region.words, region.index(this.table + index * IRTE_BYTES), 0);
    this.driver.queue.submit(descriptors.interruptEntry(index));
  }
}
