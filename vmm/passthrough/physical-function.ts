/** The physical function at work: what a host's kernel and its driver do with it before any virtual one is given away. */
import type { Scheduler } from '../../base/clock.js';
import type { Nic82599 } from '../../devices/nic82599/device.js';
import { PF_MSIX_BAR, pfLayout, pfMsixWindow } from '../../devices/nic82599/functions.js';
import { PfDriver } from '../../devices/nic82599/pf-driver/driver.js';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import type { GuestMessage } from '../../devices/pci/assigned-backend.js';

/** The host's BARs lie in the host's address space, which no guest sees. */
export const HOST_BARS = { base: 0xf000_0000, bytes: 0x0e00_0000 };
/** Below the first port of the host. */
export const HOST_NIC_BUS = 1;
const PF_STATION: MacAddress = [0x00, 0x1b, 0x21, 0x00, 0x00, 0x01];
/** Its own address. */
export const PF_MAC = Uint8Array.from(PF_STATION);

export interface PhysicalFunctionOptions {
  readonly scheduler: Scheduler;
  /** Its interrupt, which is to end in the driver's `interrupt`. */
  readonly message: GuestMessage;
  /** What the administrator decided for each virtual function. */
  readonly vfs: readonly Partial<VfPolicy>[];
  /** Largest frame of the host itself, FCS included. */
  readonly frameBytesMax?: number;
  /** The driver of a virtual function has changed which frames it lets in. */
  readonly filterChanged?: (vf: number) => void;
}

/** Starts the driver of a NIC that was made with PF_MAC: as a host's kernel does it, the interrupt first. */
export function startPhysicalFunction(
  nic: Nic82599,
  { scheduler, message: { address, data }, vfs, frameBytesMax, filterChanged }: PhysicalFunctionOptions,
): PfDriver {
  const { pf } = nic;
  const { ADDRESS, ADDRESS_UPPER, DATA, CONTROL } = pfMsixWindow.reg;
  pf.fn.behaviour.writeBar(PF_MSIX_BAR, ADDRESS.offset, 4, address);
  pf.fn.behaviour.writeBar(PF_MSIX_BAR, ADDRESS_UPPER.offset, 4, 0);
  pf.fn.behaviour.writeBar(PF_MSIX_BAR, DATA.offset, 4, data);
  pf.fn.behaviour.writeBar(PF_MSIX_BAR, CONTROL.offset, 4, 0);
  const capability = pfLayout(PF_MAC).cap.msix.CONTROL;
  pf.fn.configWrite(capability.offset, 2, capability.fields.ENABLE.mask);
  const driver = new PfDriver({
    port: {
      read: (offset) => pf.read(offset, 4),
      write: (offset, value) => pf.write(offset, 4, value),
    },
    scheduler,
    mac: PF_STATION,
    vfs,
    ...(frameBytesMax === undefined ? {} : { frameBytesMax }),
    ...(filterChanged === undefined ? {} : { filterChanged }),
    stopped: (vf) => nic.pools.at(vf).stopped,
  });
  nic.driver = driver;
  driver.start();
  return driver;
}
