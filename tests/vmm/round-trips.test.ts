/**
 * There and back, with each stop and start of the registry that go together, and each tracking in turn: a guest comes back as
 * it was, and nothing is left behind, in it or on a host. `npm run round-trips` makes ten of each.
 */
import { describe, expect, it } from 'vitest';
import type { LinkRule } from '../../lab/simulator/link.js';
import { macOf } from '../../lab/simulator/machine.js';
import { simulatedWorld } from '../../lab/simulator/run.js';
import { chooseApproaches } from '../../migration/approaches.js';
import { AUTO, builtIn } from '../../migration/registry.js';
import { pinned } from '../../migration/tracking/pinned.js';
import type { TrackingDescriptor } from '../../migration/tracking/tracking.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { Traveller, type Workload } from './round-trip-world.js';

const ROUND_TRIPS = Number(process.env.ROUND_TRIPS ?? 1);
const TIMEOUT_MS = 240_000 * ROUND_TRIPS;

/** Each machine allows other approaches; one that several allow is tried on the first. */
const MACHINES: readonly (readonly [title: string, nic: Partial<NicOptions>])[] = [
  ['a quick slot', { slot: 'quick' }],
  ['an ordinary slot', {}],
  ['a slot that ACPI handles', { slot: 'acpi' }],
  ['a quick slot and a standby', { slot: 'quick', virtio: [{ mac: macOf(0), standby: true }] }],
];

const forDevices = <D extends { readonly serves: string }>(known: readonly D[]): readonly D[] =>
  known.filter(({ serves }) => serves === 'device');

/** All stops and starts that go together. */
const PAIRS = forDevices(builtIn.stop).flatMap((stop) =>
  forDevices(builtIn.start)
    .filter(({ takes }) => (stop.tries ?? [stop]).some(({ leaves }) => takes.includes(leaves)))
    .map((start) => ({ stop: stop.name, start: start.name })),
);
const TRACKINGS = forDevices(builtIn.tracking).map(({ name }) => name);
const WORKLOADS: readonly Workload[] = ['echo', 'incoming'];

/** The destination has all and is about to say so: nobody hears of it any more. */
const LOST_AT_THE_END: LinkRule = {
  name: 'the connection breaks at the end',
  judge: ({ kind }) => (kind === 'prepared' ? { do: 'cut', when: 'before' } : undefined),
};

/** Of one burst. */
const SENT_MAX = 8;

/**
 * Packets that the standby has sent lie in its ring, mapped, until it sends the next: that many objects and mappings are no
 * leak.
 */
function withoutSent(now: readonly string[], before: readonly string[]): readonly string[] {
  const counts = /(\d+) objects, (\d+) DMA mappings/;
  const [, , mappings] = counts.exec(before[0]!)!.map(Number);
  return now.map((line) =>
    line.replace(counts, (_, objectsNow, mappingsNow) => {
      const sent = Math.max(0, Math.min(mappingsNow - mappings!, SENT_MAX));
      return `${objectsNow - sent} objects, ${mappingsNow - sent} DMA mappings`;
    }),
  );
}

const tried = new Set<string>();
const tracked = new Set<string>();
const named = ({ stop, start }: (typeof PAIRS)[number]): string => `${stop}, ${start}`;

/** Those that the machine allows and that were not tried on another. */
async function pairsFor({ machine }: Traveller): Promise<typeof PAIRS> {
  const fits = await Promise.all(
    PAIRS.map((pair) =>
      chooseApproaches({ tracking: AUTO, ...pair }, machine.devices, builtIn).then(
        () => !tried.has(named(pair)),
        () => false,
      ),
    ),
  );
  return PAIRS.filter((_, i) => fits[i]);
}

async function travelling(
  nic: Partial<NicOptions>,
  body: (traveller: Traveller) => Promise<void>,
): Promise<void> {
  const world = simulatedWorld(1);
  const journey = async (): Promise<void> => {
    const traveller = await Traveller.boot(world, nic);
    await body(traveller);
    await traveller.destroy();
  };
  await world.scheduler.run(journey());
}

describe('a guest that goes there and back', () => {
  it.each(MACHINES)(
    'on machines with %s is as it was, and leaves nothing behind, with each stop and start and tracking',
    (_, nic) =>
      travelling(nic, async (traveller) => {
        await traveller.startTraffic('echo');
        await traveller.stopTraffic();
        const before = await traveller.resources();
        const asBefore = async (when: string): Promise<void> => {
          const now = await traveller.resources();
          expect(nic.virtio === undefined ? now : withoutSent(now, before), when).toEqual(before);
        };
        expect(before.at(-1)).toMatch(/eth0 52:54:00:12:34:56 10\.0\.0\.2 up, 1 neighbours$/);
        let moves = 0;
        for (const pair of await pairsFor(traveller)) {
          tried.add(named(pair));
          const as = (what: string): string => `${named(pair)}: ${what}`;
          await traveller.startTraffic('echo');
          const lost = await traveller.move(pair, { rules: [LOST_AT_THE_END] });
          expect(lost.source.guest, as('a move that fails')).toBe('here');
          expect(lost.left, as('left of a move that fails')).toEqual([]);
          await traveller.stopTraffic();
          await asBefore(as('after a move that fails'));
          for (let trip = 1; trip <= ROUND_TRIPS; trip++) {
            await traveller.startTraffic(WORKLOADS[trip % WORKLOADS.length]!);
            for (const way of ['there', 'back']) {
              const tracking = TRACKINGS[moves++ % TRACKINGS.length]!;
              tracked.add(tracking);
              const move = as(`${way} by ${tracking}, trip ${trip}`);
              const { source, destination, left } = await traveller.move({ ...pair, tracking });
              expect(source.error ?? source.afterwards ?? destination.afterwards, move).toBeUndefined();
              expect(left, move).toEqual([]);
              const { received } = traveller.echoes;
              await traveller.elapse(20);
              expect(traveller.echoes.received, as('echoes after the move')).toBeGreaterThan(received);
            }
            expect(traveller.echoes, as('traffic')).toMatchObject({
              duplicated: 0,
              reordered: 0,
              corrupt: 0,
            });
            await traveller.stopTraffic();
            await asBefore(as(`after trip ${trip}`));
          }
        }
        const wrong = /BUG|CORRUPT|panic|DMA-API: (?!pre|deb)|[1-9]\d* errors/;
        expect(traveller.console.filter((line) => wrong.test(line))).toEqual([]);
        expect(traveller.console.findLast((line) => /ledger: /.test(line))).toMatch(/, clean$/);
      }),
    TIMEOUT_MS,
  );

  it('does not hide what a move leaves behind', () =>
    travelling({}, async (traveller) => {
      const forgetful: TrackingDescriptor = {
        ...pinned,
        name: 'forgetful',
        arrived: async ([device]) => {
          device!.slot!.onChange(() => undefined);
          await device!.fn!.closeGate();
        },
      };
      const registry = { ...builtIn, tracking: [...builtIn.tracking, forgetful] };
      const { source, left } = await traveller.move({ tracking: 'forgetful' }, { registry });
      expect(source.status).toBe('completed');
      expect(left.toSorted()).toEqual(['1 closed gates', '1 listeners (slot.onChange)']);
    }));

  it('has been there with all that the registry has', () => {
    expect(PAIRS.map(named).filter((pair) => !tried.has(pair))).toEqual([]);
    expect(TRACKINGS.filter((tracking) => !tracked.has(tracking))).toEqual([]);
  });
});
