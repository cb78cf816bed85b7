/** A virtual function of the 82599 given to a guest: the guest's view of it, over the host's control of it. */
import type { MessageRouter } from '../pci/assigned-backend.js';
import { AssignedFunction } from '../pci/assigned-function.js';
import type { HostVectors } from '../pci/assigned-vectors.js';
import { LINK_SPEED_5GT } from '../pci/pcie-capability.js';
import {
  LINK_WIDTH,
  VF_REGISTER_BAR,
  vfBars,
  vfIdentity,
  vfLayout,
  vfMsix,
  vfMsixWindow,
} from './functions.js';
import { type FunctionOffer, WHOLE_PART } from './offer.js';
import type { VirtualFunction } from './vf.js';

/**
 * Assigns `vf` to a guest as the device `name`, as far as it is offered; `router` places its interrupts, or `hostVectors` says
 * where they go whatever the guest's table says.
 */
export function assignVf(
  name: string,
  vf: VirtualFunction,
  router: MessageRouter,
  { revision, vectors }: FunctionOffer = WHOLE_PART,
  hostVectors?: HostVectors,
): AssignedFunction {
  const { fn, msix } = vf;
  const table = vfMsixWindow.reg;
  const wired = new Array<boolean>(vfMsix.vectors).fill(false);
  const masked = new Array<boolean>(vfMsix.vectors).fill(true);
  const applyMask = (vector: number): void => {
    msix.window.write(
      table.CONTROL.offset + vector * table.CONTROL.stride,
      4,
      wired[vector]! && !masked[vector]! ? 0 : 1,
    );
  };
  const enableMsix = (): void => {
    const { CONTROL } = vfLayout.cap.msix;
    fn.configWrite(CONTROL.offset, 2, CONTROL.fields.ENABLE.mask);
  };
  return new AssignedFunction({
    name,
    identity: { ...vfIdentity, revision },
    bars: vfBars,
    msix: { ...vfMsix, vectors },
    link: { speed: LINK_SPEED_5GT, width: LINK_WIDTH },
    hostVectors,
    backend: {
      readBar: (bar, offset, size) =>
        bar === VF_REGISTER_BAR ? fn.behaviour.readBar(bar, offset, size) : 0xffff_ffff,
      writeBar: (bar, offset, size, value) => {
        if (bar === VF_REGISTER_BAR) fn.behaviour.writeBar(bar, offset, size, value);
      },
      setBusMaster(on) {
        const { COMMAND } = vfLayout.header;
        fn.configWrite(COMMAND.offset, 2, on ? COMMAND.fields.MASTER.mask : 0);
      },
      setVector(vector, message) {
        const host = router.route(vector, message);
        wired[vector] = host !== undefined;
        if (host !== undefined) {
          msix.window.set(table.ADDRESS, (host.address % 2 ** 32) >>> 0, vector);
          msix.window.set(table.ADDRESS_UPPER, Math.floor(host.address / 2 ** 32), vector);
          msix.window.set(table.DATA, host.data >>> 0, vector);
          enableMsix();
        }
        applyMask(vector);
      },
      maskVector(vector, on) {
        masked[vector] = on;
        applyMask(vector);
      },
      isPending: (vector) => msix.isPending(vector),
      reset: () => fn.reset('function'),
    },
  });
}
