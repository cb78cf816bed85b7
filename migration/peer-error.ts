/** Errors across the control link: what is said to a peer, and what is made of what a peer said. */
import { type Facts, FerryError } from '../base/errors.js';
import type { MessageOf } from './messages.js';

const TEXT_MAX = 2048;
const CODE_MAX = 128;

/**
 * What this side tells its peer about the error that made it give up. `discarded`: said by a destination once it can hear no
 * commit any more.
 */
export function errorMessage(error: unknown, discarded = false): MessageOf<'error'> {
  if (!(error instanceof FerryError)) {
    return {
      kind: 'error',
      code: 'migration/internal',
      exit: 'defect',
      text: 'a defect of the program at the other end',
      advice: 'See the log of the other end.',
      facts: {},
      discarded,
    };
  }
  const facts: Record<string, Facts[string]> = {};
  for (const [name, value] of Object.entries(error.facts)) {
    if (name.length === 0 || name.length > CODE_MAX) continue;
    facts[name] = typeof value === 'string' ? value.slice(0, TEXT_MAX) : value;
  }
  return {
    kind: 'error',
    code: error.code.slice(0, CODE_MAX),
    exit: error.exit,
    text: error.message.slice(0, TEXT_MAX),
    advice: error.advice.slice(0, TEXT_MAX),
    facts,
    discarded,
  };
}

/**
 * The peer's error as one of ours: a refusal has the same code and ends with the same status at both ends. The words
 * are the peer's, made harmless for a terminal.
 */
export function errorFromPeer(message: MessageOf<'error'>): FerryError {
  const facts: Record<string, Facts[string]> = {};
  for (const [name, value] of Object.entries(message.facts)) {
    facts[printable(name)] = typeof value === 'string' ? printable(value) : value;
  }
  return new FerryError(
    printable(message.code),
    message.exit,
    `told by the peer: ${printable(message.text)}`,
    printable(message.advice),
    facts,
  );
}

/** Without control characters, which a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/\p{Cc}+/gu, ' ');
}
