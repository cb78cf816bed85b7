/**
 * How a command ends, in a few classes that a script can act on; the precise code stands in the error's words and in
 * `--json`. Below the shells' own statuses (126 and up), and 1 is left to programs that crash.
 */
export const EXIT_STATUS = {
  usage: 2,
  refused: 3,
  failed: 4,
  'unknown-owner': 5,
  'not-verified': 6,
  environment: 7,
  guest: 8,
  /** EX_SOFTWARE of sysexits. */
  defect: 70,
} as const;

export type ExitClass = keyof typeof EXIT_STATUS;

/** For help texts and docs. */
export const EXIT_WORDS: Readonly<Record<ExitClass, string>> = {
  usage: 'wrong use of the command; nothing was done',
  refused: 'what was asked does not fit the machine, the guest, the peer or the file; nothing was changed',
  failed: 'it was begun and failed; a guest that was there before is still there, with nothing lost',
  'unknown-owner': 'which side has the guest is not known; the words say what to ask and what not to do',
  'not-verified': 'it was done, but a check failed, or was not made',
  environment: 'a file, an address, memory or a process of this host stood in the way',
  guest: 'the guest ended by itself: it crashed, panicked or hung',
  defect: 'a defect of vf-ferry',
};

export const isExitClass = (value: unknown): value is ExitClass =>
  typeof value === 'string' && Object.hasOwn(EXIT_STATUS, value);
