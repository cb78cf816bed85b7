/**
 * MSI-X: the table and pending bits of one function in its BAR, and when a message leaves. 7.7.2, 6.1.4
 *
 * A message that is triggered while its entry or the whole function is masked, or while the function may not master
 * the bus, is remembered in its pending bit and leaves when that ends.
 */
import { iovaOf } from '../../base/dma.js';
import { memoized } from '../../base/memo.js';
import { block, RegisterFile, type RegisterTable, registerTable } from '../../base/registers.js';
import type { Iova } from '../../base/units.js';
import type { Registers } from './capability.js';
import type { MsixPlace, MsixRegisters } from './registers.js';

const ENTRY_BYTES = 16;

/** Declares the BAR window that holds the table and the pending bits. */
export const msixWindow = (name: string, bytes: number, place: MsixPlace) => windowOf({ name, bytes, place });

const windowOf = /* @__PURE__ */ memoized(
  ({ name, bytes, place }: { readonly name: string; readonly bytes: number; readonly place: MsixPlace }) =>
    registerTable(
      name,
      { bytes, sizes: [4] },
      {
        ...block(place.vectors, ENTRY_BYTES, {
          ADDRESS: {
            offset: place.tableOffset,
            width: 32,
            spec: '7.7.2.6',
            fields: { ADDRESS: [2, 30, 'rw'] },
          },
          ADDRESS_UPPER: { offset: place.tableOffset + 4, width: 32, access: 'rw', spec: '7.7.2.7' },
          DATA: { offset: place.tableOffset + 8, width: 32, access: 'rw', spec: '7.7.2.8' },
          CONTROL: {
            offset: place.tableOffset + 12,
            width: 32,
            reset: 1,
            spec: '7.7.2.9',
            fields: { MASK: [0, 1, 'rw'] },
          },
        }),
        PENDING: {
          offset: place.pendingOffset,
          width: 32,
          access: 'ro',
          count: Math.ceil(place.vectors / 64) * 2,
          spec: '7.7.2.10',
        },
      },
    ),
);

export type MsixWindow = ReturnType<typeof msixWindow>;
type WindowSpecs = MsixWindow extends RegisterTable<infer T> ? T : never;

export interface MsixOwner {
  /** The function's configuration space. */
  readonly config: RegisterFile;
  readonly capability: Registers<MsixRegisters>;
  /** Puts a message on the bus; false if the function may not master it now. */
  message(address: Iova, data: number): boolean;
  /** A message has left: at once, or after it was pending. */
  sent(vector: number): void;
}

export class Msix {
  readonly window: RegisterFile<WindowSpecs>;
  readonly vectors: number;
  private readonly owner: MsixOwner;
  private readonly reg: MsixWindow['reg'];

  constructor(table: MsixWindow, owner: MsixOwner) {
    this.owner = owner;
    this.reg = table.reg;
    this.vectors = table.reg.CONTROL.count;
    this.window = new RegisterFile(table, {
      CONTROL: { write: (_written, _before, vector) => this.release(vector) },
    });
  }

  get enabled(): boolean {
    const { config, capability } = this.owner;
    return config.getField(capability.CONTROL, capability.CONTROL.fields.ENABLE) === 1;
  }

  /** Requests the message of `vector`. One beyond the table, as a guest may program it, is dropped. */
  trigger(vector: number): void {
    if (vector >= this.vectors || !this.enabled) return;
    if (!this.isMasked(vector) && this.emit(vector)) return;
    this.setPending(vector, true);
  }

  isPending(vector: number): boolean {
    return (this.window.get(this.reg.PENDING, vector >>> 5) & (1 << (vector & 31))) !== 0;
  }

  isMasked(vector: number): boolean {
    const { config, capability } = this.owner;
    return (
      config.getField(capability.CONTROL, capability.CONTROL.fields.FUNCTION_MASK) === 1 ||
      this.window.getField(this.reg.CONTROL, this.reg.CONTROL.fields.MASK, vector) === 1
    );
  }

  /** Sends what is pending and no longer held back; called when anything that holds back may have ended. */
  releaseAll(): void {
    for (let vector = 0; vector < this.vectors; vector++) this.release(vector);
  }

  reset(): void {
    this.window.reset('function');
  }

  private release(vector: number): void {
    if (!this.isPending(vector) || !this.enabled || this.isMasked(vector)) return;
    // Cleared first: sending may lead to the same vector being triggered again.
    this.setPending(vector, false);
    if (!this.emit(vector)) this.setPending(vector, true);
  }

  private emit(vector: number): boolean {
    const { window, reg } = this;
    const address = iovaOf(window.get(reg.ADDRESS, vector), window.get(reg.ADDRESS_UPPER, vector));
    if (!this.owner.message(address, window.get(reg.DATA, vector))) return false;
    this.owner.sent(vector);
    return true;
  }

  private setPending(vector: number, pending: boolean): void {
    const index = vector >>> 5;
    const bit = 1 << (vector & 31);
    const before = this.window.get(this.reg.PENDING, index);
    this.window.set(this.reg.PENDING, (pending ? before | bit : before & ~bit) >>> 0, index);
  }
}
