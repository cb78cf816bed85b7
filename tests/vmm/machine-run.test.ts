import { describe, expect, test } from 'vitest';
import type { MachineQuery } from '../../dist/vmm/machine/machine.js';
import { churnLines, imageOf, letEnd, ticksWork } from './machine-guests.js';
import { Watch } from './machine-watch.js';
import { booted, WORLDS } from './machine-worlds.js';

describe.each(WORLDS)('a machine in $name', ({ run }) => {
  test('boots a guest, gives it its command line and prints its console', () =>
    run(async (world) => {
      const { watch, machine } = await booted(world, 'hello', 4711);
      expect(await watch.line(/^n/)).toBe('n 4711');
      expect(await watch.event('vcpu-off')).toMatchObject({ vcpu: 0 });
      expect(machine.state).toBe('running');
    }));

  test('stays paused at its entry when it is told to', () =>
    run(async (world) => {
      const machine = world.create();
      const watch = new Watch(machine);
      await machine.boot(await imageOf('hello'), '1', { paused: true });
      expect(machine.state).toBe('paused');
      expect((await machine.save()).vcpus[0]).toMatchObject({ run: 'running', unwind: new Uint8Array(0) });
      expect(watch.lines).toEqual([]);
      await machine.resume();
      expect(await watch.line(/^n/)).toBe('n 1');
    }));

  test('wakes a halted guest by its timer, never early, as often as it asks', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'ticks', 20);
      await watch.line(/^w/);
      expect(watch.lines).toEqual(['b 20', 't 20', 'h 20', ticksWork(20)]);
    }));

  test('interrupts a loop that calls nothing when the timer is due', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'preempt', 25);
      expect(await watch.line(/^t/)).toBe('t 25');
    }));

  test('holds interrupts back while they are disabled, returns from halt for them, and delivers all afterwards', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'window');
      await watch.line(/^e/);
      expect(watch.lines).toEqual(['d 0', 'h 0', 'e 2']);
    }));

  test.each([2, 3, 4])('starts %i vCPUs and carries interrupts between them without losing one', (vcpus) =>
    run(async (world) => {
      const { watch, machine } = await booted(world, 'ipi', 200, { vcpus });
      expect(await watch.line(/^p/)).toBe(`p ${200 * (vcpus - 1)}`);
      expect(watch.lines[0]).toBe(`u ${vcpus}`);
      // The last answer is sent, and heard of, before its sender halts.
      const states = (): string[] => machine.query().vcpus.map(({ state }) => state);
      while (states().slice(1).includes('running')) await world.elapse(1);
      expect(states().slice(1)).toEqual(new Array(vcpus - 1).fill('halted'));
    }),
  );

  test('pauses a loop that calls nothing, and its clock stands until it is resumed', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'clock');
      await watch.count(3);
      await machine.pause();
      expect(machine.query().vcpus[0]?.state).toBe('paused');
      const at = machine.query().clockNs;
      await world.elapse(30);
      expect(machine.query().clockNs).toBe(at);
      // A line from before the pause may have come after it; none is from after it.
      for (const line of watch.lines) expect(Number(line.slice(2)) * 1e6).toBeLessThanOrEqual(at);
      const printed = watch.lines.length;
      await machine.resume();
      await watch.count(printed + 3);
      expect(watch.lines.filter((line) => line.startsWith('x'))).toEqual([]);
      expect(machine.query().clockNs).toBeGreaterThan(at);
    }));

  test('lets the guest see the stop when asked to', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'clock', 0, { clockCatchUp: 1 });
      await watch.count(2);
      await machine.pause();
      const at = machine.query().clockNs;
      await world.elapse(30);
      await machine.resume();
      expect(machine.query().clockNs).toBeGreaterThan(at + 20e6);
      await watch.count(watch.lines.length + 2);
      expect(watch.lines.filter((line) => line.startsWith('x'))).toEqual([]);
    }));

  test('pauses and resumes a guest over and over without changing what it computes', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churn');
      await watch.count(1);
      for (let stop = 0; stop < 20; stop++) {
        await machine.pause();
        await machine.resume();
        await world.elapse(0.5);
      }
      letEnd(machine);
      await watch.line(/^s/);
      expect(watch.lines).toEqual(churnLines(watch.lines));
    }));

  test('a throttled guest gets less done, and a pause does not wait for its slice', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'endless', 50_000);
      const done = (): number => Number(watch.lines.at(-1)!.slice(2));
      /** Rounds a ms of the guest's clock, and its thread's share of a core, since `before`, which was then done. */
      const since = ({ clockNs, vcpus }: MachineQuery, before: number): { rate: number; share: number } => {
        const to = machine.query();
        const passedNs = to.clockNs - clockNs;
        const usedNs = (to.vcpus[0]?.cpuTimeNs ?? 0) - (vcpus[0]?.cpuTimeNs ?? 0);
        return { rate: ((done() - before) / passedNs) * 1e6, share: usedNs / passedNs };
      };
      await watch.count(3);
      machine.outgoing.throttle(90);
      const [from, before] = [machine.query(), done()];
      let throttled = { rate: 0, share: 1 };
      // On a busy host its alarm comes late; what it ran too long it stands still for afterwards, so the share falls.
      for (let reading = 0; reading < 20 && throttled.share >= 0.3; reading++) {
        await world.elapse(400);
        throttled = since(from, before);
      }
      expect(throttled.share).toBeLessThan(0.3);
      machine.outgoing.throttle(99);
      await machine.pause();
      await machine.resume();
      machine.outgoing.throttle(0);
      // Others may keep it from the core; but a guest that has no more than the hundredth that it had never gets there.
      let free = false;
      for (let reading = 0; reading < 500 && !free; reading++) {
        const [again, sofar] = [machine.query(), done()];
        await world.elapse(80);
        const { rate, share } = since(again, sofar);
        free = share > 0.1 || rate > 2 * throttled.rate;
      }
      expect(free).toBe(true);
    }));

  test('answers what no device claims with all ones, and drops writes to it', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'nowhere');
      await watch.line(/^r/);
      expect(watch.lines).toEqual([
        'b 255',
        'w 65535',
        'l 4294967295',
        'o 4294967295',
        'v 4294967295',
        'r 4294967295',
      ]);
    }));

  test.each([
    [1, 'power-off', 'off'],
    [2, 'power-reset', 'off'],
    [3, 'panic', 'crashed'],
  ] as const)('a guest that writes %i to the power device ends as %s', (what, kind, state) =>
    run(async (world) => {
      const { watch, machine } = await booted(world, 'power', what);
      await watch.event(kind);
      expect(machine.state).toBe(state);
      expect(watch.lines).toEqual([`p ${what}`]);
      await expect(machine.resume()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    }),
  );

  test('prints the end of a flood, and counts every line that it dropped', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'flood', 5000);
      await watch.line(/^e/);
      const dropped = watch.events.reduce((sum, e) => sum + (e.kind === 'console-dropped' ? e.lines : 0), 0);
      expect(watch.lines.length + dropped).toBe(5001);
    }));

  test('refuses what is not valid in its state', () =>
    run(async (world) => {
      const machine = world.create();
      await expect(machine.pause()).rejects.toMatchObject({ code: 'vmm/machine-state' });
      await expect(machine.save()).rejects.toMatchObject({ code: 'vmm/machine-state' });
      await expect(machine.outgoing.startDirtyLog()).rejects.toMatchObject({ code: 'vmm/machine-state' });
      await machine.boot(await imageOf('spin'));
      await expect(machine.boot(await imageOf('spin'))).rejects.toMatchObject({ code: 'vmm/machine-state' });
      await expect(machine.incoming.accept(machine.description)).rejects.toMatchObject({
        code: 'vmm/machine-state',
      });
    }));
});

test('two deterministic runs with one seed are the same to the byte, with another seed the interleaving differs', async () => {
  const deterministic = WORLDS.find(({ name }) => name === 'deterministic')!;
  const result = (seed: number): Promise<string> =>
    deterministic.run(async (world) => {
      const { machine, watch } = await booted(world, 'churners', 0, { vcpus: 3 });
      await watch.count(1);
      await world.elapse(2);
      await machine.pause();
      return JSON.stringify(
        (await machine.save()).vcpus.map(({ registers, unwind }) => [[...registers], [...unwind]]),
      );
    }, seed);
  const first = await result(7);
  expect(await result(7)).toBe(first);
  expect(await result(8)).not.toBe(first);
});

describe('a test that waits for a guest in vain', () => {
  const [threads, deterministic] = WORLDS;

  test('says what the machine, its vCPUs and its console were at', () =>
    threads!.run(async (world) => {
      const { machine, watch } = await booted(world, 'hello');
      await watch.event('vcpu-off');
      const impatient = new Watch(machine, 50);
      await expect(impatient.line(/^never/)).rejects.toThrow(
        /^a line like \/\^never\/ did not come within 0\.05 s\nmachine 0: running, guest hello, code run, clock [\d.]+ ms\n {2}vCPU 0: off without an exit in 100 ms; \d+ exits, 0 interrupts, 0 halts, \d+ MMIO accesses\n {2}the last of \d console lines:/,
      );
    }));

  test('says it of a simulation that stands still', () =>
    expect(
      deterministic!.run(async (world) => {
        const { watch } = await booted(world, 'hello');
        await watch.line(/^never/);
      }),
    ).rejects.toThrow(
      /stands still at \d+ ns: nothing is left to run\nmachine 0: running, guest hello, .*\n {2}vCPU 0: off; /,
    ));
});
