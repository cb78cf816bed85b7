/** The thread that wakes vCPUs by the clock; one a machine. */
import { workerData } from 'node:worker_threads';
import { reservedRange } from '../../../base/abi/reserved-range.js';
import { GuestRam, type RamHandle } from '../../ram/guest-ram.js';
import { hostTime } from '../../threads/host-time.js';
import { VcpuSignals } from '../../threads/signals.js';
import { runAlarms } from './alarms.js';

export interface AlarmThreadData {
  readonly ram: RamHandle;
  readonly vcpus: number;
  readonly control: SharedArrayBuffer;
  readonly alarms: SharedArrayBuffer;
  readonly epoch: bigint;
}

const { ram: handle, vcpus, control, alarms, epoch } = workerData as AlarmThreadData;
const ram = new GuestRam(handle);
const areas = reservedRange(ram.u8.length, vcpus).vcpus;
const signals = areas.map((area, i) => new VcpuSignals(control, i, ram.i32, area.control));
runAlarms(control, signals, alarms, hostTime(epoch));
