/** MSI with one vector: what a root port signals its own events with. 7.7.1, 6.1.4 */
import { iovaOf } from '../../base/dma.js';
import type { RegisterFile } from '../../base/registers.js';
import type { Iova } from '../../base/units.js';
import type { Capability, Registers } from './capability.js';
import type { messageSignalledInterrupts } from './registers.js';

export type MsiRegisters = typeof messageSignalledInterrupts extends Capability<infer T> ? T : never;

export interface MsiOwner {
  readonly config: RegisterFile;
  readonly capability: Registers<MsiRegisters>;
  /** Puts a message on the bus; false if the function may not master it now. */
  message(address: Iova, data: number): boolean;
}

export class Msi {
  private readonly owner: MsiOwner;

  constructor(owner: MsiOwner) {
    this.owner = owner;
  }

  get enabled(): boolean {
    const { config, capability } = this.owner;
    return config.getField(capability.CONTROL, capability.CONTROL.fields.ENABLE) === 1;
  }

  trigger(): void {
    if (!this.enabled) return;
    const { config, capability } = this.owner;
    const masked = config.getField(capability.MASK, capability.MASK.fields.VECTOR_0) === 1;
    if (!masked && this.emit()) return;
    config.setField(capability.PENDING, capability.PENDING.fields.VECTOR_0, 1);
  }

  /** Sends a pending message that is no longer held back; to be called when CONTROL or MASK was written. */
  release(): void {
    const { config, capability } = this.owner;
    if (!this.enabled || config.getField(capability.MASK, capability.MASK.fields.VECTOR_0) === 1) return;
    if (config.getField(capability.PENDING, capability.PENDING.fields.VECTOR_0) === 0) return;
    if (this.emit()) config.setField(capability.PENDING, capability.PENDING.fields.VECTOR_0, 0);
  }

  private emit(): boolean {
    const { config, capability } = this.owner;
    const address = iovaOf(config.get(capability.ADDRESS), config.get(capability.ADDRESS_UPPER));
    return this.owner.message(address, config.get(capability.DATA));
  }
}
