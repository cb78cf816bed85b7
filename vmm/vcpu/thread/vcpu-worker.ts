/** Entry of a vCPU's thread: puts its parts together and runs. */
import { workerData } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import { GuestRam } from '../../ram/guest-ram.js';
import { THREAD_ID } from '../../threads/control-block.js';
import { hostTime } from '../../threads/host-time.js';
import { MmioRequester } from '../../threads/mmio-mailbox.js';
import { osThreadId } from '../../threads/os-thread.js';
import { VcpuSignals } from '../../threads/signals.js';
import { VirtualClock } from '../../threads/virtual-clock.js';
import { VcpuCore } from '../core.js';
import { DirtyPublisher } from '../dirty-publisher.js';
import { Alarm } from './alarms.js';
import { VcpuLoop } from './loop.js';
import type { VcpuThreadData } from './messages.js';

const data = workerData as VcpuThreadData;
const { index, control } = data;
const ram = new GuestRam(data.ram);
const range = reservedRange(ram.u8.length, data.vcpus);
const peers = range.vcpus.map((area, i) => new VcpuSignals(control, i, ram.i32, area.control));
const signals = peers[index]!;
const hostNow = hostTime(data.epoch);

signals.block[THREAD_ID] = osThreadId();

const loop = new VcpuLoop({
  port: data.port,
  signals,
  peers,
  ram,
  clock: new VirtualClock(hostNow, data.clock),
  hostNow,
  mmio: new MmioRequester(signals.block, data.devices),
  publisher: new DirtyPublisher(
    new WebAssembly.Instance(data.kernel, { env: { memory: ram.memory } }),
    range,
    index,
  ),
  alarm: new Alarm(signals.block, data.alarms),
  presentMap: range.presentMap,
});
loop.run(new VcpuCore(index, ram, range, signals, loop));
