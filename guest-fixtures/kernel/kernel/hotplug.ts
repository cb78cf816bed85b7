// The lock of everything that makes devices come, go or start anew (lock_device_hotplug in Linux, and in part its rtnl).
//
// A CPU has one stack: who waits runs other work on top of itself, and what it waits for must not lie below. So nobody
// ever waits for this lock. Work that needs it (INIT_WORK) is not begun while it is held; straight code of the boot CPU
// takes it where nothing can hold it yet. All of it runs on CPU 0.
import { BUG_ON } from './panic';

const device_hotplug_lock = memory.data(4, 4);

/** For INIT_WORK. */
// @ts-ignore: decorator
@inline export function hotplug_lock(): usize { return device_hotplug_lock; }

/** Task context below which no work runs that has the lock. */
export function lock_device_hotplug(): void {
  BUG_ON(load<u32>(device_hotplug_lock) != 0, 'lock_device_hotplug: held further down the stack');
  store<u32>(device_hotplug_lock, 1);
}

export function unlock_device_hotplug(): void {
  store<u32>(device_hotplug_lock, 0);
}
