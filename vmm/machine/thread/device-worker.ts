/**
 * The device thread: owns all devices, answers the vCPUs' MMIO, lets the NIC work, and takes calls of the machine in
 * between. It sleeps in its event loop; the port's listener is what keeps it alive, a pending `Atomics.waitAsync` alone
 * would not.
 */
import { workerData } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import { FerryError } from '../../../base/errors.js';
import { EventOutbox } from '../../passthrough/events.js';
import { GuestRam } from '../../ram/guest-ram.js';
import { hostTime } from '../../threads/host-time.js';
import { MmioResponder } from '../../threads/mmio-mailbox.js';
import { VcpuSignals } from '../../threads/signals.js';
import { VirtualClock } from '../../threads/virtual-clock.js';
import { ConsoleOutbox } from '../console-outbox.js';
import { callTargets, carryOut, platformCalls } from '../device-calls.js';
import { DeviceSet, platformDevices } from '../devices.js';
import { DeviceTimers } from './device-timers.js';
import { hostNic } from './hosted-nic.js';
import type { DeviceThreadData, FromDevices, ToDevices } from './messages.js';

/** Rounds of service without a sleep after which the event loop gets its turn. */
const ROUNDS_MAX = 256;
/** A timer that is due within this is waited for awake, because the event loop's own timers count in milliseconds. */
const SOON_NS = 200_000;
/** A timer of the host holds no more; whoever wakes early looks again. */
const ALARM_MS_MAX = 2 ** 30;
const NS_PER_MS = 1e6;

const data = workerData as DeviceThreadData;
const { port, nic } = data;
const ram = new GuestRam(data.ram);
const areas = reservedRange(ram.u8.length, data.vcpus).vcpus;
const vcpus = areas.map((area, i) => new VcpuSignals(data.control, i, ram.i32, area.control));
const outbox = new ConsoleOutbox();
const events = new EventOutbox();
const hostNow = hostTime(data.epoch);
const timers = new DeviceTimers(hostNow);
const send = (message: FromDevices): void => port.postMessage(message);

/** Ends the loop's sleep. */
let wake = (): void => {};

const platform = platformDevices({
  memory: ram,
  clock: new VirtualClock(hostNow, data.clock),
  interrupt: (target, vector) => vcpus[target]?.post(vector),
  print: (line) => outbox.push(line),
  // The guest's last words come before its end.
  power: (request) => send({ kind: 'power', request, lastWords: outbox.rest() }),
  serial: (port) => events.push({ kind: 'serial', device: port }),
});
const hosted =
  nic === undefined
    ? undefined
    : hostNic(
        nic,
        {
          ram,
          control: data.control,
          vcpus: data.vcpus,
          scheduler: timers,
          kick: (vcpu) => vcpus[vcpu]?.kick(),
          interrupt: (vcpu, vector) => vcpus[vcpu]?.post(vector),
          wake: () => wake(),
          event: (event) => events.push(event),
        },
        () => work(),
      );
const devices = new DeviceSet([...platform, ...(hosted === undefined ? [] : hosted.host.devices)]);
const responder = new MmioResponder(data.control, data.vcpus, data.devices, devices.bus);
const targets = callTargets(
  platformCalls(devices, { rehearse: () => hosted?.rehearse(), lastWords: () => outbox.rest() }),
  devices.calls,
  hosted,
);

const sendConsole = (): void => {
  const batch = outbox.take();
  if (batch !== undefined) send({ kind: 'console', batch });
};

const sendEvents = (): void => {
  const batch = events.take();
  if (batch !== undefined) send({ kind: 'events', batch });
};

const answer = async (id: number, work: () => unknown): Promise<void> => {
  try {
    const result = work();
    send({ kind: 'reply', id, result: result instanceof Promise ? await result : result });
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    send({ kind: 'refusal', id, error: error.toJSON() });
  }
};

port.on('message', (message: ToDevices) => {
  if (message.kind === 'console-taken') {
    outbox.acknowledge();
    sendConsole();
    return;
  }
  if (message.kind === 'events-taken') {
    events.acknowledge();
    sendEvents();
    return;
  }
  if (message.kind === 'connect') {
    const { netdev } = data;
    void answer(message.id, () => (netdev === undefined ? undefined : hosted?.cable.connect(netdev)));
    return;
  }
  const { id, target, method, args } = message;
  void answer(id, () => {
    // Posted writes of vCPUs that are paused by now belong to the state. Once is enough for them, and as much as a call
    // waits for those that still write.
    responder.serve();
    return carryOut(targets, target, method, args);
  });
  wake();
});

/** Does what there is to do now, a bounded amount; true if there is more. */
const work = (): boolean => {
  const served = responder.serve();
  timers.runDue();
  return hosted?.host.run() === true || served > 0;
};

/** Sleeps until a vCPU rings, something arrives, or a timer that is not due soon comes near. */
const sleep = (seen: number): Promise<void> =>
  new Promise((resolve) => {
    const { next } = timers;
    const alarm =
      next === Infinity
        ? undefined
        : setTimeout(
            resolve,
            Math.min(ALARM_MS_MAX, Math.max(0, Math.floor((next - hostNow() - SOON_NS) / NS_PER_MS))),
          );
    wake = () => {
      clearTimeout(alarm);
      resolve();
    };
    responder.whenRung(seen, () => wake());
  });

async function serve(): Promise<never> {
  for (let rounds = 0; ; rounds++) {
    const seen = responder.attend();
    const busy = work();
    hosted?.cable.flush();
    sendConsole();
    sendEvents();
    const soon = timers.next - hostNow() < SOON_NS;
    if (rounds >= ROUNDS_MAX || (soon && !busy)) {
      rounds = 0;
      await new Promise((resolve) => setImmediate(resolve));
    } else if (!busy && !responder.rangSoon(seen)) {
      await sleep(seen);
    }
  }
}

void serve();
