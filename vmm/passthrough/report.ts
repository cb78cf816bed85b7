/** What the host knows of the guest's network devices. */
import type { Pool } from '../../devices/nic82599/pool.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
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

/** What a function has counted since its part was reset, as its registers tell it. */
export const countersOf = ({ registers }: Pool): Readonly<Record<string, number>> => ({
  'frames-received': registers.get(reg.GPRC),
  'frames-sent': registers.get(reg.GPTC),
  'multicast-received': registers.get(reg.MPRC),
  'octets-received': registers.get(reg.GORC_LSB) + registers.get(reg.GORC_MSB) * 2 ** 32,
  'octets-sent': registers.get(reg.GOTC_LSB) + registers.get(reg.GOTC_MSB) * 2 ** 32,
});
