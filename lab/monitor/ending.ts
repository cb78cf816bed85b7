/** When a process ends that serves others until it is told to stop. */
import { afterMs } from '../../vmm/timers.js';

/** `end` resolves at the first SIGINT or SIGTERM, when the time is over, or at `quit`. */
export function ending(ns?: number): { readonly end: Promise<void>; readonly quit: () => void } {
  let quit = (): void => {};
  const end = new Promise<void>((resolve) => {
    const cancel = ns === undefined ? undefined : afterMs(ns / 1e6, () => quit());
    quit = () => {
      cancel?.();
      process.off('SIGINT', quit);
      process.off('SIGTERM', quit);
      resolve();
    };
    process.on('SIGINT', quit);
    process.on('SIGTERM', quit);
  });
  return { end, quit };
}
