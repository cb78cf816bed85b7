/** The `edu` device given to a guest: the guest's view of it, over the host's control of it. */
import type { MessageRouter } from '../pci/assigned-backend.js';
import { AssignedFunction } from '../pci/assigned-function.js';
import type { EduDevice } from './device.js';
import { eduBars, eduIdentity, eduLayout, eduLink } from './registers.js';

/** Assigns `edu` to a guest as the device `name`; `router` places its interrupt. */
export function assignEdu(name: string, edu: EduDevice, router: MessageRouter): AssignedFunction {
  const { fn } = edu;
  const { CONTROL, ADDRESS, ADDRESS_UPPER, DATA, MASK, PENDING } = eduLayout.cap.msi;
  let wired = false;
  let masked = false;
  const applyMask = (): void =>
    fn.configWrite(MASK.offset, 4, wired && !masked ? 0 : MASK.fields.VECTOR_0.mask);
  return new AssignedFunction({
    name,
    identity: eduIdentity,
    bars: eduBars,
    link: eduLink,
    backend: {
      readBar: (bar, offset, size) => fn.behaviour.readBar(bar, offset, size),
      writeBar: (bar, offset, size, value) => fn.behaviour.writeBar(bar, offset, size, value),
      setBusMaster(on) {
        const { COMMAND } = eduLayout.header;
        const others = fn.configRead(COMMAND.offset, 2) & ~COMMAND.fields.MASTER.mask;
        fn.configWrite(COMMAND.offset, 2, others | (on ? COMMAND.fields.MASTER.mask : 0));
      },
      setVector(vector, message) {
        const host = router.route(vector, message);
        wired = host !== undefined;
        if (host !== undefined) {
          fn.config.set(ADDRESS, (host.address % 2 ** 32) >>> 0);
          fn.config.set(ADDRESS_UPPER, Math.floor(host.address / 2 ** 32));
          fn.config.set(DATA, host.data & 0xffff);
          fn.configWrite(CONTROL.offset, 2, CONTROL.fields.ENABLE.mask);
        }
        applyMask();
      },
      maskVector(_vector, on) {
        masked = on;
        applyMask();
      },
      isPending: () => fn.config.getField(PENDING, PENDING.fields.VECTOR_0) === 1,
      reset: () => fn.reset('function'),
    },
  });
}
