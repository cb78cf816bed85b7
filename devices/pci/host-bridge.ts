/** The host bridge: device 0 of bus 0, there to be found; it decodes nothing and masters nothing. */
import { configLayout } from './capability.js';
import { PciFunction } from './function.js';
import { HOST_BRIDGE } from './identities.js';
import { type0Header } from './registers.js';

const layout = /* @__PURE__ */ configLayout('host-bridge', type0Header(HOST_BRIDGE, []), {});

/** A host bridge named `name`. */
export function hostBridge(name = 'host-bridge'): PciFunction {
  return new PciFunction(layout, {
    name,
    bars: [],
    readBar: () => 0xffff_ffff,
    writeBar: () => {},
    reset: () => {},
  });
}
