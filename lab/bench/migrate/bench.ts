/**
 * Whole moves as a user has them, by the monitor's own total time, set-up and checks included, into processes that were just
 * started: beside bare Node, and QEMU and iperf3 where they are installed, in turns.
 */
import { GIB } from '../../../base/units.js';
import { type Spread, spreadOf } from '../../report/median.js';
import { BareMoves, type Moved, OurMoves, type Turn } from './contestants.js';
import { findIperf, iperfRate } from './iperf.js';
import { DESTINATIONS, type DestinationKind, RAM_CONTENTS, type RamContents } from './kinds.js';
import { findQemu, type QemuFound, QemuMoves } from './qemu.js';

export interface BenchMigrateOptions {
  /** Guest RAM, a multiple of 1 MiB; 2 GiB if absent. */
  readonly memoryBytes?: number;
  readonly contents?: readonly RamContents[];
  readonly destinations?: readonly DestinationKind[];
  /** Numbers of data channels; 2 if absent. */
  readonly channels?: readonly number[];
  /** Turns of each; 7 if absent. */
  readonly runs?: number;
  readonly besideQemu?: boolean;
  readonly besideIperf3?: boolean;
  /** Told before each part, for people who wait. */
  readonly onPart?: (what: string) => void;
}

export type Contestant = 'with integrity' | 'without integrity' | 'bare Node' | 'QEMU' | 'iperf3';

/** What came of one contestant's turns. */
export interface MovesFigure {
  readonly who: Contestant;
  readonly totalMs: Spread;
  /** Of those who set something up. */
  readonly setupMs: Spread | undefined;
  readonly downtimeMs: Spread | undefined;
  readonly wallMs: Spread | undefined;
  /** GB/s (10^9 bytes a second) of the pages that are not zero; undefined of zero RAM. */
  readonly rate: Spread | undefined;
}

/** How fast ours was, of another in the same turn; of zero RAM by time, else by rate. */
export interface MovesRatio {
  readonly ours: Contestant;
  readonly other: Contestant;
  readonly ratio: Spread;
}

export interface MovesCell {
  readonly contents: RamContents;
  readonly destination: DestinationKind;
  readonly channels: number;
  readonly figures: readonly MovesFigure[];
  readonly ratios: readonly MovesRatio[];
}

export interface BenchMigrateResult {
  readonly memoryBytes: number;
  readonly runs: number;
  /** `undefined`: not asked for; `none`: not installed. */
  readonly qemu: QemuFound | 'none' | undefined;
  readonly iperf3: string | undefined;
  readonly cells: readonly MovesCell[];
}

/** Needs four times the memory, five beside QEMU. Rejects with the FerryErrors of the processes. */
export async function benchMigrate(options: BenchMigrateOptions = {}): Promise<BenchMigrateResult> {
  const { memoryBytes = 2 * GIB, contents = RAM_CONTENTS, runs = 7 } = options;
  const qemu = options.besideQemu ? ((await findQemu()) ?? 'none') : undefined;
  const iperf3 = options.besideIperf3 ? ((await findIperf()) ?? 'none') : undefined;
  const found = {
    qemu: qemu === 'none' ? undefined : qemu,
    iperf3: iperf3 !== undefined && iperf3 !== 'none',
  };
  const cells: MovesCell[] = [];
  for (const one of contents) cells.push(...(await movesOf(one, { ...options, memoryBytes, runs }, found)));
  return { memoryBytes, runs, qemu, iperf3, cells };
}

type Move = readonly [Contestant, (turn: Turn) => Promise<Moved>];

async function movesOf(
  contents: RamContents,
  options: BenchMigrateOptions & { readonly memoryBytes: number; readonly runs: number },
  found: { readonly qemu: QemuFound | undefined; readonly iperf3: boolean },
): Promise<readonly MovesCell[]> {
  const { memoryBytes, destinations = DESTINATIONS, channels = [2], runs, onPart = () => {} } = options;
  onPart(`making ${contents} RAM`);
  const open: { close(): unknown }[] = [];
  const opened = <T extends { close(): unknown }>(one: T): T => {
    open.push(one);
    return one;
  };
  try {
    const ours = opened(await OurMoves.start(memoryBytes, contents));
    const moves: Move[] = [
      ['with integrity', (turn) => ours.move(turn, true)],
      ['without integrity', (turn) => ours.move(turn, false)],
    ];
    if (found.qemu !== undefined) {
      const qemu = opened(await QemuMoves.start(found.qemu, memoryBytes, contents));
      moves.push(['QEMU', (turn) => qemu.move(turn)]);
    }
    // To these all bytes are alike.
    if (contents === 'random') {
      const bare = opened(new BareMoves(memoryBytes));
      moves.push(['bare Node', (turn) => bare.move(turn)]);
      if (found.iperf3) {
        moves.push([
          'iperf3',
          async (turn) => {
            const rate = await iperfRate(memoryBytes, turn.channels);
            return { totalMs: memoryBytes / rate / 1e6, dataBytes: memoryBytes };
          },
        ]);
      }
    }
    const cells: MovesCell[] = [];
    for (const count of channels) {
      for (const destination of destinations) {
        const what = `${contents} RAM, ${destination} destination, channels: ${count}`;
        const turns = await inTurns(moves, { destination, channels: count }, runs, (run) =>
          onPart(`${what}, turn ${run} of ${runs}`),
        );
        cells.push({ contents, destination, channels: count, ...movesFigures(contents, turns) });
      }
    }
    return cells;
  } finally {
    await Promise.allSettled(open.map(async (one) => one.close()));
  }
}

/** What each contestant's turns came to, in the order of the turns. */
export type Turns = ReadonlyMap<Contestant, readonly Moved[]>;

async function inTurns(
  moves: readonly Move[],
  turn: Turn,
  runs: number,
  onTurn: (run: number) => void,
): Promise<Turns> {
  const turns = new Map<Contestant, Moved[]>(moves.map(([who]) => [who, []]));
  for (let run = 1; run <= runs; run++) {
    onTurn(run);
    for (const [who, move] of moves) turns.get(who)!.push(await move(turn));
  }
  return turns;
}

const OURS: readonly Contestant[] = ['with integrity', 'without integrity'];

/** Their medians and ranges, and those of ours of the others, turn by turn. */
export function movesFigures(contents: RamContents, turns: Turns): Pick<MovesCell, 'figures' | 'ratios'> {
  const rateOf = ({ dataBytes, totalMs }: Moved): number => dataBytes / totalMs / 1e6;
  const speedOf = contents === 'random' ? rateOf : ({ totalMs }: Moved): number => 1 / totalMs;
  const told = (moved: readonly Moved[], part: 'setupMs' | 'downtimeMs' | 'wallMs'): Spread | undefined =>
    moved.every((one) => one[part] !== undefined) ? spreadOf(moved.map((one) => one[part]!)) : undefined;
  const figures = [...turns].map(([who, moved]) => ({
    who,
    totalMs: spreadOf(moved.map(({ totalMs }) => totalMs)),
    setupMs: told(moved, 'setupMs'),
    downtimeMs: told(moved, 'downtimeMs'),
    wallMs: told(moved, 'wallMs'),
    rate: contents === 'random' ? spreadOf(moved.map(rateOf)) : undefined,
  }));
  const others = [...turns.keys()].filter((who) => !OURS.includes(who));
  const ratios = OURS.flatMap((ours) =>
    others.map((other) => {
      const theirs = turns.get(other)!;
      const ratio = spreadOf(turns.get(ours)!.map((moved, turn) => speedOf(moved) / speedOf(theirs[turn]!)));
      return { ours, other, ratio };
    }),
  );
  return { figures, ratios };
}
