/** A virtual function of the 82599, assigned to a guest, as a migratable device. */
import { vfBars, vfIdentity, vfMsix } from '../nic82599/functions.js';
import { API_1_4 } from '../nic82599/pf-driver/messages.js';
import { MAILBOX_DWORDS, QUEUES_PER_POOL } from '../nic82599/registers.js';
import { DRIVER_SECTION } from '../nic82599/state.js';
import { CONTEXT_SLOTS } from '../nic82599/transmit.js';
import type { VirtualFunction } from '../nic82599/vf.js';
import type { AssignedFunction } from '../pci/assigned-function.js';
import { AssignedHardware } from './assigned-hardware.js';
import type { DeviceIdentity, MigrationSection } from './stream.js';

/** Sections that change with every frame; all others do with a driver's setting up. */
const LATE: ReadonlySet<string> = new Set(['vf/registers', 'vf/transmit0', 'vf/transmit1', 'vf/throttle']);

/** As the guest sees it; what it may set depends on that. */
const identityOf = ({ identity, vectors }: AssignedFunction, queues: number): DeviceIdentity => ({
  vendorId: vfIdentity.vendorId,
  deviceId: vfIdentity.deviceId,
  revision: identity.revision,
  classCode: vfIdentity.classCode,
  subsystemVendorId: vfIdentity.subsystemVendorId!,
  subsystemId: vfIdentity.subsystemId!,
  ...Object.fromEntries(vfBars.map(({ index, bytes }) => [`bar${index}Bytes`, bytes])),
  msixVectors: vectors,
  msixBar: vfMsix.bar,
  msixTableOffset: vfMsix.tableOffset,
  msixPendingOffset: vfMsix.pendingOffset,
  queues,
  transmitContexts: CONTEXT_SLOTS,
  mailboxWords: MAILBOX_DWORDS,
  mailboxApiMax: API_1_4,
});

export class AssignedVf extends AssignedHardware {
  private readonly vf: VirtualFunction;

  /**
   * `assigned` is what the guest sees of `vf`; its name is the device's. `queues`: pairs that it may use. `failure`: as
   * `AssignedHardwareOptions` has it.
   */
  constructor(
    vf: VirtualFunction,
    assigned: AssignedFunction,
    queues: number = QUEUES_PER_POOL,
    failure?: () => Error | undefined,
  ) {
    super({
      role: 'vf',
      hardware: vf,
      assigned,
      identity: identityOf(assigned, queues),
      late: LATE,
      failure,
    });
    this.vf = vf;
  }

  judge({ name, bytes }: MigrationSection): string | undefined {
    return name === `vf/${DRIVER_SECTION}` ? this.vf.judgeDriver(bytes) : undefined;
  }
}
