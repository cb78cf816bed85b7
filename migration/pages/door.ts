/**
 * Who comes to a source's channel: whoever connects must present a valid hello in time; the first who does gets the channel,
 * and the door is shut: a second one finds nobody listening. A stranger costs a bounded number of wires, 33 bytes each, and
 * a bounded time, and never ends a migration.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { isFerryError } from '../../base/errors.js';
import { milliseconds } from '../../base/units.js';
import { checkHello, encodeHello } from './hello.js';
import { channelHello } from './layouts.js';
import type { Wire, WireUser } from './wire.js';

/** Wires that may be without a hello at one time; a further one is closed at once. */
const UNPROVEN_MAX = 4;

export interface DoorSetup {
  readonly channel: number;
  readonly token: Uint8Array;
  readonly helloTimeoutMs: number;
  readonly scheduler: Scheduler;
  /** Gets the channel's wire, its hello answered; `hello` is what was answered. */
  readonly onChannel: (wire: Wire, hello: Uint8Array) => void;
}

export class Door {
  readonly #setup: DoorSetup;
  readonly #unproven = new Set<Wire>();
  #shut = false;

  constructor(setup: DoorSetup) {
    this.#setup = setup;
  }

  /** Somebody came. */
  knock(wire: Wire): void {
    const guest = new Guest(wire, this.#setup, (hello) => this.#heard(wire, hello));
    wire.user = guest;
    if (this.#shut || this.#unproven.size >= UNPROVEN_MAX) {
      wire.destroy();
      return;
    }
    this.#unproven.add(wire);
    guest.left = () => this.#unproven.delete(wire);
  }

  /** Lets nobody in any more, and drops whoever has not proven himself. */
  shut(): void {
    this.#shut = true;
    for (const wire of this.#unproven) wire.destroy();
    this.#unproven.clear();
  }

  #heard(wire: Wire, hello: Uint8Array | undefined): void {
    const { channel, token, onChannel } = this.#setup;
    if (
      this.#shut ||
      hello === undefined ||
      !isOurs(hello, channel, wire.proof(token, 'destination', channel))
    ) {
      wire.destroy();
      return;
    }
    this.#unproven.delete(wire);
    this.shut();
    const answer = encodeHello(channel, wire.proof(token, 'source', channel));
    wire.write([answer], 1, () => {});
    onChannel(wire, answer);
  }
}

/** Whoever stands at the door and has not said his hello. */
class Guest implements WireUser {
  left = (): void => {};
  /** A byte more than a hello has: who says more has not waited for the answer. */
  readonly #said = new Uint8Array(channelHello.size + 1);
  readonly #heard: (hello: Uint8Array | undefined) => void;
  readonly #cancel: Cancel;
  #filled = 0;

  constructor(wire: Wire, setup: DoorSetup, heard: (hello: Uint8Array | undefined) => void) {
    this.#heard = heard;
    this.#cancel = setup.scheduler.after(milliseconds(setup.helloTimeoutMs), () => wire.destroy());
  }

  target(): Uint8Array {
    return this.#said.subarray(this.#filled);
  }

  filled(lengthBytes: number): boolean {
    this.#filled += lengthBytes;
    if (this.#filled < channelHello.size) return true;
    this.#cancel();
    this.#heard(this.#filled === channelHello.size ? this.#said.subarray(0, channelHello.size) : undefined);
    return true;
  }

  gone(): void {
    this.#cancel();
    this.left();
  }
}

function isOurs(hello: Uint8Array, channel: number, token: Uint8Array): boolean {
  try {
    checkHello(hello, channel, token);
    return true;
  } catch (error) {
    if (isFerryError(error)) return false;
    throw error;
  }
}
