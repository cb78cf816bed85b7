/**
 * Somebody who belongs to no migration, and comes to the door at which sources are waited for, or to that of a data channel: says
 * nothing, too much, or what others have said.
 */
import { seededRandom } from '../../base/random.js';
import { encodeMessage } from '../../migration/messages.js';
import { encodeHello, tokenBytes } from '../../migration/pages/hello.js';
import type { Wire, WireUser } from '../../migration/pages/wire.js';
import type { ControlLink } from '../../migration/ports.js';
import { hexDigits } from './run.js';

export interface Door {
  /** A new link to it. Throws if nobody listens. */
  connect(): ControlLink;
  /** What sources have said at it so far, in order. */
  readonly overheard: readonly Uint8Array[];
}

type Visit = (door: Door, amount: number) => void;

const say = (link: ControlLink, messages: readonly Uint8Array[]): void => {
  for (const message of messages) link.send(message).catch(() => undefined);
};

const garbage: Visit = (door, amount) => {
  const bytes = new Uint8Array(1 + (amount % 300));
  seededRandom(amount).fill(bytes);
  say(door.connect(), [bytes]);
};

/** More than are kept while they say nothing. */
const CROWD = 40;

const VISITS: readonly Visit[] = [
  (door) => void door.connect(),
  (door) => door.connect().close(),
  garbage,
  (door) => {
    for (let i = 0; i < CROWD; i++) door.connect();
  },
  (door, amount) => {
    const migrationId = hexDigits(seededRandom(amount));
    say(door.connect(), [encodeMessage({ kind: 'inquiry', migrationId })]);
  },
  (door) => say(door.connect(), door.overheard.slice(0, 1)),
  // All of it again, from the first to the last word.
  (door) => say(door.connect(), door.overheard),
  // The end of it, to begin with.
  (door) => say(door.connect(), door.overheard.slice(-1)),
];

/** One of the ways to come to `door`; false if it is shut. */
export function visit(door: Door, amount: number): boolean {
  try {
    VISITS[amount % VISITS.length]!(door, amount);
    return true;
  } catch {
    return false;
  }
}

const DEAF: WireUser = { target: () => new Uint8Array(64), filled: () => true, gone: () => {} };
const NO_TOKEN = tokenBytes('f'.repeat(32));
/** A channel that no migration has. */
const NO_CHANNEL = 99;

const CHANNEL_VISITS: readonly ((connect: (user: WireUser) => Wire) => void)[] = [
  (connect) => void connect(DEAF),
  (connect) => connect(DEAF).destroy(),
  (connect) => talk(connect, new Uint8Array(100).fill(0x55)),
  (connect) => talk(connect, encodeHello(0, NO_TOKEN)),
  (connect) => talk(connect, encodeHello(NO_CHANNEL, NO_TOKEN)),
  (connect) => talk(connect, encodeHello(0, NO_TOKEN).subarray(0, 7)),
];

/** One of the ways to come to a data channel. */
export const visitChannel = (connect: (user: WireUser) => Wire, amount: number): void =>
  CHANNEL_VISITS[amount % CHANNEL_VISITS.length]!(connect);

function talk(connect: (user: WireUser) => Wire, words: Uint8Array): void {
  const wire: Wire = connect({ ...DEAF, opened: () => wire.write([words], 1, () => {}) });
}
