/** Where trackings are measured unless somebody says otherwise: echoes a second, and bytes of guest RAM. */
import { MIB } from '../../base/units.js';

export const TRACKING_RATES: readonly number[] = [2000, 10_000, 40_000];
export const TRACKING_MEMORIES: readonly number[] = [128 * MIB, 512 * MIB, 2048 * MIB];
