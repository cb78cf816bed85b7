/**
 * The monitor without its sockets: any number of clients, each negotiating for itself; commands of all clients one
 * after the other, as QEMU runs them, but for those out of band; events to every client that has negotiated.
 */
import { FerryError } from '../../base/errors.js';
import { list, oneOf, optional, struct } from './arguments.js';
import { JsonStream } from './json-stream.js';
import {
  encodeError,
  encodeEvent,
  encodeGreeting,
  encodeReturn,
  QmpError,
  type QmpEvents,
  type QmpVersion,
  timestampOf,
} from './protocol.js';

/** A client's end of the line, as the socket driver provides it. */
export interface ClientPort {
  /** Queues one line. The driver drops a client that lets too much of it lie: what happens does not wait for it. */
  send(line: string): void;
  /** Resolves when the client has taken most of what was queued, at once if it has; and when it is gone. */
  drained(): Promise<void>;
  /** Stops and continues reading from the client. */
  pause(): void;
  resume(): void;
  /** Lets the client go when it has taken what is queued. */
  end(): void;
}

/** Commands of one client that may wait before it is no longer read from. */
const WAITING_MAX = 8;

/** Arguments of `qmp_capabilities`. */
export const negotiation = struct({ enable: optional(list(oneOf('oob'))) });

const NOT_NEGOTIATED = "Expecting capabilities negotiation with 'qmp_capabilities'";
const ALREADY_NEGOTIATED = 'Capabilities negotiation is already complete, command ignored';

interface Request {
  readonly execute: string;
  /** It does not wait for its turn: `exec-oob`. */
  readonly outOfBand: boolean;
  readonly args: unknown;
}

/** Whether a message asks to be carried out at once. */
const isOutOfBand = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.hasOwn(value, 'exec-oob');

/** Judges the outer form of a message; `oob`: whether the client may have commands carried out out of band. */
function parseRequest(value: unknown, oob: boolean): Request {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new QmpError('QMP input must be a JSON object');
  }
  const message = value as Readonly<Record<string, unknown>>;
  for (const key of Object.keys(message)) {
    if (key === 'execute' || (oob && key === 'exec-oob')) {
      if (typeof message[key] !== 'string') throw new QmpError(`QMP input member '${key}' must be a string`);
    } else if (key === 'arguments') {
      const args = message.arguments;
      if (typeof args !== 'object' || args === null || Array.isArray(args)) {
        throw new QmpError("QMP input member 'arguments' must be an object");
      }
    } else if (key !== 'id') {
      throw new QmpError(`QMP input member '${key.slice(0, 64)}' is unexpected`);
    }
  }
  const outOfBand = isOutOfBand(message);
  const inTurn = Object.hasOwn(message, 'execute');
  if (outOfBand && inTurn) throw new QmpError("QMP input has both 'execute' and 'exec-oob'");
  if (!outOfBand && !inTurn) throw new QmpError("QMP input lacks member 'execute'");
  return {
    execute: (outOfBand ? message['exec-oob'] : message.execute) as string,
    outOfBand,
    args: Object.hasOwn(message, 'arguments') ? message.arguments : {},
  };
}

export class MonitorSession implements MonitorClient {
  readonly #monitor: Monitor;
  readonly #port: ClientPort;
  readonly #onNegotiated: () => void;
  readonly #stream: JsonStream;
  #negotiated = false;
  /** Commands out of band that are not answered yet. */
  #atOnce = 0;
  /** It may have commands carried out that do not wait for others. */
  #oob = false;
  #muted: readonly string[] = [];
  /** What it asked for and is not answered yet. While its replies wait for it, its commands wait. */
  readonly #asked: (() => Promise<string>)[] = [];
  #answering = false;
  /** It will ask for nothing more. */
  #ended = false;
  #closed = false;

  /** Made by `Monitor.attach`. */
  constructor(monitor: Monitor, port: ClientPort, onNegotiated: () => void) {
    this.#monitor = monitor;
    this.#port = port;
    this.#onNegotiated = onNegotiated;
    this.#stream = new JsonStream({
      value: (value, idText) => {
        if (this.#oob && isOutOfBand(value)) this.#answerAtOnce(value, idText);
        else this.#enqueue(() => this.#answer(value, idText));
      },
      // A mistake waits its turn as well, so that replies come in the order of what they answer.
      error: (text) => this.#enqueue(async () => encodeError(new QmpError(text), undefined)),
    });
  }

  /** Whether it gets events of this name: it has negotiated, and did not ask to be spared them. */
  hears(event: keyof QmpEvents): boolean {
    return this.#negotiated && !this.#muted.includes(event);
  }

  mute(events: readonly (keyof QmpEvents)[]): void {
    this.#muted = events;
  }

  /** Bytes from the client. */
  push(chunk: Uint8Array): void {
    if (!this.#closed) this.#stream.push(chunk);
  }

  send(line: string): void {
    if (!this.#closed) this.#port.send(line);
  }

  /** The client has said all it will say, as a script's pipe does: it gets its answers, and is let go. */
  end(): void {
    this.#ended = true;
    if (!this.#answering) this.#answerNext();
  }

  /** The client is gone: what it still asked for is not run. */
  close(): void {
    this.#closed = true;
    this.#asked.length = 0;
    this.#monitor.detach(this);
  }

  #enqueue(work: () => Promise<string>): void {
    this.#asked.push(work);
    if (this.#asked.length === WAITING_MAX) this.#port.pause();
    if (!this.#answering) this.#answerNext();
  }

  /** Answers what comes next in the monitor's turn, and goes on when the client has taken the answer. */
  #answerNext(): void {
    const work = this.#asked[0];
    this.#answering = work !== undefined && !this.#closed;
    if (!this.#answering) {
      if (this.#ended && !this.#closed && this.#atOnce === 0) this.#port.end();
      return;
    }
    this.#monitor.inTurn(async () => {
      if (this.#closed) return;
      try {
        const reply = await work!();
        // What happened before it is told before it.
        this.#monitor.flush();
        this.send(reply);
      } finally {
        this.#asked.shift();
        void this.#port.drained().then(() => {
          if (this.#asked.length === WAITING_MAX - 1) this.#port.resume();
          this.#answerNext();
        });
      }
    });
  }

  /** Whatever else is asked and not answered yet, of whomever. */
  #answerAtOnce(value: unknown, idText: string | undefined): void {
    this.#atOnce++;
    this.#monitor.atOnce(async () => {
      const reply = await this.#answer(value, idText);
      this.#monitor.flush();
      this.send(reply);
      this.#atOnce--;
      if (!this.#answering) this.#answerNext();
    });
  }

  async #answer(value: unknown, idText: string | undefined): Promise<string> {
    try {
      return encodeReturn(await this.#run(parseRequest(value, this.#oob)), idText);
    } catch (error) {
      if (error instanceof QmpError || error instanceof FerryError) return encodeError(error, idText);
      throw error;
    }
  }

  async #run({ execute, args, outOfBand }: Request): Promise<unknown> {
    if (execute === 'qmp_capabilities') {
      if (this.#negotiated) throw new QmpError(ALREADY_NEGOTIATED, 'CommandNotFound');
      const { enable } = negotiation.check(args, '');
      const offered: readonly string[] = this.#monitor.commands.capabilities ?? [];
      const absent = [...new Set(enable)].filter((name) => !offered.includes(name));
      if (absent.length > 0) throw new QmpError(`Capability ${absent.join(', ')} not available`);
      this.#oob = enable?.includes('oob') === true;
      this.#negotiated = true;
      this.#onNegotiated();
      return {};
    }
    if (!this.#negotiated) throw new QmpError(NOT_NEGOTIATED, 'CommandNotFound');
    return this.#monitor.commands.run(execute, args, this, outOfBand);
  }
}

/** What a command may do to the client that gives it. */
export interface MonitorClient {
  /** Sends it no events of these names, and all others. */
  mute(events: readonly (keyof QmpEvents)[]): void;
}

/** What a monitor can be asked. */
export interface MonitorCommands {
  readonly version: QmpVersion;
  /** What clients may ask for: `oob` if any command can be carried out without waiting for others; nothing if absent. */
  readonly capabilities?: readonly 'oob'[];
  /**
   * Answers one command, `outOfBand` while another may be under way. Throws a QmpError (`CommandNotFound` for what there is not) or a
   * FerryError; anything else is a defect.
   */
  run(execute: string, args: unknown, client: MonitorClient, outOfBand?: boolean): Promise<unknown>;
}

export class Monitor {
  readonly commands: MonitorCommands;
  readonly #wallClockMs: () => number;
  readonly #defect: (error: unknown) => void;
  readonly #later: (flush: () => void) => void;
  readonly #sessions = new Set<MonitorSession>();
  #unsent: { readonly name: keyof QmpEvents; readonly line: string }[] = [];
  #turn: Promise<void> = Promise.resolve();

  /**
   * `wallClockMs`: milliseconds since the epoch, for the events' timestamps. `defect` is told what a command threw
   * that is no error for a client. `later` decides when events are sent: at once, unless given.
   */
  constructor(
    commands: MonitorCommands,
    wallClockMs: () => number,
    defect: (error: unknown) => void,
    later: (flush: () => void) => void = (flush) => flush(),
  ) {
    this.commands = commands;
    this.#later = later;
    this.#wallClockMs = wallClockMs;
    this.#defect = defect;
  }

  /** Greets a new client; `onNegotiated` is called when it has negotiated, and gets events from then on. */
  attach(port: ClientPort, onNegotiated: () => void = () => {}): MonitorSession {
    const session = new MonitorSession(this, port, onNegotiated);
    this.#sessions.add(session);
    session.send(encodeGreeting(this.commands.version, this.commands.capabilities ?? []));
    return session;
  }

  detach(session: MonitorSession): void {
    this.#sessions.delete(session);
  }

  /**
   * Sends an event to all clients that hear of such, when `later` says, but before the reply to a later command:
   * clients can wait, and a guest that stands still meanwhile can't.
   */
  emit<K extends keyof QmpEvents>(name: K, data: QmpEvents[K]): void {
    if (![...this.#sessions].some((session) => session.hears(name))) return;
    const line = encodeEvent(name, data, timestampOf(this.#wallClockMs()));
    if (this.#unsent.push({ name, line }) === 1) {
      this.#later(() => this.flush());
    }
  }

  /** Sends what was emitted so far. */
  flush(): void {
    for (const { name, line } of this.#unsent.splice(0)) {
      for (const session of this.#sessions) if (session.hears(name)) session.send(line);
    }
  }

  /** Runs `work` now, beside what is under way. */
  atOnce(work: () => Promise<void>): void {
    void work().catch(this.#defect);
  }

  /** Runs `work` after all work given before. */
  inTurn(work: () => Promise<void>): void {
    this.#turn = this.#turn.then(work).catch(this.#defect);
  }
}
