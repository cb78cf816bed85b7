/** What an administrator does to a guest's NICs, on whole machines: links, filters, announcements. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { milliseconds } from '../../base/units.js';
import { macOf, simulatedMachine } from '../../lab/simulator/machine.js';
import { type Alone, echoingAlone } from './passthrough-world.js';

const RATE = 300;
const MAC = '52:54:00:12:34:56';
/** A driver hears of its link by an interrupt; one that is to start over resets its function every ten seconds at most. */
const LINK_MS = 60;
const RESET_MS = 12_000;

const echoesOf = ({ network }: Alone): number => network.peer.report()[0]!.arrived!.received;
const elapse = ({ scheduler }: Alone, ms: number): Promise<void> => scheduler.sleep(milliseconds(ms));

/** Echoes that come back in a while from now. */
async function echoesIn(world: Alone, ms = 40): Promise<number> {
  const before = echoesOf(world);
  await elapse(world, ms);
  return echoesOf(world) - before;
}

const NICS = [
  ['vf0', {}],
  ['virtio-net0', { macs: [], virtio: [{ mac: macOf(0) }] }],
] as const;

describe.each(NICS)("a guest's NIC, %s", (name, nic) => {
  it('has no link while it was taken away, and its guest knows; then traffic flows again', () =>
    echoingAlone(
      async (world) => {
        const { machine } = world;
        const network = machine.network!;
        const linkOf = async (): Promise<boolean> => (await machine.nicReports())[0]!.link;
        expect(await echoesIn(world)).toBeGreaterThan(0);
        expect(await network.setLink(name, false)).toBe(true);
        await elapse(world, LINK_MS);
        expect(await linkOf()).toBe(false);
        expect(await echoesIn(world)).toBe(0);
        // A cable that is plugged in does not give back what an administrator took.
        await network.setCable(false);
        await network.setCable(true);
        await elapse(world, LINK_MS);
        expect(await linkOf()).toBe(false);
        expect(await echoesIn(world)).toBe(0);
        expect(await network.setLink(name, true)).toBe(true);
        expect(await linkOf()).toBe(true);
        await elapse(world, name === 'vf0' ? RESET_MS : LINK_MS);
        expect(await echoesIn(world)).toBeGreaterThan(0);
        expect(await network.setLink('vf7', false)).toBe(false);
        expect(await linkOf()).toBe(true);
      },
      undefined,
      { nic, rate: RATE },
    ));
});

describe("a guest's function", () => {
  it('lets in what its driver has asked for, and says so', () =>
    echoingAlone(async ({ machine, network, scheduler }) => {
      expect(await machine.network!.rxFilters()).toEqual([
        {
          name: 'vf0',
          promiscuous: false,
          broadcast: true,
          unicast: 'normal',
          multicast: 'normal',
          vlan: 'normal',
          mac: MAC,
          addresses: [],
          groupHashes: [],
          // Of untagged frames and those with a priority alone, which its stack joins by itself.
          vlans: [0],
        },
      ]);
      const unused = simulatedMachine({ scheduler, random: seededRandom(2) }, network, 'unused');
      const [nothing] = await unused.network!.rxFilters();
      expect(nothing).toMatchObject({ multicast: 'none', broadcast: true, mac: MAC, vlans: [] });
      await unused.destroy();
    }));

  it('tells once that what it lets in has changed, and again after somebody asked', () =>
    echoingAlone(
      async (world) => {
        const { machine } = world;
        const network = machine.network!;
        const told: string[] = [];
        machine.on((event) => {
          if (event.kind === 'device' && event.event.kind === 'rx-filter') told.push(event.event.device);
        });
        // Its driver resets it then, and asks anew for all that it had.
        const startsOver = async (): Promise<void> => {
          await network.setLink('vf0', false);
          await network.setLink('vf0', true);
          await elapse(world, RESET_MS);
        };
        await startsOver();
        expect(told).toEqual([]);
        await network.rxFilters('vf1');
        await startsOver();
        expect(told).toEqual([]);
        await network.rxFilters('vf0');
        await startsOver();
        expect(told).toEqual(['vf0']);
      },
      undefined,
      { rate: RATE },
    ));

  it('announces itself as often, and in such a rhythm, as it is told to; not by another name, and not when it stands still', () =>
    echoingAlone(
      async (world) => {
        const { machine, network } = world;
        const announce = (rounds: number, names?: readonly string[]) =>
          machine.network!.announce({ rounds, initialMs: 10, stepMs: 10, pauseMsMax: 20 }, names);
        const heard = (): number => network.announcedAt.length;
        await announce(4);
        // At 0, 10, 30 and, no later than that, 50 ms.
        for (const [ms, count] of [
          [5, 1],
          [10, 2],
          [20, 3],
          [20, 4],
          [100, 4],
        ] as const) {
          await elapse(world, ms);
          expect(heard()).toBe(count);
        }
        await announce(4, ['vf1']);
        await announce(1, ['vf0', 'vf1']);
        await elapse(world, 100);
        expect(heard()).toBe(5);
        await announce(1000);
        await announce(0);
        await elapse(world, 100);
        expect(heard()).toBe(6);
        // By two names: each goes on until it is ended by its own.
        const named = (id: string, rounds: number) =>
          machine.network!.announce({ rounds, initialMs: 10, stepMs: 0, pauseMsMax: 10, id });
        await named('first', 1000);
        await elapse(world, 5);
        await named('second', 1000);
        await elapse(world, 22);
        expect(heard()).toBe(6 + 3 + 3);
        await named('first', 0);
        await elapse(world, 20);
        expect(heard()).toBe(12 + 2);
        await announce(0);
        await elapse(world, 20);
        expect(heard()).toBe(14 + 2);
        await named('second', 0);
        await elapse(world, 20);
        expect(heard()).toBe(16);
        await announce(1000);
        await machine.pause();
        await elapse(world, 100);
        expect(heard()).toBe(17);
        await machine.resume();
      },
      undefined,
      { rate: RATE },
    ));
});
