/**
 * Who has the guest, where the commit or its answer was lost. Neither side may guess: the source gave the guest away, and the
 * destination runs it only if it heard so. But the destination knows, and says so to who asks, over links of their own, until
 * the answer has come or the time is up. What is left then, nobody can close: a destination that can't be reached any more may
 * run the guest or be gone with it (the two generals), and a person has to look.
 */
import { FerryError } from '../base/errors.js';
import { elapsed } from '../base/units.js';
import { endingOf } from './endings.js';
import { migrationErrors } from './errors.js';
import { type ControlMessage, decodeMessage, encodeMessage, type MessageOf } from './messages.js';
import { errorMessage } from './peer-error.js';
import type { ControlLink } from './ports.js';
import type { DestinationRecord } from './record.js';
import type { Source } from './source-context.js';
import { FLOW } from './timeline.js';

type Asking = Pick<
  Source,
  'redial' | 'scheduler' | 'parameters' | 'signal' | 'timeline' | 'migrationId' | 'observer'
>;

/** The destination's word: it runs the guest, or never will. */
export type Verdict = MessageOf<'running'> | 'discarded';

/** Said of no migration in particular, of one that is not at its end, or of a question that was not understood: worth asking again. */
const NO_ANSWER_YET: readonly string[] = [
  'migration/not-a-stream',
  'migration/peer-version',
  'migration/malformed-message',
  'migration/message-too-large',
  'migration/unexpected-message',
  'migration/not-decided',
  'migration/no-hello',
  'migration/crowded',
  'migration/busy',
  'migration/not-waiting',
];

/**
 * At the source, which can hear of the commit no more by the migration's own link: asks until the destination has a verdict.
 * Resolves with undefined if there is none to be had: the time is up, the user gave up asking, or the destination says what is
 * no verdict (it failed to run the guest, or knows nothing of it). Never rejects: whatever stands in the way is asked past.
 */
export async function inquire(source: Asking): Promise<Verdict | undefined> {
  const { redial, scheduler, parameters, signal, timeline, observer } = source;
  if (redial === undefined || parameters.values.inquiryTimeoutMs === 0) return undefined;
  observer.inquires?.();
  const from = scheduler.now();
  const over = (): boolean =>
    signal?.aborted === true || elapsed(from, scheduler.now()) >= parameters.duration('inquiryTimeoutMs');
  const givenUp = new Promise<void>((resolve) => {
    signal?.addEventListener('abort', () => resolve(), { once: true });
  });
  const aWhile = (): Promise<void> =>
    Promise.race([scheduler.sleep(parameters.duration('keepaliveIntervalMs')), givenUp]);
  while (!over()) {
    const answer = await ask(source, redial, aWhile());
    if (answer?.kind === 'running') return answer;
    if (answer?.kind === 'error' && answer.discarded) return 'discarded';
    if (answer?.kind === 'error' && !NO_ANSWER_YET.includes(answer.code)) return undefined;
    if (!over()) await aWhile();
  }
  timeline.moment(FLOW, 'asked in vain');
  return undefined;
}

/** Asks once. A network that swallows the question swallows the answer too: when the patience is over, nothing is heard any more. */
async function ask(
  { migrationId }: Asking,
  redial: NonNullable<Asking['redial']>,
  patience: Promise<void>,
): Promise<ControlMessage | undefined> {
  let link: ControlLink | undefined;
  let overdue = false;
  const asking = async (): Promise<ControlMessage | undefined> => {
    link = await redial();
    try {
      if (overdue) return undefined;
      await link.send(encodeMessage({ kind: 'inquiry', migrationId }));
      const answer = await link.receive();
      return answer && decodeMessage(answer);
    } finally {
      link.close();
    }
  };
  const waiting = patience.then((): undefined => {
    overdue = true;
    link?.close();
  });
  // Whatever stands in the way is no verdict.
  return Promise.race([asking().catch((): undefined => undefined), waiting]);
}

/** Whether the source, which could not be told how it ended, is about to ask. */
export function mayAsk({ error, afterwards, timeline }: DestinationRecord): boolean {
  const prepared = timeline.some(({ what, facts }) => what === 'state' && facts?.to === 'prepared');
  const ended = error ?? afterwards;
  return prepared && ended !== undefined && endingOf('destination', FerryError.from(ended)) === 'peer-lost';
}

/** Whether the destination can give a source that asks of this migration its verdict: it has ended, well or not. */
export const isDecided = ({ status, error }: DestinationRecord): boolean =>
  status === 'completed' || (status === 'failed' && error !== undefined);

/** At the destination: what to answer, by what it has put down of that migration; undefined of one it never heard of. */
export function answerInquiry(record: DestinationRecord | undefined): ControlMessage {
  if (record === undefined) return errorMessage(migrationErrors.error('not-known', {}));
  const { status, error, guest, parts } = record;
  if (status === 'completed')
    return { kind: 'running', startNs: parts.startNs, deviceStartNs: parts.deviceStartNs };
  if (!isDecided(record) || error === undefined)
    return errorMessage(migrationErrors.error('not-decided', { phase: status }));
  return errorMessage(FerryError.from(error), guest !== 'unknown');
}
