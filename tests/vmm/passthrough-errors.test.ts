/** Errors that a device reports of itself in a guest that never moves, and what a monitor tells of its PCI Express. */
import { describe, expect, it } from 'vitest';
import { simulatedWorld } from '../../lab/simulator/run.js';
import { Timeline } from '../../migration/timeline.js';
import { pciBuses } from '../../vmm/monitor/query-pci.js';
import { Traveller } from './round-trip-world.js';

const ERRORS = 100;
/** Every so often one is fatal, which takes a reset of the bus. */
const FATAL_EVERY = 10;
const RECOVERED = /AER: device recovery successful$/;

function resting(body: (traveller: Traveller) => Promise<void>): Promise<void> {
  const world = simulatedWorld(1);
  const run = async (): Promise<void> => {
    const traveller = await Traveller.boot(world, {});
    await body(traveller);
    await traveller.destroy();
  };
  return world.scheduler.run(run());
}

const recoveries = ({ console }: Traveller): number => console.filter((line) => RECOVERED.test(line)).length;

describe('a guest that never moves', () => {
  it('recovers from a hundred errors of its device under traffic, and nothing is left behind', () =>
    resting(async (traveller) => {
      const { machine } = traveller;
      await traveller.startTraffic('echo');
      await traveller.stopTraffic();
      const before = await traveller.resources();
      await traveller.startTraffic('echo');
      for (let i = 1; i <= ERRORS; i++) {
        const fatal = i % FATAL_EVERY === 0;
        const injected = await machine.injectError('vf0', fatal ? 'MALF_TLP' : 'COMP_TIME');
        expect(injected).toEqual({
          severity: fatal ? 'fatal' : 'nonfatal',
          reported: true,
          bus: 1,
          devfn: 0,
        });
        for (let wait = 0; recoveries(traveller) < i && wait < 100; wait++) await traveller.elapse(5);
        expect(recoveries(traveller)).toBe(i);
      }
      const { received } = traveller.echoes;
      await traveller.elapse(40);
      expect(traveller.echoes.received).toBeGreaterThan(received);
      expect(traveller.echoes).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      await traveller.stopTraffic();
      expect(await traveller.resources()).toEqual(before);
      expect(
        traveller.console.filter((line) => /BUG|CORRUPT|recovery failed|Adapter removed/.test(line)),
      ).toEqual([]);
    }));

  it('hears of a correctable error, of none that it has masked, and of none of a device that is cut off', () =>
    resting(async ({ machine, console }) => {
      expect(await machine.injectError('vf0', 'BAD_TLP')).toMatchObject({
        severity: 'correctable',
        reported: true,
      });
      expect(await machine.injectError('vf0', 'ADV_NONFATAL')).toMatchObject({ reported: false });
      expect(await machine.injectError('vf7', 'BAD_TLP')).toBeUndefined();
      await machine.devices[0]!.fn!.isolate();
      expect(await machine.injectError('vf0', 'BAD_TLP')).toBeUndefined();
      expect(console.filter((line) => RECOVERED.test(line))).toEqual([]);
    }));
});

describe('a driver that lets go of its device', () => {
  it.each([
    ['nonfatal', 'COMP_TIME', 2],
    ['fatal', 'MALF_TLP', 1],
  ] as const)('after a %s error resets it where it can be reached, as Linux has it', (_, error, resets) => {
    const world = simulatedWorld(1);
    const run = async (): Promise<void> => {
      const traveller = await Traveller.boot(world, {});
      const timeline = new Timeline(world.scheduler);
      traveller.machine.outgoing.observe?.(timeline);
      await traveller.machine.injectError('vf0', error);
      for (let wait = 0; recoveries(traveller) === 0 && wait < 100; wait++) await traveller.elapse(5);
      expect(recoveries(traveller)).toBe(1);
      const steps = timeline.entries.flatMap(({ facts }) => facts?.step ?? []);
      expect(steps.filter((step) => step === 'function-reset')).toHaveLength(resets);
      await traveller.destroy();
    };
    return world.scheduler.run(run());
  });
});

describe('query-pci', () => {
  it('has each function at its place, those behind a bridge inside that, and none that is cut off', () =>
    resting(async ({ machine }) => {
      const [bus, ...others] = pciBuses(await machine.pci());
      expect(others).toEqual([]);
      expect(bus!.devices.map(({ slot, qdev_id, class_info }) => [slot, qdev_id, class_info.desc])).toEqual([
        [0, 'host-bridge', 'Host bridge'],
        [1, 'root-port0', 'PCI bridge'],
      ]);
      const bridge = bus!.devices[1]!.pci_bridge!;
      expect(bridge.bus).toMatchObject({ number: 0, secondary: 1 });
      const [vf] = bridge.devices!;
      expect(vf).toMatchObject({
        bus: 1,
        slot: 0,
        function: 0,
        class_info: { class: 0x200, desc: 'Ethernet controller' },
        id: { vendor: 0x8086, device: 0x10ed },
        qdev_id: 'vf0',
      });
      expect(vf!.regions).toHaveLength(2);
      for (const { address, size, type, prefetch } of vf!.regions) {
        expect(type).toBe('memory');
        const window = bridge.bus[prefetch ? 'prefetchable_range' : 'memory_range'];
        expect(address).toBeGreaterThanOrEqual(window.base);
        expect(address + size - 1).toBeLessThanOrEqual(window.limit);
      }
      await machine.devices[0]!.fn!.isolate();
      expect(pciBuses(await machine.pci())[0]!.devices[1]!.pci_bridge!.devices).toEqual([]);
      expect(pciBuses([])).toEqual([]);
    }));
});
