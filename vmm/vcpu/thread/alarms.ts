/**
 * Alarms: a guest that runs does not look at the clock, so one thread of the machine sleeps until the next alarm of any
 * vCPU and kicks it then. Alarms are the guest's one-shot timer and the slices of throttling.
 *
 * Shared: word BELL, incremented by a vCPU after it stored a new ALARM, and the double ARMED, written by the alarm
 * thread: what it sleeps until. The vCPU notifies only if its alarm comes earlier. The alarm thread reads BELL, then the
 * alarms, then stores ARMED, then sleeps unless BELL has changed; so an alarm is either seen before the sleep, or
 * changes BELL and prevents it, or is compared with the ARMED of that very sleep.
 *
 * An alarm rings again until the vCPU replaces it: clocks of two threads differ by a little, so a vCPU may be kicked
 * just before it finds its timer due.
 */
import { alarmOf, controlBlock } from '../../threads/control-block.js';
import type { VcpuSignals } from '../../threads/signals.js';

const BELL = 0;
const ARMED = 1;

export const ALARM_BUFFER_BYTES = 16;

const AGAIN_NS = 1e6;

/** The vCPU's end. */
export class Alarm {
  readonly #alarm: Float64Array;
  readonly #bell: Int32Array;
  readonly #armed: Float64Array;

  constructor(block: Int32Array<SharedArrayBuffer>, alarms: SharedArrayBuffer) {
    this.#alarm = alarmOf(block);
    this.#bell = new Int32Array(alarms);
    this.#armed = new Float64Array(alarms);
  }

  /** Asks for a kick at host time `at`, replacing what was asked before; Infinity for none. */
  set(at: number): void {
    if (this.#alarm[0] === at) return;
    this.#alarm[0] = at;
    Atomics.add(this.#bell, BELL, 1);
    if (at < this.#armed[ARMED]!) Atomics.notify(this.#bell, BELL);
  }
}

/** The alarm thread: never returns. */
export function runAlarms(
  control: SharedArrayBuffer,
  signals: readonly VcpuSignals[],
  alarms: SharedArrayBuffer,
  hostNow: () => number,
): never {
  const bell = new Int32Array(alarms);
  const armed = new Float64Array(alarms);
  const asked = signals.map((_, i) => alarmOf(controlBlock(control, i)));
  /** The alarm that rang last, and when it rings again. */
  const rung = new Float64Array(signals.length);
  const again = new Float64Array(signals.length);
  for (;;) {
    const seen = Atomics.load(bell, BELL);
    const now = hostNow();
    let next = Infinity;
    for (let i = 0; i < signals.length; i++) {
      const alarm = asked[i]![0]!;
      let at = alarm === rung[i] ? again[i]! : alarm;
      if (at <= now) {
        signals[i]!.kick();
        rung[i] = alarm;
        again[i] = at = now + AGAIN_NS;
      }
      if (at < next) next = at;
    }
    armed[ARMED] = next;
    Atomics.wait(bell, BELL, seen, next === Infinity ? undefined : (next - now) / 1e6);
  }
}
