/**
 * Whether a process comes to its end, on a machine that may have no time for it: it is judged by the processor time that it takes, and by
 * whether it still waits for some, not by the clock.
 */
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';

const LOOK_MS = 500;
/** A process none of whose threads has run, or wants to, in so many looks waits for what will not come. */
const RESTS_MAX = 60;
/** Of the kernel's clock, as `/proc` counts (USER_HZ). */
const TICK_MS = 10;

/** Resolves with true when `child` has ended, and with false when it has taken `cpuMs` of the processor, or waits for nothing. */
export async function endsByItself(
  child: ChildProcess,
  cpuMs: number,
  restsMax = RESTS_MAX,
): Promise<boolean> {
  let rests = 0;
  let before = -1;
  while (child.exitCode === null && child.signalCode === null) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    const now = lookedAt(child.pid!);
    if (now === undefined) continue;
    if (now.cpuMs > cpuMs) return false;
    rests = now.cpuMs === before && !now.wants ? rests + 1 : 0;
    before = now.cpuMs;
    if (rests >= restsMax) return false;
  }
  return true;
}

/** What a process has had of the processor, and whether a thread of it is running, waits to, or is stopped; undefined if it is gone. */
function lookedAt(pid: number): { readonly cpuMs: number; readonly wants: boolean } | undefined {
  try {
    const [user, system] = fieldsOf(`/proc/${pid}/stat`).slice(11, 13);
    const threads = readdirSync(`/proc/${pid}/task`);
    const wants = threads.some((thread) => fieldsOf(`/proc/${pid}/task/${thread}/stat`)[0] !== 'S');
    return { cpuMs: (Number(user) + Number(system)) * TICK_MS, wants };
  } catch {
    return undefined;
  }
}

/** Of proc(5)'s `stat`, from the third on: its second, the name, may hold anything but ends in a parenthesis. */
function fieldsOf(path: string): readonly string[] {
  const text = readFileSync(path, 'latin1');
  return text.slice(text.lastIndexOf(')') + 2).split(' ');
}
