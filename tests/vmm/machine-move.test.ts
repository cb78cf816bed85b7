import { describe, expect, test } from 'vitest';
import { IRQ_ENABLED_REGISTER } from '../../base/abi/code-variant.js';
import { parseImage } from '../../base/abi/image-parse.js';
import { sha256 } from '../../guest-fixtures/toolchain/build.js';
import type { MachineState, VcpuRecord } from '../../migration/ports.js';
import { decodePlatform } from '../../vmm/machine/platform-records.js';
import { churnLines, holdAt, imageOf, letEnd, ticksWork } from './machine-guests.js';
import { Watch } from './machine-watch.js';
import { booted, moved, WORLDS, type World } from './machine-worlds.js';

/** Index of the interrupt flag in a register list. */
async function irqFlagAt(guest: Parameters<typeof imageOf>[0]): Promise<number> {
  const { meta } = parseImage(await imageOf(guest), sha256);
  return meta.registers.findIndex(({ name }) => name === IRQ_ENABLED_REGISTER);
}

/**
 * A paused machine whose guest sleeps until a timer that is not due so soon that nothing of its waking would be seen. A nap has to
 * be longer than the host takes to stop the guest in it, which on a busy one may be long.
 */
async function asleep(world: World) {
  for (let napMs = 800; ; napMs *= 2) {
    const { machine, watch } = await booted(world, 'nap', napMs);
    await watch.line(/^b/);
    await world.elapse(5);
    await machine.pause();
    const { vcpus, clockNs } = await machine.save();
    const [vcpu] = vcpus;
    if (vcpu!.run === 'halted' && vcpu!.timerDeadlineNs - clockNs > 1e8) return { machine, watch, napMs };
    expect(napMs, 'no nap is long enough').toBeLessThan(20_000);
  }
}

describe.each(WORLDS)('moving a guest in $name', ({ run }) => {
  test('a guest stopped in mid-loop goes on in another machine, again and again, with the same result', () =>
    run(async (world) => {
      let { machine, watch } = await booted(world, 'churn');
      let midLoop = 0;
      await watch.count(1);
      for (let hop = 0; hop < 4; hop++) {
        await world.elapse(1);
        await machine.pause();
        const state = await machine.save();
        if (state.vcpus[0]!.unwind.length > 0) midLoop++;
        const next = await moved(world, machine);
        expect(await next.save()).toEqual(state);
        machine.outgoing.relinquish();
        machine = next;
        watch.follow(next);
        await next.incoming.run();
      }
      letEnd(machine);
      await watch.line(/^s/);
      expect(watch.lines).toEqual(churnLines(watch.lines));
      expect(midLoop).toBe(4);
    }));

  test('a guest stopped inside its interrupt handler goes on there', () =>
    run(async (world) => {
      const flag = await irqFlagAt('ticks');
      let { machine, watch } = await booted(world, 'ticks', 400);
      // Its idle loop disables interrupts too, but to halt; running with them disabled, it is in its handler, but for
      // a few instructions.
      const inHandler = ({ vcpus: [vcpu] }: MachineState): boolean =>
        vcpu!.registers[flag * 8] === 0 && vcpu!.run === 'running';
      for (const tick of [100, 200, 300]) {
        holdAt(machine, tick);
        for (;;) {
          await world.elapse(1);
          await machine.pause();
          if (inHandler(await machine.save())) break;
          await machine.resume();
        }
        const next = await moved(world, machine);
        machine.outgoing.relinquish();
        machine = next;
        watch.follow(next);
        await next.incoming.run();
      }
      holdAt(machine, 0);
      await watch.line(/^w/);
      expect(watch.lines).toEqual(['b 400', 't 400', 'h 400', ticksWork(400)]);
    }));

  test('four vCPUs and the interrupts between them move as one', () =>
    run(async (world) => {
      let { machine, watch } = await booted(world, 'ipi', 300, { vcpus: 4 });
      await watch.count(1);
      for (let hop = 0; hop < 3; hop++) {
        await machine.pause();
        const next = await moved(world, machine);
        expect(await next.save()).toEqual(await machine.save());
        const { vcpus } = decodePlatform((await next.save()).devices, 4);
        expect(vcpus[0]!.icrLow, 'what it sent last').not.toBe(0);
        machine.outgoing.relinquish();
        machine = next;
        watch.follow(next);
        await next.incoming.run();
        await world.elapse(1);
      }
      await watch.line(/^p/);
      expect(watch.lines).toEqual(['u 4', 'p 900']);
    }));

  test('the clock of the guest never goes backwards on its way, and is where it stood', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'clock');
      await watch.count(3);
      await machine.pause();
      const { clockNs } = await machine.save();
      const next = await moved(world, machine);
      await world.elapse(20);
      const after = new Watch(next);
      expect(next.query().clockNs).toBe(clockNs);
      await next.incoming.run();
      await after.count(3);
      expect(after.lines.filter((line) => line.startsWith('x'))).toEqual([]);
    }));

  test('the guest sees no more of a stop, or of its move, than it runs', () =>
    run(async (world) => {
      const STOP_MS = 150;
      const { machine, watch } = await booted(world, 'clock');
      await watch.count(2);
      const seen = async (goOn: () => Promise<unknown>, on: () => typeof machine): Promise<void> => {
        const { clockNs } = await machine.save();
        await world.elapse(STOP_MS);
        const from = world.now();
        await goOn();
        const sawMs = (on().query().clockNs - clockNs) / 1e6;
        expect(sawMs, `ms that the guest's clock went on at a stop of ${STOP_MS} ms`).toBeLessThanOrEqual(
          world.now() - from,
        );
      };
      await machine.pause();
      await seen(
        () => machine.resume(),
        () => machine,
      );
      await machine.pause();
      const next = await moved(world, machine);
      await seen(
        () => next.incoming.run(),
        () => next,
      );
    }));

  test('a guest that sleeps until its timer is due is woken by it after a stop and after a move', () =>
    run(async (world) => {
      for (const move of [false, true]) {
        const { machine, watch, napMs } = await asleep(world);
        const goesOn = move ? await moved(world, machine) : machine;
        if (move) watch.follow(goesOn);
        await (move ? goesOn.incoming.run() : goesOn.resume());
        for (let waited = 0; waited < 20 * napMs && watch.lines.length < 2; waited += 10)
          await world.elapse(10);
        expect(watch.lines, 'the timer of the halted vCPU did not wake it').toEqual(['b 0', 'n 1']);
      }
    }));

  test('an interrupt that waits because interrupts are disabled still waits after a move', () =>
    run(async (world) => {
      const flag = await irqFlagAt('masked');
      const { machine, watch } = await booted(world, 'masked');
      await watch.line(/^b/);
      await machine.pause();
      const state = await machine.save();
      expect(state.vcpus[0]!.registers[flag * 8], 'the interrupt flag').toBe(0);
      expect(
        state.vcpus[0]!.pir.some((byte) => byte !== 0),
        'an interrupt waits',
      ).toBe(true);
      const next = await moved(world, machine);
      watch.follow(next);
      await next.incoming.run();
      await world.elapse(5);
      holdAt(next, 1);
      expect(await watch.line(/^d/), 'interrupts taken while they were disabled').toBe('d 0');
      await watch.line(/^e/);
      expect(watch.lines).toEqual(['b 0', 'd 0', 'e 1']);
    }));

  test('a destination that is asked to lets the guest see the time of its move', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'clock');
      await watch.count(2);
      await machine.pause();
      const { clockNs } = await machine.save();
      const next = await moved(world, machine, { clockCatchUp: 1 });
      await world.elapse(30);
      watch.follow(next);
      await next.incoming.run();
      expect(next.query().clockNs).toBeGreaterThan(clockNs + 25e6);
      await watch.count(watch.lines.length + 2);
      expect(watch.lines.filter((line) => line.startsWith('x'))).toEqual([]);
    }));

  test('negative control: one word of RAM changed on the way shows in the result', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churn');
      await watch.count(1);
      await machine.pause();
      const next = await moved(world, machine);
      next.ram[0x2_1000] = next.ram[0x2_1000]! ^ 1;
      watch.follow(next);
      await next.incoming.run();
      letEnd(next);
      await watch.line(/^s/);
      expect(watch.lines).not.toEqual(churnLines(watch.lines));
      expect(watch.lines.slice(0, 2)).toEqual(churnLines(watch.lines).slice(0, 2));
    }));

  test('a source that was not given away goes on by itself', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'churn');
      await watch.count(1);
      await machine.outgoing.startDirtyLog();
      await machine.pause();
      await moved(world, machine);
      await machine.resume();
      await machine.outgoing.stopDirtyLog();
      letEnd(machine);
      await watch.line(/^s/);
      expect(watch.lines).toEqual(churnLines(watch.lines));
    }));

  test('a machine that was given away never runs again', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'spin');
      await machine.pause();
      machine.outgoing.relinquish();
      await expect(machine.resume()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    }));
});

describe.each(WORLDS)('a destination in $name', ({ run }) => {
  test('refuses another machine, naming every difference', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'spin');
      const target = world.create({ vcpus: 2 });
      const theirs = {
        ...machine.description,
        devices: [{ name: 'toaster', version: 3 }],
        imageGpa: 2 ** 33,
      };
      const refused = target.incoming.accept(theirs);
      await expect(refused).rejects.toMatchObject({ code: 'vmm/machine-incompatible', facts: { count: 3 } });
      await expect(refused).rejects.toThrow(/vCPUs.*toaster v3.*image/);
    }));

  test('prepares nothing from an image that has not arrived, and refuses to load from a damaged one', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'spin');
      await machine.pause();
      const { description } = machine;
      const target = world.create();
      await target.incoming.accept(description);
      await target.incoming.prepareCode();
      const state = await machine.save();
      await expect(target.incoming.load(state)).rejects.toMatchObject({ code: 'image/malformed' });
      target.ram.set(machine.ram.subarray(0, description.migratedPages * 4096));
      await target.incoming.prepareCode();
      const at = description.imageGpa + 200;
      target.ram[at] = target.ram[at]! ^ 0x20;
      await expect(target.incoming.load(state)).rejects.toMatchObject({ code: 'image/hash' });
      target.ram[at] = target.ram[at]! ^ 0x20;
      await target.incoming.load(state);
      expect(target.state).toBe('loaded');
    }));

  const refusals: readonly (readonly [string, (state: MachineState) => MachineState])[] = [
    ['too few registers', vcpu(({ registers }) => ({ registers: registers.subarray(8) }))],
    [
      'a register wider than its type',
      vcpu(({ registers }) => ({ registers: registers.map((b, i) => (i === 5 ? 1 : b)) })),
    ],
    ['another index', vcpu(() => ({ index: 1 }))],
    ['an unknown run state', vcpu(() => ({ run: 'flying' as 'off' }))],
    ['off with a stack', vcpu(() => ({ run: 'off' }))],
    ['halted without a stack', vcpu(() => ({ run: 'halted', unwind: new Uint8Array(0) }))],
    ['half a word of stack', vcpu(({ unwind }) => ({ unwind: unwind.subarray(2) }))],
    ['a stack larger than its area', vcpu(() => ({ unwind: new Uint8Array(256 * 1024) }))],
    ['a short interrupt descriptor', vcpu(() => ({ pir: new Uint8Array(31) }))],
    [
      'an interrupt that does not exist',
      vcpu(() => ({ pir: Uint8Array.from({ length: 32 }, (_, i) => (i === 0 ? 2 : 0)) })),
    ],
    ['no number for a deadline', vcpu(() => ({ timerDeadlineNs: Number.NaN }))],
    ['a deadline before time', vcpu(() => ({ timerDeadlineNs: -7 }))],
    ['no vCPU', (state) => ({ ...state, vcpus: [] })],
    [
      'one vCPU too many',
      (state) => ({ ...state, vcpus: [state.vcpus[0]!, { ...state.vcpus[0]!, index: 1 }] }),
    ],
    ['no devices', (state) => ({ ...state, devices: [] })],
    ['a device too few', (state) => ({ ...state, devices: state.devices.slice(0, -1) })],
    ['devices in another order', (state) => ({ ...state, devices: [...state.devices].reverse() })],
    ['an endless clock', (state) => ({ ...state, clockNs: Infinity })],
    ['a short APIC record', device('lapic', (bytes) => bytes.subarray(1))],
    ['a clock record that stopped at no time', device('clock', (bytes) => bytes.map(() => 0xff))],
  ];

  function vcpu(change: (record: VcpuRecord) => Partial<VcpuRecord>): (state: MachineState) => MachineState {
    return (state) => ({ ...state, vcpus: state.vcpus.map((record) => ({ ...record, ...change(record) })) });
  }

  function device(
    name: string,
    change: (bytes: Uint8Array) => Uint8Array,
  ): (state: MachineState) => MachineState {
    return (state) => ({
      ...state,
      devices: state.devices.map((record) =>
        record.name === name ? { ...record, state: change(record.state) } : record,
      ),
    });
  }

  test('refuses every hostile record with a typed error, runs nothing, and still takes a good one', () =>
    run(async (world) => {
      const { source, target, state, watch } = await readyToLoad(world);
      for (const [what, spoil] of refusals) {
        await expect(target.incoming.load(spoil(state)), what).rejects.toMatchObject({
          code: 'vmm/state-refused',
        });
        expect(target.state).toBe('incoming');
      }
      const badConsole = device('console', (bytes) => bytes.subarray(0, 3))(state);
      await expect(target.incoming.load(badConsole)).rejects.toMatchObject({ code: 'devices/recordRefused' });
      const unknown = {
        ...state,
        devices: state.devices.map((r) => (r.name === 'console' ? { ...r, version: 99 } : r)),
      };
      await expect(target.incoming.load(unknown)).rejects.toMatchObject({ code: 'devices/recordVersion' });
      await target.incoming.load(state);
      expect(await target.save()).toEqual(await source.save());
      watch.follow(target);
      await target.incoming.run();
      letEnd(target);
      await watch.line(/^s/);
      expect(watch.lines).toEqual(churnLines(watch.lines));
    }));

  test('a call stack of noise ends as a crash of the guest, not of the machine', () =>
    run(async (world) => {
      const { target, state } = await readyToLoad(world);
      const noise = vcpu(({ unwind }) => ({ unwind: unwind.map((_, i) => i * 37) }))(state);
      await target.incoming.load(noise);
      const watch = new Watch(target);
      await target.incoming.run();
      const { error } = await watch.event('crash');
      expect(error.code).toBe('vmm/guest-crashed');
      expect(target.state).toBe('crashed');
    }));
});

async function readyToLoad(world: World) {
  const { machine, watch } = await booted(world, 'churn');
  await watch.count(1);
  await machine.pause();
  const target = world.create();
  await target.incoming.accept(machine.description);
  target.ram.set(machine.ram.subarray(0, machine.description.migratedPages * 4096));
  await target.incoming.prepareCode();
  return { source: machine, target, watch, state: await machine.save() };
}
