/**
 * The device thread: owns all devices, answers the vCPUs' MMIO, and takes requests of the machine in between. It sleeps
 * in its event loop; the port's listener is what keeps it alive, a pending `Atomics.waitAsync` alone would not.
 */
import { workerData } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import { FerryError } from '../../../base/errors.js';
import { GuestRam } from '../../ram/guest-ram.js';
import { VcpuSignals } from '../../vcpu/signals.js';
import { VirtualClock } from '../../vcpu/virtual-clock.js';
import { ConsoleOutbox } from '../console-outbox.js';
import { DeviceSet, PLATFORM_DEVICES } from '../devices.js';
import { MmioResponder } from '../mmio-mailbox.js';
import { hostTime } from './host-time.js';
import type { DeviceThreadData, FromDevices, ToDevices } from './messages.js';

/** Rounds of service without a sleep after which the event loop gets its turn. */
const ROUNDS_MAX = 256;

const data = workerData as DeviceThreadData;
const { port } = data;
const ram = new GuestRam(data.ram);
const areas = reservedRange(ram.u8.length, data.vcpus).vcpus;
const vcpus = areas.map((area, i) => new VcpuSignals(data.control, i, ram.i32, area.control));
const outbox = new ConsoleOutbox();
const send = (message: FromDevices): void => port.postMessage(message);

const devices = new DeviceSet(PLATFORM_DEVICES, {
  memory: ram,
  clock: new VirtualClock(hostTime(data.epoch), data.clock),
  interrupt: (target, vector) => vcpus[target]?.post(vector),
  print: (line) => outbox.push(line),
  power: (request) => send({ kind: 'power', request }),
});
const responder = new MmioResponder(data.control, data.vcpus, data.devices, devices.bus);

const sendConsole = (): void => {
  const batch = outbox.take();
  if (batch !== undefined) send({ kind: 'console', batch });
};

port.on('message', (message: ToDevices) => {
  if (message.kind === 'console-taken') {
    outbox.acknowledge();
    sendConsole();
    return;
  }
  try {
    // Posted writes of vCPUs that are paused by now belong to the state.
    while (responder.serve() > 0);
    if (message.kind === 'restore') devices.restore(message.records);
    send({ kind: 'reply', id: message.id, records: devices.save() });
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    send({ kind: 'refusal', id: message.id, error: error.toJSON() });
  }
});

for (let rounds = 0; ; rounds++) {
  const seen = responder.bell();
  const served = responder.serve();
  sendConsole();
  if (rounds >= ROUNDS_MAX) {
    rounds = 0;
    await new Promise((resolve) => setImmediate(resolve));
  } else if (served === 0 || !responder.rangSoon(seen)) {
    await responder.rung(seen);
  }
}
