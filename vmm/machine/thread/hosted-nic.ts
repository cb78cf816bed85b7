/**
 * The NIC's part of the device thread: what the host has of it, and its cable. Loaded only by machines that have one,
 * because there is a lot of it.
 */
import type { FrameSink } from '../../../devices/ethernet/frame-sink.js';
import type { PassthroughDevice } from '../../passthrough/device.js';
import { devicesOf } from '../../passthrough/devices.js';
import { PassthroughHost, type PassthroughPorts } from '../../passthrough/host.js';
import type { NicOptions } from '../../passthrough/records.js';
import { rehearse } from '../../passthrough/rehearsal.js';
import { Cable } from './cable.js';

/** A piece of the cable's stream may hold hundreds of frames: after so many the guest's doorbells are looked at. */
const FRAMES_AT_A_TIME = 64;

export interface HostedNic {
  readonly host: PassthroughHost;
  readonly devices: readonly PassthroughDevice[];
  readonly cable: Cable;
  rehearse(): void;
}

/** `work`: lets the vCPUs' accesses and the NIC have their turn. */
export function hostNic(
  nic: NicOptions,
  ports: Omit<PassthroughPorts, 'send' | 'wireReady'>,
  work: () => void,
): HostedNic {
  let arrived = 0;
  const receive: FrameSink = (bytes, at, length) => {
    host.receive(bytes, at, length);
    if (++arrived % FRAMES_AT_A_TIME === 0) work();
  };
  const cable = new Cable({
    receive,
    received: ports.wake,
    room: ports.wake,
    link: (up) => host.network.setCable(up),
  });
  const host = new PassthroughHost(nic, { ...ports, send: cable.send, wireReady: () => cable.ready });
  const devices = devicesOf(host);
  return { host, devices, cable, rehearse: () => rehearse(nic) };
}
