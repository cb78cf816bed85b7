/** What the host knows of the guest's network devices. */
import type { IommuFaults } from './iommu.js';

/** Of one device, for monitors. */
export interface PassthroughReport {
  readonly name: string;
  readonly mac: string;
  /** VFIO's device state. */
  readonly state: string;
  readonly link: boolean;
  /** As the function's registers count. */
  readonly counters: Readonly<Record<string, number>>;
  /** Frames that did not reach the guest, by reason, since this machine was made. */
  readonly drops: {
    readonly stopped: number;
    readonly noDescriptor: number;
    /** Packets of the guest that the NIC can't send. */
    readonly malformed: number;
    /** Frames of the guest that the cable had no room for. */
    readonly cable: number;
  };
  readonly faults: IommuFaults;
}
