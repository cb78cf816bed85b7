/**
 * Makes a machine of one thread, with virtual time and seeded choices: the same seed, image and calls give the same run,
 * to the byte. Everything but its drivers is the machine of `machine/create.ts`.
 */
import { reservedRange } from '../../base/abi/reserved-range.js';
import type { Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import type { SeededRandom } from '../../base/random.js';
import { nanoseconds } from '../../base/units.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { kernelModule } from '../kernels/load.js';
import { callTargets, carryOut, type DeviceHost, platformCalls } from '../machine/device-calls.js';
import { DeviceSet, platformDevices } from '../machine/devices.js';
import type { DriverEvents, MachineDrivers } from '../machine/drivers.js';
import { Machine } from '../machine/machine.js';
import type { MachineOptions } from '../machine/options.js';
import { devicesOf } from '../passthrough/devices.js';
import type { FrameOutlet } from '../passthrough/guest-vf.js';
import { PassthroughHost } from '../passthrough/host.js';
import { allocateRam, checkMachineSize, GuestRam } from '../ram/guest-ram.js';
import { allocateControl } from '../threads/control-block.js';
import { VcpuSignals } from '../threads/signals.js';
import { VirtualClock } from '../threads/virtual-clock.js';
import { pageHasherOn } from '../transfer/kernels.js';
import { DirtyPublisher } from '../vcpu/dirty-publisher.js';
import { compiled, parsed } from './guest-code.js';
import { Runner } from './runner.js';
import { DeterministicVcpu } from './vcpu.js';

export interface DeterministicWorld {
  readonly scheduler: Scheduler;
  /** Drawn from for every choice of the machine. */
  readonly random: SeededRandom;
  /** The wall clock, ns since 1970, at the scheduler's start; default 0. */
  readonly wallClockNs?: number;
  /** The wall clock, where it is not as far from its start as the scheduler is from its own. */
  readonly wallNow?: () => number;
  /** Draws how long another thread takes until it carries out what it is asked, virtual ns; nothing if absent. */
  readonly answerNs?: () => number;
  /** RAM that another machine has had and nobody uses any more, to be had for less than new one; whoever gives it has cleared it. */
  readonly memory?: WebAssembly.Memory;
  /**
   * Plugs the NIC in: takes where frames come in, and how to tell of a carrier that goes or comes back, and gives where they leave.
   * It has no cable if absent.
   */
  readonly plug?: (receive: FrameSink, carrier: (up: boolean) => void) => FrameSink;
}

/** Longest time until the NIC gets to what there is to do, virtual ns. */
const NIC_LATENCY_NS = 2000;

/** Throws `vmm/machine-option` and `vmm/ram-unavailable` as the machine of threads does. */
export function createDeterministicMachine(options: MachineOptions, world: DeterministicWorld): Machine {
  checkMachineSize(options.ramBytes, options.vcpus);
  const memory = world.memory ?? allocateRam(options.ramBytes);
  invariant(memory.buffer.byteLength === options.ramBytes, 'a memory of the size of RAM');
  return new Machine(options, (events) => makeDrivers(options, memory, world, events));
}

function makeDrivers(
  options: MachineOptions,
  memory: WebAssembly.Memory,
  world: DeterministicWorld,
  events: DriverEvents,
): MachineDrivers {
  const range = reservedRange(options.ramBytes, options.vcpus);
  const ram = GuestRam.create(memory, range.firstPage);
  const control = allocateControl(options.vcpus);
  const runner = new Runner(world.scheduler, world.random);
  const hostNow = (): number => runner.now();
  const clock = new VirtualClock(hostNow);
  const signals = range.vcpus.map((area, i) => new VcpuSignals(control, i, ram.i32, area.control));

  const interrupt = (target: number, vector: number): void => {
    signals[target]?.post(vector);
    runner.wake();
  };
  const platform = platformDevices({
    memory: ram,
    clock,
    interrupt,
    print: (line) => runner.defer(() => events.console({ lines: [line], dropped: 0 })),
    power: (request) => runner.defer(() => events.power(request)),
    serial: (port) => runner.defer(() => events.device({ kind: 'serial', device: port })),
  });
  const { nic } = options;
  let cable: FrameSink | undefined;
  const send: FrameOutlet = (bytes, at, length) => {
    cable?.(bytes, at, length);
    return true;
  };
  let turnAhead = false;
  const wakeNic = (): void => {
    if (turnAhead) return;
    turnAhead = true;
    world.scheduler.after(nanoseconds(world.random.between(1, NIC_LATENCY_NS)), () => {
      turnAhead = false;
      if (host?.run() === true) wakeNic();
    });
  };
  const host =
    nic === undefined
      ? undefined
      : new PassthroughHost(nic, {
          ram,
          control,
          vcpus: options.vcpus,
          scheduler: world.scheduler,
          kick: (vcpu) => {
            signals[vcpu]?.kick();
            runner.wake();
          },
          interrupt,
          send,
          wake: wakeNic,
          event: (event) => runner.defer(() => events.device(event)),
        });
  if (host !== undefined && world.plug !== undefined) {
    cable = world.plug(host.receive, (up) => host.network.setCable(up));
    host.network.setCable(true);
  }
  const assigned = host === undefined ? [] : devicesOf(host);
  const devices = new DeviceSet([...platform, ...(host === undefined ? [] : host.devices)]);
  const targets = callTargets(
    platformCalls(devices, { rehearse: () => {}, lastWords: () => ({ lines: [], dropped: 0 }) }),
    devices.calls,
    host && { host, devices: assigned },
  );
  const devicesTurn = inTurns(world);
  const deviceHost: DeviceHost = {
    ready: async () => {},
    call: async (target, method, args) => {
      await devicesTurn();
      return carryOut(targets, target, method, args);
    },
  };

  const kernel = kernelModule('dirty-map');
  const vcpus = range.vcpus.map((_, index) => {
    const instance = new WebAssembly.Instance(kernel, { env: { memory } });
    const publisher = new DirtyPublisher(instance, range, index);
    const { bus } = devices;
    const turn = inTurns(world);
    return new DeterministicVcpu({ index, ram, range, signals, clock, bus, publisher, runner, events, turn });
  });
  for (const vcpu of vcpus) runner.add(vcpu);

  return {
    ram,
    range,
    clock,
    vcpus,
    devices: deviceHost,
    parseImage: parsed,
    hashPages: pageHasherOn(memory),
    hostNow,
    wallNow: world.wallNow ?? (() => (world.wallClockNs ?? 0) + world.scheduler.now()),
    compile: async (code) => compiled(code),
    threadCpuNs: () => undefined,
    destroy: async () => runner.end(),
  };
}

/** What makes who asks another thread wait until that gets to it: in the order in which it was asked. */
function inTurns({ scheduler, answerNs }: DeterministicWorld): () => Promise<void> {
  if (answerNs === undefined) return async () => {};
  let last = 0;
  return () => {
    const now = scheduler.now();
    last = Math.max(last + 1, now + answerNs());
    return scheduler.sleep(nanoseconds(last - now));
  };
}
