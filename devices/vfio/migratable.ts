/** What VFIO's migration needs of a device. */
import type { Activity } from './states.js';
import type { DeviceIdentity, MigrationSection } from './stream.js';

export interface DeviceSection extends MigrationSection {
  /** Changes seldom while the device runs, so that it is worth sending before the device stops. */
  readonly early: boolean;
}

export interface MigratableDevice {
  readonly name: string;
  /** What another device must share with this one to go on in its place. Names have at most 24 characters. */
  readonly identity: DeviceIdentity;
  /**
   * `quiesced`: starts no DMA, but goes on otherwise. `stopped`: no DMA, no interrupts, no change from inside; registers
   * are still answered, and doorbells kept. In effect when this returns; asking for what is already so is harmless.
   */
  setActivity(activity: Activity): void;
  /** The complete state now: always the same sections in the same order. Synchronous, and fast enough to be asked often. */
  save(): readonly DeviceSection[];
  /**
   * What a section says against the device here, as soon as it arrives: what can't go on is refused while the guest
   * still runs where it was. `restore` judges again.
   */
  judge?(section: MigrationSection): string | undefined;
  /** Takes over all sections of `save`; throws a FerryError naming the section and changes nothing if it can't. */
  restore(sections: readonly MigrationSection[]): void;
  /** As after power-on; what it does stays as set by `setActivity`. */
  reset(): void;
}
