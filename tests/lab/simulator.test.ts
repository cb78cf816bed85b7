import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { microseconds, milliseconds, nanoseconds } from '../../base/units.js';
import { Gate } from '../../lab/simulator/gate.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { simulate } from '../migration/simulate.js';

function world(seed = 1): VirtualTime {
  return new VirtualTime(seededRandom(seed), new Trace());
}

describe('virtual time', () => {
  it('moves only when nothing else can run', async () => {
    const time = world();
    const seen: number[] = [];
    const work = (async () => {
      for (let i = 0; i < 5; i++) await Promise.resolve();
      seen.push(time.now());
      await time.sleep(milliseconds(1));
      for (let i = 0; i < 100; i++) await Promise.resolve();
      seen.push(time.now());
    })();
    const other = (async () => {
      await time.sleep(microseconds(999));
      seen.push(time.now());
    })();
    await time.run(Promise.all([work, other]));
    expect(seen).toEqual([0, 999e3, 1e6]);
  });

  it('runs what is due at one moment in an order that the seed decides', async () => {
    const orderOf = async (seed: number): Promise<string> => {
      const time = world(seed);
      const order: number[] = [];
      const all = Array.from({ length: 8 }, async (_, i) => {
        await time.sleep(microseconds(5));
        order.push(i);
      });
      await time.run(Promise.all(all));
      return order.join('');
    };
    const orders = new Set<string>();
    for (let seed = 0; seed < 10; seed++) {
      orders.add(await orderOf(seed));
      expect(await orderOf(seed)).toBe(await orderOf(seed));
    }
    expect(orders.size).toBeGreaterThan(8);
  });

  it('waits for ever without an end, and says so when nothing else is left', async () => {
    const time = world();
    let over = false;
    const cancel = time.after(nanoseconds(Infinity), () => {
      over = true;
    });
    await time.run(time.sleep(milliseconds(3_600_000)));
    expect(over).toBe(false);
    cancel();
    await expect(time.run(time.sleep(nanoseconds(Infinity)))).rejects.toThrow(/nothing is left to run/);
  });

  it('wakes nobody before the time has passed, were it by a part of a nanosecond', async () => {
    const time = world();
    const due = 100.4;
    let looks = 0;
    const wait = async (): Promise<void> => {
      for (; time.now() < due && looks < 10; looks++) await time.sleep(nanoseconds(due - time.now()));
    };
    await time.run(wait());
    expect(looks, 'waits until the time had passed').toBe(1);
  });

  it('never runs an earlier event after a later one', async () => {
    const time = world(3);
    const random = seededRandom(4);
    let last = 0;
    const all = Array.from({ length: 500 }, async () => {
      await time.sleep(nanoseconds(random.below(1000)));
      expect(time.now()).toBeGreaterThanOrEqual(last);
      last = time.now();
    });
    await time.run(Promise.all(all));
  });

  it('forgets what was cancelled, and wakes a sleeper whose signal aborts', async () => {
    const time = world();
    let rang = false;
    const cancel = time.after(microseconds(1), () => {
      rang = true;
    });
    cancel();
    cancel();
    const controller = new AbortController();
    const sleeper = time.sleep(milliseconds(1000), controller.signal).catch((error: unknown) => error);
    time.after(microseconds(7), () => controller.abort('enough'));
    expect(await time.run(sleeper)).toBe('enough');
    expect(time.now()).toBe(7000);
    expect(rang).toBe(false);
  });

  it('says so when everybody waits for nobody', async () => {
    await expect(world().run(new Promise(() => undefined))).rejects.toThrow(/stands still/);
  });

  it('says so when a simulation never ends', async () => {
    const time = world();
    const forever = async (): Promise<void> => {
      for (;;) await time.sleep(milliseconds(3_600_000));
    };
    await expect(time.run(forever())).rejects.toThrow(/without end/);
  });
});

describe('a process in virtual time', () => {
  it('that stands still finds all that came meanwhile, in its order, when it goes on', async () => {
    const time = world();
    const gate = new Gate(time);
    const seen: [what: string, at: number][] = [];
    const see = (what: string): void => void seen.push([what, time.now()]);
    gate.after(microseconds(5), () => see('timer'));
    gate.after(microseconds(7), () => see('cancelled'))();
    void gate.through(time.sleep(microseconds(6))).then(() => see('answer'));
    const on = gate.suspend(microseconds(100));
    expect(gate.suspended).toBe(true);
    expect(gate.suspend(microseconds(1))).toBe(false);
    time.after(microseconds(8), () => gate.whenAwake(() => see('frame')));
    time.after(microseconds(200), () => see('later'));
    await time.run(Promise.all([on, time.sleep(microseconds(200))]));
    expect(seen.map(([what]) => what).sort()).toEqual(['answer', 'frame', 'later', 'timer']);
    expect(seen[0]).toEqual(['timer', 100_000]);
    expect(seen.filter(([, at]) => at === 100_000)).toHaveLength(3);
    expect(gate.now()).toBe(200_000);
  });

  it('that is ended while it stands still does nothing any more', async () => {
    const time = world();
    const gate = new Gate(time);
    let ran = false;
    gate.after(microseconds(5), () => {
      ran = true;
    });
    const on = gate.suspend(microseconds(100));
    time.after(microseconds(50), () => gate.shut());
    await time.run(Promise.resolve(on));
    expect(ran).toBe(false);
    expect(gate.suspend(microseconds(1))).toBe(false);
  });

  it('whose clock is slow waits too long, by its own measure never too short, and its clock never jumps', async () => {
    const time = world();
    const gate = new Gate(time);
    await time.run(time.sleep(microseconds(10)));
    gate.drift(0.4);
    expect(gate.now()).toBe(10_000);
    const from = gate.now();
    await time.run(gate.sleep(microseconds(10)));
    expect(time.now()).toBe(35_000);
    expect(gate.now() - from).toBeGreaterThanOrEqual(10_000);
    gate.drift(1);
    expect(gate.now()).toBeCloseTo(20_000, 3);
    await time.run(gate.sleep(microseconds(10)));
    expect(gate.now()).toBeCloseTo(30_000, 3);
  });

  it('whose clock is right again is woken by that clock, whenever it began to wait', async () => {
    const time = world();
    const gate = new Gate(time);
    gate.drift(0.5);
    const slept = gate.sleep(microseconds(100));
    await time.run(time.sleep(microseconds(20)));
    gate.drift(1);
    await time.run(slept);
    expect(gate.now()).toBeGreaterThanOrEqual(100_000);
    expect(time.now()).toBe(110_000);
  });

  it('whose clock jumps ahead finds all due at once that is due by then, and the rest so much sooner', async () => {
    const time = world();
    const gate = new Gate(time);
    const rang: [what: string, at: number][] = [];
    for (const us of [10, 20, 90]) gate.after(microseconds(us), () => rang.push([`${us}`, time.now()]));
    gate.after(microseconds(15), () => rang.push(['cancelled', 0]))();
    const wall = gate.wallNow();
    await time.run(time.sleep(microseconds(5)));
    gate.jump(microseconds(50));
    expect(gate.now()).toBe(55_000);
    expect(
      Math.round((gate.wallNow() - wall) / 1e3),
      'of nanoseconds since 1970 a number holds no more',
    ).toBe(55);
    await time.run(time.sleep(microseconds(100)));
    expect(rang.slice(0, 2).sort()).toEqual([
      ['10', 5000],
      ['20', 5000],
    ]);
    expect(rang.slice(2)).toEqual([['90', 40_000]]);
  });

  it('whose wall clock is set back waits as before', async () => {
    const time = world();
    const gate = new Gate(time);
    const wall = gate.wallNow();
    const slept = gate.sleep(microseconds(10));
    gate.setBack(microseconds(3));
    await time.run(slept);
    expect([time.now(), gate.now()]).toEqual([10_000, 10_000]);
    expect(Math.round((gate.wallNow() - wall) / 1e3)).toBe(7);
  });

  it('is woken by a signal before its time, which is then of no account any more', async () => {
    const time = world();
    const gate = new Gate(time);
    const controller = new AbortController();
    const sleeper = gate.sleep(milliseconds(1), controller.signal).catch((error: unknown) => error);
    time.after(microseconds(7), () => controller.abort('enough'));
    expect(await time.run(sleeper)).toBe('enough');
    expect(time.now()).toBe(7000);
  });
});

describe('a simulated migration', () => {
  it('is the same, event for event, for the same seed, and another for another', async () => {
    const hashes = new Set<string>();
    for (const seed of [1, 2, 3]) {
      const [first, second] = [await simulate({ seed }), await simulate({ seed })];
      expect(first.hash).toBe(second.hash);
      expect(first.trace.lines).toEqual(second.trace.lines);
      hashes.add(first.hash);
    }
    expect(hashes.size).toBe(3);
  });

  it('whose fault never fired fails', async () => {
    const rule = { name: 'never', judge: () => undefined };
    await expect(simulate({ rules: [rule] })).rejects.toThrow(/never fired: never/);
  });
});
