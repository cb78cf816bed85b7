/** Hot-unplug by ACPI, as PCs had it before PCI Express and QEMU's have it by default: an eject request, and no delay. */
import { ordinary } from '../approach.js';
import type { StopDescriptor } from './stop.js';
import { stopByUnplug } from './unplug.js';

const NAME = 'acpi-eject';

export const acpiEject: StopDescriptor = {
  ...ordinary,
  name: NAME,
  text: 'firmware asks the guest to eject the device, which takes it out at once',
  steps: [
    'when the rest would fit the downtime limit, an event tells the guest of an eject request for the slot; pages go on being sent',
    'the driver lets the device go, and the guest ejects it: neither the five seconds of a button nor the second without power',
    'the device is out, and kept: a migration that fails puts it back, and the guest probes it anew',
  ],
  use: 'Where ACPI handles the slots (`--nic vf,slot=acpi`): any guest with ACPI hot-plug will do.',
  limits:
    'The guest has no such interface until the move is over; its addresses, routes and neighbours go with it.',
  needs: ['slot', 'firmware'],
  leaves: 'unplugged',
  make: (device) => stopByUnplug(NAME, device, async () => device.firmware!.requestEject()),
};
