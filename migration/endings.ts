/**
 * Where the guest is when a migration has ended without moving it, in words: what this side knows, what it can't know, and
 * what to do next. One table for each side, by how far it had come and by what ended it. The words go behind the advice of
 * the error that ended the migration, which knows the cause and not the state.
 */
import { FerryError } from '../base/errors.js';
import { migrationErrors } from './errors.js';

/** What ended a migration, as far as the guest's whereabouts depend on it. */
export type Ending =
  /** A user of this side cancelled it. */
  | 'cancelled'
  /** Something went wrong, or was refused, at either side; the peer was there until then. */
  | 'failed'
  /** The peer is out of reach: closed, broken, silent. Whether it lives is not known. */
  | 'peer-lost'
  /** The VMM of the peer was ended (`quit`, a signal), and said so. */
  | 'peer-ended'
  /** The VMM of this side was ended. */
  | 'ended';

/**
 * How far the source had come: the guest ran (or was stopped by its user), stood still for the last pages, was given away.
 * `stuck`: it should go on here, and the machine refused.
 */
export type SourceProgress = 'ran' | 'stood' | 'stuck' | 'committed';
/** How far the destination had come; see `DestinationState`. From `committed` on the guest is its own. */
export type DestinationProgress = 'receiving' | 'prepared' | 'committed' | 'completed';

/** Where the guest is, as far as this side can know; `here` may be standing still, as it was before. */
export type Whereabouts = 'here' | 'there' | 'ended' | 'unknown';

export interface EndingWords {
  readonly guest: Whereabouts;
  /** Whole sentences. */
  readonly words: string;
}

type Table<P extends string> = Readonly<Record<P, Readonly<Record<Ending, EndingWords>>>>;

/** A row in which every ending comes to the same, but for some. */
const row = (
  rest: EndingWords,
  but: Partial<Record<Ending, EndingWords>> = {},
): Record<Ending, EndingWords> => ({
  cancelled: rest,
  failed: rest,
  'peer-lost': rest,
  'peer-ended': rest,
  ended: rest,
  ...but,
});

const here = (words: string): EndingWords => ({ guest: 'here', words });
const there = (words: string): EndingWords => ({ guest: 'there', words });
const ended = (words: string): EndingWords => ({ guest: 'ended', words });
const unknown = (words: string): EndingWords => ({ guest: 'unknown', words });

const ENDED_HERE = ended('The guest was here, and ended with this VMM.');
const UNDECIDED =
  'The guest stands still here. Ask the destination (`query-status`): if the guest is there, `quit` here; if it waits for a guest or is gone, `x-ferry-reclaim` here lets the guest go on.';

export const SOURCE_ENDINGS: Table<SourceProgress> = {
  ran: row(here('The guest is here as it was; nothing is lost.'), { ended: ENDED_HERE }),
  stood: row(here('The guest stood still and is here again as it was; nothing is lost.'), {
    ended: ENDED_HERE,
  }),
  stuck: row(here('The guest is here; if it stands still, `cont` tries again to let it go on.'), {
    ended: ENDED_HERE,
  }),
  committed: row(unknown(UNDECIDED)),
};

const WITH_SOURCE = there('Nothing of the guest ran here; it stays with the source.');
const WITH_SOURCE_IF = there('Nothing of the guest ran here; it stays with the source, if that still lives.');
const ENDED_THERE = ended('Nothing of the guest ran here; it ended with the VMM of the source.');
/** The source may have committed: it takes the guest back when it hears of the end, and can't if it does not. */
const NEVER_HERE =
  'Nothing of the guest ran here, and it never will. A source that does not know where it is may be told `x-ferry-reclaim`.';

export const DESTINATION_ENDINGS: Table<DestinationProgress> = {
  receiving: row(WITH_SOURCE, { 'peer-lost': WITH_SOURCE_IF, 'peer-ended': ENDED_THERE }),
  prepared: row(there(NEVER_HERE), { 'peer-ended': ENDED_THERE }),
  committed: row(
    unknown(
      'The guest was given to this VMM, which could not let it run; the source keeps its copy, standing still. `quit` here, then `x-ferry-reclaim` at the source lets that go on.',
    ),
  ),
  completed: row(here('The guest runs here.')),
};

/** The reason that a migration's signal is aborted with when its VMM is ended; any other is a user's cancel. */
export const VMM_ENDS = 'the VMM is ended';

/** The error of a migration whose signal was aborted in `phase`. */
export function abortError(side: 'source' | 'destination', phase: string, reason: unknown): FerryError {
  return reason === VMM_ENDS
    ? migrationErrors.error('vmm-ended', { side, phase })
    : migrationErrors.error('cancelled', { phase });
}

const LOST: readonly string[] = [
  'migration/peer-closed',
  'migration/link-broken',
  'migration/peer-silent',
  'control-link/connect-failed',
];

/** What kind of end `error` is for `side`. */
export function endingOf(side: 'source' | 'destination', error: FerryError): Ending {
  if (error.code === 'migration/cancelled') return 'cancelled';
  if (error.code === 'migration/vmm-ended') return error.facts.side === side ? 'ended' : 'peer-ended';
  return LOST.includes(error.code) ? 'peer-lost' : 'failed';
}

/** `error` with `words` behind its advice. */
export function withWords(error: FerryError, { words }: EndingWords): FerryError {
  const { code, exit, message, advice, facts } = error;
  return new FerryError(code, exit, message, advice === '' ? words : `${advice} ${words}`, facts, error);
}
