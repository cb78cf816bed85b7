/** Somebody in the guest turns the slot off first, so that nothing is in it when the function comes. */
import { hotPlugAgent } from '../../../migration/start/hot-plug-agent.js';
import type { QemuStart } from '../approach.js';

export const hotPlugAgentOnQemu: QemuStart = {
  of: hotPlugAgent,
  text: 'the guest is told (over its console, as by an agent) to turn the slot off, which is empty, and then device_add puts a function there: a guest that found one in the place of another would turn the slot off under it, which aborts QEMU 11.1',
  // With a standby QEMU plugs the function in by itself, and nobody may turn the slot off then.
  takes: ['lost'],
  inPlace: false,
  afterRun: async ({ destination }) => {
    await destination.linux.sh('echo 0 >/sys/bus/pci/slots/1/power');
    await destination.plug();
  },
};
