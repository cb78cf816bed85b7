/** Two stations and a wire between them on which a test can do harm; time is virtual and moves when a test says so. */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { type Duration, type Instant, instant } from '../../base/units.js';
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import type { Station } from '../../devices/ethernet/datagram.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';

export class ManualTime implements Scheduler {
  #now = 0;
  #timers: { at: number; run: () => void }[] = [];

  now(): Instant {
    return instant(this.#now);
  }

  after(duration: Duration, callback: () => void): Cancel {
    const timer = { at: this.#now + duration, run: callback };
    this.#timers.push(timer);
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer);
    };
  }

  sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => this.after(duration, resolve));
  }

  yield(): Promise<void> {
    return Promise.resolve();
  }

  /** Lets `duration` pass, and everything happen that is due in it. */
  pass(duration: Duration): void {
    const end = this.#now + duration;
    for (;;) {
      const next = this.#timers.reduce<{ at: number; run: () => void } | undefined>(
        (first, timer) => (timer.at <= end && (first === undefined || timer.at < first.at) ? timer : first),
        undefined,
      );
      if (next === undefined) break;
      this.#timers = this.#timers.filter((timer) => timer !== next);
      this.#now = Math.max(this.#now, next.at);
      next.run();
    }
    this.#now = end;
  }
}

export const station = (n: number): Station => ({
  mac: parseMac(`52:54:00:00:00:${n.toString(16).padStart(2, '0')}`)!,
  ip: parseIpv4(`10.0.0.${n}`)!,
});

/** What the wire does with a frame: hands it on by `pass`, as often and whenever it likes. */
export type Harm = (frame: Uint8Array, pass: (frame: Uint8Array) => void) => void;

export interface Stations {
  readonly time: ManualTime;
  readonly a: TrafficPeer;
  readonly b: TrafficPeer;
}

/** `harm` sees what goes from A to B; the way back is good. */
export function wiredStations(harm: Harm = (frame, pass) => pass(frame)): Stations {
  const time = new ManualTime();
  const later = (receive: () => FrameSink, how: Harm): FrameSink => {
    return (bytes, at, length) =>
      how(bytes.slice(at, at + length), (frame) => {
        time.after(1000 as Duration, () => receive()(frame, 0, frame.length));
      });
  };
  const a: TrafficPeer = new TrafficPeer({
    station: station(1),
    scheduler: time,
    send: later(() => b.receive, harm),
    sharedClock: true,
  });
  const b: TrafficPeer = new TrafficPeer({
    station: station(2),
    scheduler: time,
    send: later(
      () => a.receive,
      (frame, pass) => pass(frame),
    ),
    sharedClock: true,
  });
  return { time, a, b };
}
