/**
 * A migration that does not complete says why, with an error that has a code, words, and advice, and that names what was
 * inflicted; without a fault none fails.
 *
 * It does not check that the words are true in every detail, nor which of several faults ended it.
 */
import type { Checker, SideEnd } from './happened.js';

const CODE = /^[a-z][a-z-]*\/[a-z][A-Za-z-]*$/;

export const typedErrors: Checker = {
  name: 'typed-errors',
  check: ({ source, destination, faults, defects }) => {
    const findings = defects.map((message) => `a defect came to light: ${message}`);
    const errors = [source, destination].flatMap(({ error }) => (error === undefined ? [] : [error]));
    for (const [side, end] of Object.entries({ source, destination })) {
      findings.push(...untyped(side, end));
    }
    if (errors.length > 0 && !faults.some(({ causes }) => errors.some(({ code }) => causes.test(code)))) {
      const codes = errors.map(({ code, message }) => `${code} (${message})`).join(', ');
      const names = faults.map(({ name }) => name).join(', ') || 'nothing';
      findings.push(`the errors ${codes} name none of what was inflicted: ${names}`);
    }
    return findings;
  },
};

function untyped(side: string, { status, error, gone }: SideEnd): string[] {
  if (gone) return [];
  if (error === undefined) {
    const silent = status !== undefined && ['failed', 'cancelled', 'unacknowledged'].includes(status);
    return silent ? [`the ${side} ended as ${status}, and says no why`] : [];
  }
  const { code, message, advice } = error;
  const whole = CODE.test(code) && message.length > 0 && advice.length > 0;
  return whole ? [] : [`the ${side}'s error has no code, words or advice: ${JSON.stringify(error)}`];
}
