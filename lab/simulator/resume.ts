/** A campaign that goes on where it ended: what came so far, and of which seeds, in a file that is replaced as a whole. */
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import * as v from 'valibot';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { newTally, type Tally } from './campaign.js';
import type { Portion } from './crew.js';
import { tallyShape } from './tally-shape.js';

const seed = v.pipe(v.number(), v.safeInteger(), v.minValue(0));
const shape = v.strictObject({
  version: v.literal(1),
  campaign: v.string(),
  done: v.array(v.strictObject({ from: seed, to: seed })),
  tally: tallyShape,
});

export class CampaignFile {
  readonly #path: string;
  readonly #campaign: string;
  /** What came before. */
  readonly tally: Tally;
  #done: readonly Portion[];

  /**
   * What is in `path` of the campaign that goes by `campaign`; nothing if there is no such file. Throws `lab/campaign-file` if it is
   * something else, or of another campaign, and `lab/file-failed`.
   */
  constructor(path: string, campaign: string) {
    this.#path = path;
    this.#campaign = campaign;
    const found = readCampaign(path);
    if (found !== undefined && found.campaign !== campaign) {
      throw labErrors.error('campaign-file', {
        path,
        reason: 'it is of another campaign, or of another build',
      });
    }
    this.#done = found?.done ?? [];
    this.tally = found?.tally ?? newTally();
  }

  /** Of `range`, what is still to be done. */
  left(range: Portion): readonly Portion[] {
    const left: Portion[] = [];
    let { from } = range;
    for (const done of this.#done) {
      if (done.to < from || done.from > range.to) continue;
      if (done.from > from) left.push({ from, to: done.from - 1 });
      from = done.to + 1;
    }
    if (from <= range.to) left.push({ from, to: range.to });
    return left;
  }

  /** These seeds are done. */
  add(portion: Portion): void {
    this.#done = merged([...this.#done, portion]);
  }

  /** Keeps `tally`, which is what came of all seeds that are done. Throws `lab/file-failed`. */
  save(tally: Tally): void {
    const { campaign, done } = { campaign: this.#campaign, done: this.#done };
    const fresh = `${this.#path}.${process.pid}`;
    try {
      writeFileSync(fresh, `${JSON.stringify({ version: 1, campaign, done, tally })}\n`);
      renameSync(fresh, this.#path);
    } catch (error) {
      throw labErrors.error(
        'file-failed',
        { path: this.#path, what: 'written', reason: reasonOf(error) },
        error,
      );
    }
  }
}

/** In order, with those that touch as one. */
function merged(portions: readonly Portion[]): readonly Portion[] {
  const all: { from: number; to: number }[] = [];
  for (const { from, to } of [...portions].sort((a, b) => a.from - b.from)) {
    const last = all.at(-1);
    if (last !== undefined && from <= last.to + 1) last.to = Math.max(last.to, to);
    else all.push({ from, to });
  }
  return all;
}

function readCampaign(path: string): v.InferOutput<typeof shape> | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw labErrors.error('file-failed', { path, what: 'read', reason: reasonOf(error) }, error);
  }
  try {
    return v.parse(shape, JSON.parse(text));
  } catch (error) {
    throw labErrors.error('campaign-file', { path, reason: (error as Error).message }, error);
  }
}
