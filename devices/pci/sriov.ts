/**
 * Single Root I/O Virtualization in a physical function: which virtual functions exist, where they are on the bus, and
 * what memory they decode. 9.2, 9.3
 */
import type { RegisterHooks } from '../../base/registers.js';
import type { Registers } from './capability.js';
import { type SriovRegisters, VF_BAR_OFFSET } from './extended-capabilities.js';
import type { BarDecoder, PciFunction } from './function.js';
import { BAR_FLAGS_MEMORY, type BarSpec } from './registers.js';

const PAGE_SIZE_UNIT = 4096;

export interface SriovGeometry {
  readonly totalVfs: number;
  readonly bars: readonly BarSpec[];
  /** First VF Offset and VF Stride, with and without an ARI-capable hierarchy. */
  readonly withAri: { readonly offset: number; readonly stride: number };
  readonly withoutAri: { readonly offset: number; readonly stride: number };
}

export interface SriovOwner {
  readonly fn: PciFunction;
  readonly capability: Registers<SriovRegisters>;
  /** Where the capability starts: VF BARs are found from there. */
  readonly at: number;
  /** VFs 0 to `after - 1` exist now; before, 0 to `before - 1` did. */
  vfsChanged(before: number, after: number): void;
}

export class Sriov {
  private readonly geometry: SriovGeometry;
  private readonly owner: () => SriovOwner;
  private count = 0;

  /** `owner` is asked when needed: hooks exist before the function that they belong to. */
  constructor(geometry: SriovGeometry, owner: () => SriovOwner) {
    this.geometry = geometry;
    this.owner = owner;
  }

  /** Number of virtual functions that exist. */
  get vfCount(): number {
    return this.count;
  }

  /** Hooks for a capability named `key`. */
  hooks(key: string): Readonly<Record<string, RegisterHooks>> {
    const hooks: Record<string, RegisterHooks> = {
      [`${key}.CONTROL`]: { write: (_written, before) => this.controlWritten(before) },
      [`${key}.NUM_VFS`]: { write: (_written, before) => this.numVfsWritten(before) },
      [`${key}.SYSTEM_PAGE_SIZE`]: { write: (written, before) => this.pageSizeWritten(written, before) },
    };
    for (const bar of this.geometry.bars) {
      hooks[`${key}.VF_BAR${bar.index}`] = { write: () => this.barsWritten() };
      if (bar.kind === 'memory64')
        hooks[`${key}.VF_BAR${bar.index + 1}`] = { write: () => this.barsWritten() };
    }
    return hooks;
  }

  /** Routing id of VF `n` relative to its physical function. */
  relativeId(n: number): number {
    const { offset, stride } = this.placement();
    return offset + n * stride;
  }

  /** Bytes of one VF's region of `bar`: its size, or the system page size if that is larger. */
  aperture(bar: BarSpec): number {
    const { fn, capability } = this.owner();
    return Math.max(bar.bytes, fn.config.get(capability.SYSTEM_PAGE_SIZE) * PAGE_SIZE_UNIT);
  }

  /** Decoder of VF `n`; VF MSE of the physical function gates all of them. */
  decoder(n: number): BarDecoder {
    return {
      bars: this.geometry.bars,
      size: (bar) => bar.bytes,
      base: (bar) => {
        const { fn, capability, at } = this.owner();
        if (n >= this.count) return -1;
        if (fn.config.getField(capability.CONTROL, capability.CONTROL.fields.VF_MEMORY) === 0) return -1;
        const word = (at + VF_BAR_OFFSET) / 4 + bar.index;
        const low = (fn.config.words[word]! & ~BAR_FLAGS_MEMORY) >>> 0;
        const high = bar.kind === 'memory64' ? fn.config.words[word + 1]! : 0;
        return high * 2 ** 32 + low + n * this.aperture(bar);
      },
    };
  }

  /** Derives offset, stride and the number of VFs from the registers; after a reset or restore too. */
  refresh(): void {
    const { fn, capability } = this.owner();
    const { offset, stride } = this.placement();
    fn.config.set(capability.FIRST_VF_OFFSET, offset);
    fn.config.set(capability.VF_STRIDE, stride);
    const enabled = fn.config.getField(capability.CONTROL, capability.CONTROL.fields.VF_ENABLE) === 1;
    const wanted = fn.config.get(capability.NUM_VFS);
    // More VFs than there are: VF Enable has no effect.
    const after = enabled && wanted <= this.geometry.totalVfs ? wanted : 0;
    const before = this.count;
    this.count = after;
    if (before !== after) this.owner().vfsChanged(before, after);
    fn.upstream.decodeChanged();
  }

  private placement(): { readonly offset: number; readonly stride: number } {
    const { fn, capability } = this.owner();
    const ari = fn.config.getField(capability.CONTROL, capability.CONTROL.fields.ARI_HIERARCHY) === 1;
    return ari ? this.geometry.withAri : this.geometry.withoutAri;
  }

  /** ARI Capable Hierarchy may change only while VF Enable is clear: VFs don't move. */
  private controlWritten(before: number): void {
    const { fn, capability } = this.owner();
    const { VF_ENABLE, ARI_HIERARCHY } = capability.CONTROL.fields;
    if (VF_ENABLE.get(before) === 1) {
      fn.config.setField(capability.CONTROL, ARI_HIERARCHY, ARI_HIERARCHY.get(before));
    }
    this.refresh();
  }

  /** NumVFs may be written only while VF Enable is clear. */
  private numVfsWritten(before: number): void {
    const { fn, capability } = this.owner();
    if (fn.config.getField(capability.CONTROL, capability.CONTROL.fields.VF_ENABLE) === 1) {
      fn.config.set(capability.NUM_VFS, before);
    }
    this.refresh();
  }

  /** One supported size at a time; anything else leaves it as it was. */
  private pageSizeWritten(written: number, before: number): void {
    const { fn, capability } = this.owner();
    const oneBit = written !== 0 && (written & (written - 1)) === 0;
    if (!oneBit || (written & fn.config.get(capability.SUPPORTED_PAGE_SIZES)) === 0) {
      fn.config.set(capability.SYSTEM_PAGE_SIZE, before);
    }
    this.barsWritten();
  }

  /** Address bits below the aperture read zero, which is how software learns its size. */
  private barsWritten(): void {
    const { fn, at } = this.owner();
    for (const bar of this.geometry.bars) {
      const word = (at + VF_BAR_OFFSET) / 4 + bar.index;
      const below = this.aperture(bar) - 1;
      const value = fn.config.words[word]!;
      fn.config.words[word] = ((value & ~below) | (value & BAR_FLAGS_MEMORY)) >>> 0;
    }
    fn.upstream.decodeChanged();
  }
}
