/**
 * What the guest is asked before its devices are stopped, where an approach asks it: once, when the rest would fit the
 * downtime limit. Rounds go on meanwhile, so that it may take its time, and what it does to get ready is sent ahead.
 * A guest that refuses, or whose time is up, is asked in the next way that was to be tried.
 */
import { isFerryError } from '../base/errors.js';
import { settleAll } from '../base/settle.js';
import { milliseconds, nanoseconds } from '../base/units.js';
import { type OnDevice, stopsOf } from './approaches.js';
import { onTimeline } from './observed-device.js';
import { type Patience, withPatience } from './patience.js';
import type { AssignedDevice } from './ports.js';
import type { Source } from './source-context.js';
import type { DeviceStop, StopDescriptor } from './stop/stop.js';
import { FLOW } from './timeline.js';

/** Between two rounds while the guest has not answered: nothing may be left to send. */
const BETWEEN_ROUNDS = milliseconds(10);

export class GuestRequests {
  readonly #source: Source;
  #asked: Promise<void> | undefined;
  #answered = false;
  /** The guest is taken back: nothing is asked any more. */
  #over = false;
  #fallingBack: Promise<void> = Promise.resolve();
  /** Devices for which the guest did not do what their start wants done ahead: it is not asked for that again. */
  readonly #unprepared = new Set<string>();

  constructor(source: Source) {
    this.#source = source;
  }

  /**
   * Asks, the first time. True when every device that had to be asked for has been answered for; otherwise waits a
   * moment, for another round to be worth while. Rejects with what the last request failed with.
   */
  async answered(): Promise<boolean> {
    const { stops, talk, scheduler } = this.#source;
    if (this.#asked === undefined && !stops.some((stop) => asks(this.#source, stop))) return true;
    this.#asked ??= this.#askInTurn();
    if (!this.#answered) await talk.during(Promise.race([this.#asked, scheduler.sleep(BETWEEN_ROUNDS)]));
    return this.#answered;
  }

  /** As the chosen stop does; where the guest does not follow, as those do that come next. */
  #askInTurn(): Promise<void> {
    const { talk, timeline, observer } = this.#source;
    observer.waitsForGuest?.(true);
    const asked = (async () => {
      for (;;) {
        const refusal = await this.#ask().then(
          () => undefined,
          (error: Error) => error,
        );
        if (refusal === undefined) break;
        const [next, ...others] = this.#source.chosen?.otherStops ?? [];
        if (this.#over || next === undefined || !isFerryError(refusal)) throw refusal;
        this.#fallingBack = this.#fallBack(next, others, refusal.message);
        await this.#fallingBack;
      }
      timeline.moment(FLOW, 'answered');
      observer.waitsForGuest?.(false);
      this.#answered = true;
    })();
    // A refusal ends it, also in the midst of a round.
    asked.catch((error: Error) => talk.fail(error));
    return asked;
  }

  /** What was asked is taken back, and the next stop is put to work on all devices. */
  async #fallBack(next: StopDescriptor, others: readonly StopDescriptor[], because: string): Promise<void> {
    const source = this.#source;
    const { chosen, machine, timeline, stats, talk, stops } = source;
    const from = chosen!.stop.name;
    await settleAll(stops.map(async ({ name, does }) => stats.resumedDevice(name, await does.resume())));
    talk.check();
    stats.fellBack({ effort: 'stop', from, to: next.name, because }, next.leaves);
    source.chosen = { ...chosen!, stop: next, otherStops: others };
    source.stops = stopsOf(source.chosen, onTimeline(machine.devices, timeline));
    resumeOnTakeBack(source);
  }

  #ask(): Promise<void> {
    const { stops, chosen, machine, scheduler, parameters, undo, timeline } = this.#source;
    const wait = {
      effort: 'stop',
      approach: chosen?.stop.name ?? '',
      duration: parameters.duration('requestTimeoutMs'),
      grace: parameters.duration('answerTimeoutMs'),
    };
    const asking = new Asking();
    undo.push('the request to the guest', async () => {
      this.#over = true;
      asking.giveUp();
      // What is under way with the devices comes to its end before they are taken back.
      await this.#fallingBack.catch(() => undefined);
    });
    const devices = onTimeline(machine.devices, timeline);
    const requests = stops.map(async (stop) => {
      if (!asks(this.#source, stop)) return;
      const { name, does } = stop;
      await timeline.during(name, 'request', () =>
        withPatience(scheduler, { ...wait, device: name }, async (patience) => {
          const device = devices.find((one) => one.name === name)!;
          await this.#prepare(device, does, patience, asking);
          await does.request?.({ patience, givenUp: asking.givenUp });
        }),
      );
    });
    // The first refusal ends it, whatever the others are about to say.
    return Promise.all(requests).then(
      () => undefined,
      (error) => {
        asking.giveUp();
        throw error;
      },
    );
  }

  /**
   * What the start wants done, or known, ahead. Neither a stop in which the guest has no part nor a start that was left to
   * choose fails for want of that; such a start waits for half of the patience, and leaves the stop the rest.
   */
  async #prepare(device: AssignedDevice, does: DeviceStop, all: Patience, asking: Asking): Promise<void> {
    const { chosen, stats, remembered, scheduler, parameters } = this.#source;
    const { start, startIsLeft } = chosen!;
    const { name } = device;
    if (this.#unprepared.has(name)) return;
    const ahead = async (patience: Patience): Promise<void> => {
      const limits = { patience, givenUp: asking.givenUp };
      await start.prepare?.(device, limits);
      // A stop that comes in the place of another may find less than there was.
      if (start.remember !== undefined && !remembered.has(name))
        remembered.set(name, await start.remember(device, limits));
    };
    const half = {
      effort: 'start',
      approach: start.name,
      device: name,
      duration: nanoseconds(all.duration / 2),
      grace: parameters.duration('answerTimeoutMs'),
    };
    try {
      await (startIsLeft ? withPatience(scheduler, half, ahead) : ahead(all));
    } catch (error) {
      if (!isFerryError(error)) throw error;
      this.#unprepared.add(name);
      stats.unprepared(name, error.message);
      if (asking.isOver || (does.request !== undefined && !startIsLeft)) throw error;
    }
  }
}

/** Whether anybody waits for what the guest is asked. */
class Asking {
  isOver = false;
  giveUp: () => void = () => undefined;
  /** Resolves when nobody does any more. */
  readonly givenUp = new Promise<void>((resolve) => {
    this.giveUp = () => {
      this.isOver = true;
      resolve();
    };
  });
}

/** Whether anything is asked for this device, by the stop or by the start that comes after it. */
function asks({ chosen }: Source, { does }: OnDevice<DeviceStop>): boolean {
  const { prepare, remember } = chosen!.start;
  return does.request !== undefined || prepare !== undefined || remember !== undefined;
}

/** Taking back, the devices work again as if nothing had been asked of them: all of them, whatever becomes of one. */
export function resumeOnTakeBack({ undo, stops, stats }: Source): void {
  const inverses = stops.map(({ name, does }) => ({
    step: `what ${name} was asked`,
    undo: async () => stats.resumedDevice(name, await does.resume()),
  }));
  undo.pushAll(inverses);
}

/**
 * Taking back, once the vCPUs run again, drivers are told what they must know of their devices. To be called before anything
 * that stops the vCPUs is, so that it is undone after that.
 */
export function tellOnTakeBack(source: Source): void {
  source.undo.push('what drivers were told', async () => {
    await settleAll(source.stops.map((stop) => tellDriver(source, stop)));
  });
}

async function tellDriver(source: Source, { name, does }: OnDevice<DeviceStop>): Promise<void> {
  const { chosen, scheduler, parameters, stats } = source;
  const wait = {
    effort: 'stop',
    approach: chosen?.stop.name ?? '',
    device: name,
    duration: parameters.duration('deviceStartTimeoutMs'),
    grace: parameters.duration('answerTimeoutMs'),
  };
  try {
    await withPatience(scheduler, wait, async (patience) => {
      await does.resumed?.(patience);
      await giveBack(source, name, patience);
    });
  } catch (error) {
    if (!isFerryError(error)) throw error;
    stats.resumedDevice(name, `is not used again by its driver: ${error.message}`);
  }
}

/** What was remembered of the device is given back by the start that wanted it remembered. */
async function giveBack(
  { chosen, machine, remembered, timeline }: Source,
  name: string,
  patience: Patience,
): Promise<void> {
  const known = remembered.get(name);
  const device = onTimeline(machine.devices, timeline).find((one) => one.name === name);
  if (known === undefined || device === undefined) return;
  const start = chosen!.start.make(device);
  await start.take?.(known);
  await start.load?.();
  await start.restore?.(patience);
}
