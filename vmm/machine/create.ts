/** Makes a machine of threads: one for each vCPU, one for the devices, one for alarms. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { SHARE_ENV, Worker } from 'node:worker_threads';
import { reservedRange } from '../../base/abi/reserved-range.js';
import { kernelModule } from '../kernels/load.js';
import { allocateRam, checkMachineSize, GuestRam } from '../ram/guest-ram.js';
import { reclaimRam } from '../ram/reclaim.js';
import { allocateControl } from '../vcpu/control-block.js';
import { VcpuSignals } from '../vcpu/signals.js';
import type { AlarmThreadData } from '../vcpu/thread/alarm-worker.js';
import { ALARM_BUFFER_BYTES } from '../vcpu/thread/alarms.js';
import { VcpuThread } from '../vcpu/thread/vcpu-thread.js';
import { VirtualClock } from '../vcpu/virtual-clock.js';
import type { DriverEvents, MachineDrivers } from './drivers.js';
import { hostEpoch, hostTime } from './host-time.js';
import { Machine, type MachineOptions } from './machine.js';
import { DEVICE_BUFFER_BYTES } from './mmio-mailbox.js';
import { DeviceThread } from './thread/device-thread.js';

const SAFEPOINT_DEADLINE_MS = 5000;
const NS_PER_MS = 1e6;

/**
 * Returns at once; the threads come up in the background, and whatever is asked of them waits until they have. Throws
 * `vmm/machine-option` for a size that no machine has, `vmm/ram-unavailable` when the host has no room.
 */
export function createMachine(options: MachineOptions): Machine {
  checkMachineSize(options.ramBytes, options.vcpus);
  const memory = allocateRam(options.ramBytes);
  return new Machine(options, (events) => startThreads(options, memory, events));
}

function startThreads(
  options: MachineOptions,
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
    return new VcpuThread({ ...shared, index }, signals, threadOptions, events);
  });
  const devices = new DeviceThread(shared, events);

  return {
    ram,
    range,
    clock,
    vcpus,
    devices,
    sha256: (bytes) => createHash('sha256').update(bytes).digest(),
    hostNow,
    wallNow: () => Date.now() * NS_PER_MS,
    compile: (code) => WebAssembly.compile(new Uint8Array(code)),
    threadCpuNs,
    destroy: async () => {
      ended = true;
      const ends = vcpus.map((vcpu) => vcpu.destroy());
      await Promise.all([...ends, devices.destroy(), alarms?.terminate()]);
      // After whoever waits for the end of this machine has had a chance to let go of it.
      setImmediate(reclaimRam);
    },
  };
}

function startAlarms(data: AlarmThreadData, events: DriverEvents): Worker {
  const { ram, vcpus, control, alarms, epoch } = data;
  const workerData: AlarmThreadData = { ram, vcpus, control, alarms, epoch };
  const worker = new Worker(new URL('../vcpu/thread/alarm-worker.js', import.meta.url), {
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
