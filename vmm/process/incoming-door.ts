/**
 * Where sources are waited for, whatever they come over: who is let in, which migrations are remembered for those who ask what
 * came of theirs, and how long somebody stays to answer.
 */
import type { Cancel } from '../../base/clock.js';
import type { FerryError } from '../../base/errors.js';
import { isDecided, mayAsk } from '../../migration/inquiry.js';
import type { ControlLink } from '../../migration/ports.js';
import type { DestinationRecord } from '../../migration/record.js';
import type { TlsBinding } from '../tls/session.js';
import { Doorstep, type Visitor } from './doorstep.js';
import type { IncomingOptions, TurnedAway } from './ports.js';

/** Migrations to one door of which a source may ask. */
const RECORDS_MAX = 8;

export interface DoorOptions {
  readonly turnedAway: TurnedAway;
  /** Calls `callback` after so long; keeps no process from ending. */
  later(ms: number, callback: () => void): Cancel;
  /** It is closed, and nobody is left who may ask: from now on there is no answer at its address. */
  end(): void;
}

/** Lives through the migration of a source that has introduced itself by `link`, to which `binding` ties its data channels. Never rejects but for a defect of ours. */
export type Arrive = (
  link: ControlLink,
  options: Omit<IncomingOptions, 'introduced'>,
  binding: TlsBinding | undefined,
) => Promise<DestinationRecord>;

export class IncomingDoor {
  readonly #options: DoorOptions;
  readonly #doorstep: Doorstep;
  /** Of the latest migrations, each as it is when it is looked at. */
  readonly #records: (() => DestinationRecord)[] = [];
  /** Pending while the source of the last migration may still ask what came of it. */
  #asked: Promise<void> = Promise.resolve();
  /** The last migration whose source was told its verdict, which may be before all of it is cleared away. */
  #told: string | undefined;
  #onTold = (): void => {};

  constructor(options: DoorOptions) {
    this.#options = options;
    this.#doorstep = new Doorstep({
      turnedAway: options.turnedAway,
      recordOf: (id) => this.#records.map((record) => record()).find((one) => one.migrationId === id),
      answered: (record) => {
        if (!isDecided(record)) return;
        this.#told = record.migrationId;
        this.#onTold();
      },
      later: options.later,
    });
  }

  /** A connection was made; `refusal`: why it is sent away before it is heard, if it is. */
  knock(visitor: Visitor, refusal?: FerryError): void {
    this.#doorstep.knock(visitor, refusal);
  }

  /** See `IncomingListener`. */
  async next(
    { introduced, ...options }: IncomingOptions,
    arrive: Arrive,
  ): Promise<DestinationRecord | undefined> {
    const source = await this.#doorstep.next();
    if (source === undefined) return undefined;
    introduced(source.from);
    const { observer, parameters, signal } = options;
    const record = await arrive(
      source.link,
      {
        ...options,
        observer: {
          ...observer,
          started: (snapshot) => {
            this.#remember(snapshot);
            observer?.started?.(snapshot);
          },
        },
      },
      source.binding,
    );
    this.#records.pop();
    this.#remember(() => record);
    const isTold = (): boolean => this.#told === record.migrationId;
    if (!mayAsk(record) || isTold()) return record;
    this.#asked = new Promise((resolve) => {
      this.#onTold = () => {
        if (isTold()) resolve();
      };
      signal?.addEventListener('abort', () => resolve(), { once: true });
      this.#options.later(parameters.values.inquiryTimeoutMs, resolve);
    });
    // A VMM may end with the failure: only when who would not know what to do without its word has that.
    if (record.error !== undefined) await this.#asked;
    return record;
  }

  /** Nobody is let in any more. */
  close(): void {
    this.#doorstep.close();
    void this.#asked.then(() => this.#options.end());
  }

  #remember(record: () => DestinationRecord): void {
    this.#records.push(record);
    if (this.#records.length > RECORDS_MAX) this.#records.shift();
  }
}
