/** The threads of a machine, and what else it needs of the host. */
import { readFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import { compiledOf } from '../../built.js';
import { kernelModule } from '../../kernels/load.js';
import { GuestRam } from '../../ram/guest-ram.js';
import type { SocketAddress } from '../../sockets/address.js';
import { allocateControl } from '../../threads/control-block.js';
import { hostEpoch, hostTime } from '../../threads/host-time.js';
import { DEVICE_BUFFER_BYTES } from '../../threads/mmio-mailbox.js';
import { VcpuSignals } from '../../threads/signals.js';
import { VirtualClock } from '../../threads/virtual-clock.js';
import { pageHasherOn } from '../../transfer/kernels.js';
import type { VcpuEvents } from '../../vcpu/handle.js';
import type { AlarmThreadData } from '../../vcpu/thread/alarm-worker.js';
import { ALARM_BUFFER_BYTES } from '../../vcpu/thread/alarms.js';
import { VcpuThread } from '../../vcpu/thread/vcpu-thread.js';
import { PLATFORM_NAME, type PlatformCalls, remote } from '../device-calls.js';
import type { DriverEvents, MachineDrivers } from '../drivers.js';
import type { MachineOptions } from '../options.js';
import { DeviceThread } from './device-thread.js';
import { parsedCopy } from './parsed-copy.js';

const SAFEPOINT_DEADLINE_MS = 5000;
const NS_PER_MS = 1e6;

/**
 * Left to itself the engine compiles each function when it is first called. A guest that boots calls them one after the
 * other; one that has just arrived, or whose code was just exchanged, calls most of them at once, and would spend its
 * first 20 to 50 ms with that. All of them together, before, take 11 ms of CPU time.
 */
function compile(code: Uint8Array, whole: boolean): Promise<WebAssembly.Module> {
  setFlagsFromString(whole ? '--no-wasm-lazy-compilation' : '--wasm-lazy-compilation');
  return WebAssembly.compile(new Uint8Array(code));
}

/** Options that only a machine of threads has. */
export interface ThreadMachineOptions extends MachineOptions {
  /** Where the NIC's cable is plugged in; it has none if absent. */
  readonly netdev?: SocketAddress;
}

/** The drivers of a machine of threads, over RAM that was just allocated. */
export function startThreads(
  options: ThreadMachineOptions,
  memory: WebAssembly.Memory,
  events: DriverEvents,
): MachineDrivers {
  const range = reservedRange(options.ramBytes, options.vcpus);
  const ram = GuestRam.create(memory, range.firstPage);
  const control = allocateControl(options.vcpus);
  const epoch = hostEpoch();
  const hostNow = hostTime(epoch);
  const clock = new VirtualClock(hostNow);
  const shared = {
    vcpus: options.vcpus,
    ram: ram.handle,
    control,
    clock: clock.buffer,
    alarms: new SharedArrayBuffer(ALARM_BUFFER_BYTES),
    devices: new SharedArrayBuffer(DEVICE_BUFFER_BYTES),
    epoch,
    kernel: kernelModule('dirty-map'),
  };
  const { nic, netdev } = options;

  const devices = new DeviceThread({ ...shared, nic, netdev }, events);
  const platform = remote<PlatformCalls>(devices, PLATFORM_NAME);
  /** The guest's last words come before its end; from a device thread that has ended none come. */
  const afterLastWords = (end: () => void): void => {
    void platform
      .lastWords()
      .then(events.console, () => undefined)
      .then(end);
  };
  const vcpuEvents: VcpuEvents = {
    ...events,
    crashed: (crash) => afterLastWords(() => events.crashed(crash)),
    unresponsive: (error) => afterLastWords(() => events.unresponsive(error)),
  };
  let alarms: Worker | undefined;
  let ended = false;
  const threadOptions = {
    deadlineMs: options.safepointDeadlineMs ?? SAFEPOINT_DEADLINE_MS,
    online: () => {
      if (!ended) alarms ??= startAlarms(shared, events);
    },
  };
  const vcpus = range.vcpus.map((area, index) => {
    const signals = new VcpuSignals(control, index, ram.i32, area.control);
    return new VcpuThread({ ...shared, index }, signals, threadOptions, vcpuEvents);
  });

  return {
    ram,
    range,
    clock,
    vcpus,
    devices,
    parseImage: parsedCopy,
    hashPages: pageHasherOn(memory),
    hostNow,
    wallNow: () => Date.now() * NS_PER_MS,
    compile,
    threadCpuNs,
    destroy: async () => {
      ended = true;
      const ends = vcpus.map((vcpu) => vcpu.destroy());
      await Promise.all([...ends, devices.destroy(), alarms?.terminate()]);
    },
  };
}

function startAlarms(data: AlarmThreadData, events: DriverEvents): Worker {
  const { ram, vcpus, control, alarms, epoch } = data;
  const workerData: AlarmThreadData = { ram, vcpus, control, alarms, epoch };
  const worker = new Worker(compiledOf(new URL('../../vcpu/thread/alarm-worker.js', import.meta.url)), {
    name: 'alarms',
    env: SHARE_ENV,
    workerData,
  });
  worker.on('error', (error) => events.failed(error));
  return worker;
}

/** The first number of /proc's schedstat: ns on a CPU. */
function threadCpuNs(threadId: number): number | undefined {
  try {
    const [onCpu] = readFileSync(`/proc/self/task/${threadId}/schedstat`, 'utf8').split(' ');
    return Number(onCpu);
  } catch {
    return undefined;
  }
}
