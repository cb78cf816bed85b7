/**
 * What the guest is asked before its devices are stopped, where an approach asks it: once, when the rest would fit the
 * downtime limit. Rounds go on meanwhile, so that it may take its time, and what it does to get ready is sent ahead.
 */
import { milliseconds } from '../base/units.js';
import { withPatience } from './patience.js';
import type { Source } from './source-context.js';
import { FLOW } from './timeline.js';

/** Between two rounds while the guest has not answered: nothing may be left to send. */
const BETWEEN_ROUNDS = milliseconds(10);

export class GuestRequests {
  readonly #source: Source;
  #asked: Promise<unknown> | undefined;
  #answered = false;

  constructor(source: Source) {
    this.#source = source;
  }

  /**
   * Asks, the first time. True when every device that had to be asked for has been answered for; otherwise waits a
   * moment, for another round to be worth while. Rejects with what a request failed with.
   */
  async answered(): Promise<boolean> {
    const { stops, talk, scheduler } = this.#source;
    if (!stops.some(({ does }) => does.request !== undefined)) return true;
    this.#asked ??= this.#ask();
    if (!this.#answered) await talk.during(Promise.race([this.#asked, scheduler.sleep(BETWEEN_ROUNDS)]));
    return this.#answered;
  }

  #ask(): Promise<void> {
    const { stops, talk, chosen, scheduler, parameters, undo, timeline } = this.#source;
    const wait = {
      effort: 'stop',
      approach: chosen?.stop.name ?? '',
      duration: parameters.duration('requestTimeoutMs'),
      grace: parameters.duration('answerTimeoutMs'),
    };
    let giveUp: () => void = () => undefined;
    const givenUp = new Promise<void>((resolve) => {
      giveUp = resolve;
    });
    undo.push('the request to the guest', () => giveUp());
    const asking = stops.map(async ({ name, does }) => {
      if (does.request === undefined) return;
      await timeline.during(name, 'request', () =>
        withPatience(scheduler, { ...wait, device: name }, (patience) =>
          does.request!({ patience, givenUp }),
        ),
      );
    });
    // The first refusal ends it, whatever the others are about to say, and in the midst of a round.
    const asked = Promise.all(asking).then(() => {
      timeline.moment(FLOW, 'answered');
      this.#answered = true;
    });
    asked.catch((error: Error) => talk.fail(error));
    return asked;
  }
}
