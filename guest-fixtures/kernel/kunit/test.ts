// What the test suites share: expectations that print a line each, as KUnit's TAP output.
import { tty_print } from '../kernel/printk';
import { str } from '../lib/string';

const failures = memory.data(4, 4);
const count = memory.data(4, 4);

/** Prints `ok` or `not ok` for one property. */
export function expect(holds: bool, property: string): void {
  store<u32>(count, load<u32>(count) + 1);
  if (!holds) store<u32>(failures, load<u32>(failures) + 1);
  tty_print('%s %u - %s', holds ? str('ok') : str('not ok'), load<u32>(count), str(property));
}

/** The last line, from which a reader knows that none is missing. */
export function summary(): void {
  tty_print('1..%u, %u failed', load<u32>(count), load<u32>(failures));
}
