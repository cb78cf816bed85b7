/** What the host gave to the guest, as the machine drives it. */
import { PassthroughDevice } from './device.js';
import type { PassthroughHost } from './host.js';
import { VfDevice } from './vf-device.js';

/** One for each of `host.assigned`, in that order. */
export function devicesOf(host: PassthroughHost): readonly PassthroughDevice[] {
  const { functions, assigned } = host;
  return [
    ...functions.map((fn) => new VfDevice(host, fn)),
    ...assigned.slice(functions.length).map((fn) => new PassthroughDevice(fn)),
  ];
}
