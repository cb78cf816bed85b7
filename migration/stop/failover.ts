/** The device is unplugged as by hot-unplug, and the guest goes on by a virtio-net standby with the same address. */
import { ordinary } from '../approach.js';
import { migrationErrors } from '../errors.js';
import type { RequestLimits } from '../patience.js';
import type { AssignedDevice, StandbyDevice } from '../ports.js';
import type { StopDescriptor } from './stop.js';
import { askToTurnOff, stopByUnplug, TURN_SLOT_OFF } from './unplug.js';

const NAME = 'failover';

export const failover: StopDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'the device is unplugged while a virtio-net standby with the same address carries the traffic',
  steps: [
    'at boot the guest agreed to use two devices as one interface (VIRTIO_NET_F_STANDBY)',
    'when the rest would fit the downtime limit, the guest is asked to let the device go, by its channel, by ACPI or by the button; pages go on being sent',
    'the driver lets the device go, the guest goes on by the standby, and the host brings it what was for the device',
    'the device is taken out of the slot, and kept: a migration that fails puts it back, and the guest uses it again',
    'the standby moves with the machine; at the destination a device is plugged in, and the guest uses that',
  ],
  use: 'Where the network may not pause, and source and destination need not have the same kind of device.',
  limits:
    'The guest needs net_failover, and the standby costs CPU time on the host while it carries; a button takes six seconds.',
  goals: { gapMs: 20 },
  needs: ['slot', 'standby'],
  leaves: 'unplugged',
  problem: async (device) => {
    const problem = await problemOf(device);
    return problem === undefined ? undefined : `${device.name}: ${problem}`;
  },
  make: (device) => stopByUnplug(NAME, device, (limits) => handOver(device, limits)),
};

const takesRequests = async ({ guest }: AssignedDevice): Promise<boolean> =>
  (await guest?.features())?.includes(TURN_SLOT_OFF) === true;

/** Why the guest can't go on without the device, as things are now. */
async function problemOf(device: AssignedDevice): Promise<string | undefined> {
  const { firmware, button } = device;
  return firmware === undefined && button === undefined && !(await takesRequests(device))
    ? 'its slot has no button, and the guest takes no request to turn it off'
    : (device.standby as StandbyDevice).problem();
}

/** By ACPI where that handles the slot, by the guest's channel where it takes requests to turn a slot off, else by the button. */
async function handOver(device: AssignedDevice, limits: RequestLimits): Promise<void> {
  const standby = device.standby as StandbyDevice;
  // The standby's link may have gone since the migration began.
  const problem = await problemOf(device);
  if (problem !== undefined) throw migrationErrors.error('no-failover', { device: device.name, problem });
  await standby.takeOver();
  if (device.firmware !== undefined) await device.firmware.requestEject();
  else if (await takesRequests(device)) await askToTurnOff(device, limits);
  else await device.button?.press();
}
