/** What a tally must look like that comes from a file or from another machine. */
import * as v from 'valibot';
import type { Tally } from './campaign.js';

const count = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const counts = v.record(v.string(), count);
const names = v.array(v.string());

export const tallyShape: v.GenericSchema<Tally> = v.strictObject({
  seeds: count,
  virtualNs: v.pipe(v.number(), v.finite(), v.minValue(0)),
  ends: counts,
  struck: counts,
  idle: counts,
  failures: v.array(
    v.strictObject({
      seed: count,
      violations: v.array(v.strictObject({ checker: v.string(), finding: v.string() })),
      plan: names,
      shortest: names,
    }),
  ),
});
