/** The ratios of `npm run bench:quick`: each a figure of ours over its yardstick, both measured within seconds. */
import { MIB, PAGE_BYTES } from '../../../base/units.js';
import { KERNEL_IMAGE } from '../../move/scenario.js';
import { median } from '../../report/median.js';
import { spawnVmm } from '../../vmm-client/spawn.js';
import { benchKernels } from '../kernels.js';
import { measureBlackout } from '../machine.js';
import { benchPackets } from '../packets.js';
import { benchTransfer } from '../transfer.js';
import { bareExchangeMs } from './exchange.js';
import { recoveryRatio } from './recovery.js';

/** What each is, and of what. */
export const RATIOS = {
  transfer: 'page transfer, of bare Node from socket to socket',
  'zero-scan': 'zero scan, of a plain read',
  'page-hash': 'page hash, of a plain read',
  packets: 'packets that a guest sends, of frames through the bare switch',
  'whole-move': 'a whole move, of bare Node from socket to socket',
  blackout: 'blackout of an idle guest, in bare exchanges between two processes',
  recovery: 'network gap of a device that is set up anew, of one that moves with its state',
} as const;

/** Of all others more is better. */
export const LESS_IS_BETTER: readonly string[] = [
  'blackout',
  'recovery',
] satisfies readonly (keyof typeof RATIOS)[];

export type RatioName = keyof typeof RATIOS;
export const RATIO_NAMES = Object.keys(RATIOS) as RatioName[];
/**
 * What stands for itself, and is held against no range: by the goals of the approaches it would be 60 over 25 ms; a driver that
 * sets its device up while packets come made it 7.
 */
export const AT_MOST: { readonly [Name in RatioName]?: number } = { recovery: 5 };
export type Ratios = Readonly<Record<RatioName, number>>;

const TRANSFER_BYTES = 512 * MIB;
const KERNEL_BYTES = 256 * MIB;
const PAYLOAD_BYTES = 64;
const BLACKOUT_RAM_BYTES = 128 * MIB;
const BLACKOUT_MOVES = 9;
/** RAM of a guest that is moved as a whole, and what of it is not zero. */
const MOVED_RAM_BYTES = 512 * MIB;
const MOVED_BYTES = 400 * MIB;
const WHOLE_MOVES = 3;
const RECOVERIES = 3;

/** Takes about a minute on a calm machine. Rejects with the FerryErrors of the processes. */
export async function measureRatios(onPart: (what: string) => void): Promise<Ratios> {
  onPart('kernels');
  const { plainRead, pageHash, scanRatio } = benchKernels({ bytes: KERNEL_BYTES });
  onPart('page transfer');
  const { bareMedian, ratio } = await benchTransfer({ bytes: TRANSFER_BYTES, runs: 5 });
  onPart('whole moves');
  const wholeMove = await wholeMoveRate();
  onPart('blackouts');
  const blackout = await measureBlackout('idle', BLACKOUT_RAM_BYTES, BLACKOUT_MOVES);
  const exchangeMs = await bareExchangeMs();
  onPart('recoveries');
  const recovery = await recoveryRatio(RECOVERIES);
  onPart('packets');
  const { figures, limits } = await benchPackets({
    runs: 3,
    directions: ['guest to peer'],
    payloads: [PAYLOAD_BYTES],
  });
  return {
    transfer: ratio,
    'zero-scan': scanRatio,
    'page-hash': pageHash / plainRead,
    packets: figures[0]!.packetsPerSecond / limits[0]!.framesPerSecond,
    'whole-move': wholeMove / bareMedian,
    blackout: blackout.totalMs / exchangeMs,
    recovery,
  };
}

/**
 * GB/s (10^9 bytes a second) of whole moves as a user has them, from the command to the end, set-up and checks included:
 * median of a few moves of a guest that stands still, so that every page travels once.
 */
async function wholeMoveRate(): Promise<number> {
  const append = `workload=stress pattern=sequential dirty_rate=0 working_set=${MOVED_BYTES} status_ms=100`;
  const vmms = [await spawnVmm({ guest: KERNEL_IMAGE, memoryBytes: MOVED_RAM_BYTES, append })];
  try {
    await vmms[0]!.waitForConsole(/pass [1-9]/);
    await vmms[0]!.execute('stop');
    const rates: number[] = [];
    for (let move = 0; move < WHOLE_MOVES; move++) {
      // Each destination is a new process, whose RAM was never touched.
      const destination = await spawnVmm({ incoming: 'tcp:127.0.0.1:0' });
      const { transferred, totalNs } = await vmms
        .at(-1)!
        .migrate(await destination.incomingAddress())
        .finally(() => vmms.push(destination));
      rates.push(((transferred.pages - transferred.zeroPages) * PAGE_BYTES) / totalNs);
    }
    return median(rates);
  } finally {
    await Promise.all(vmms.map((vmm) => vmm.quit()));
  }
}
