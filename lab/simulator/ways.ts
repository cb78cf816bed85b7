/** Ways to stop a device and to start the other, of those that the simulator's machines and their guest can do. */
import type { SeededRandom } from '../../base/random.js';
import type { Facet } from '../../migration/approach.js';
import type { ParameterValues } from '../../migration/parameters.js';
import { AUTO, builtIn } from '../../migration/registry.js';
import { startByReset } from '../../migration/start/reset.js';
import type { StartDescriptor } from '../../migration/start/start.js';
import { stateReplay } from '../../migration/start/state-replay.js';
import { hotUnplug } from '../../migration/stop/hot-unplug.js';
import type { StopDescriptor } from '../../migration/stop/stop.js';
import { PLAIN, SHAPES, type Shape } from './shape.js';

export interface Way {
  readonly stop: StopDescriptor;
  readonly start: StartDescriptor;
}

/** Names, as parameters have them. */
type Named = Partial<Pick<ParameterValues, 'stop' | 'start'>>;

const waysOf = ({ absent, undone }: Shape): readonly Way[] => {
  const here = ({ needs }: { readonly needs: readonly Facet[] }): boolean =>
    !needs.some((need) => absent.includes(need));
  return builtIn.stop
    .filter((stop) => stop.serves === 'device' && here(stop) && !undone.includes(stop))
    .flatMap((stop) =>
      builtIn.start
        .filter((start) => start.takes.includes(stop.leaves) && here(start))
        .map((start) => ({ stop, start })),
    );
};

const ALL: ReadonlyMap<Shape, readonly Way[]> = new Map(SHAPES.map((shape) => [shape, waysOf(shape)]));

/** Those of the plain machine. */
export const WAYS = ALL.get(PLAIN)!;

/** The names of all stops and starts that one of the machines can do. */
export const stopsAndStarts = {
  stop: [...new Set([...ALL.values()].flat().map(({ stop }) => stop.name))],
  start: [...new Set([...ALL.values()].flat().map(({ start }) => start.name))],
} as const;

/** Never drawn: five seconds of a blinking light, or ten in which the driver does not look at its device. */
const rare = ({ stop, start }: Way): boolean => stop === hotUnplug || start === startByReset;
/** A guest does a second and more for a slot whose state changes. */
const slow = ({ start }: Way): boolean => start.needs.includes('slot');
/** What most migrations are made with, and what can go wrong in most ways. */
const carries = ({ stop }: Way): boolean => stop.leaves === 'state';

const SLOW_SHARE = 0.02;
/** Of the ways of a machine, those that the plain one has not. */
const OWN_SHARE = 0.5;
/** Of those that are not slow. */
const CARRYING_SHARE = 0.6;

/** Those of the machine that are as was asked for; what is absent, or left to the migration, is any. */
export const waysLike = ({ stop = AUTO, start = AUTO }: Named, shape = PLAIN): readonly Way[] =>
  ALL.get(shape)!.filter(
    (way) => (stop === AUTO || way.stop.name === stop) && (start === AUTO || way.start.name === start),
  );

/** The machines that can do what was asked for. */
export const shapesFor = (given: Named): readonly Shape[] =>
  SHAPES.filter((shape) => waysLike(given, shape).length > 0);

/** So many migrations are of another machine than the first that can do what was asked for. */
const OTHER_SHARE = 0.15;

export function randomShape(random: SeededRandom, given: Named): Shape {
  const [first = PLAIN, ...others] = shapesFor(given);
  return others.length > 0 && random.chance(OTHER_SHARE) ? random.pick(others) : first;
}

/** One of `ways`, which are not none; one that takes long only seldom, unless there is no other, or no other machine can do it. */
export function randomWay(random: SeededRandom, ways: readonly Way[]): Way {
  const drawn = ways.filter((way) => !rare(way));
  const own = drawn.filter(({ stop }) => !WAYS.some((way) => way.stop === stop));
  if (own.length > 0 && random.chance(OWN_SHARE)) return random.pick(own);
  const [late, soon] = [drawn.filter(slow), drawn.filter((way) => !slow(way))];
  if (drawn.length === 0) return random.pick(ways);
  if (soon.length === 0 || (late.length > 0 && random.chance(SLOW_SHARE))) return random.pick(late);
  const carrying = soon.filter(carries);
  return random.pick(carrying.length > 0 && random.chance(CARRYING_SHARE) ? carrying : soon);
}

/** A driver that looks at its device while that is gone takes it for removed, and such a start does not bring it back. */
export const missesRemoval = ({ start = AUTO }: Named): boolean =>
  [stateReplay.name, startByReset.name].includes(start);

/** How long a guest with so many functions is waited for: what `way` takes when all goes well, and some more. Nothing if that is not long. */
export function patienceWith(
  way: Way,
  functions: number,
): Partial<Pick<ParameterValues, 'requestTimeoutMs' | 'deviceStartTimeoutMs'>> {
  if (rare(way)) return { requestTimeoutMs: 8000, deviceStartTimeoutMs: 15_000 };
  // One slot after the other: what makes devices come and go has one lock.
  return slow(way) ? { requestTimeoutMs: 2000 * functions, deviceStartTimeoutMs: 4000 * functions } : {};
}
