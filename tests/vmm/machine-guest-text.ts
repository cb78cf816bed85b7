/** WebAssembly text that most of the small guests have in common. */

export const NO_IRQ = '(func (export "irq_entry") (param i32))';

export const LETTER = (letter: string): string => `(i32.const ${letter.charCodeAt(0)})`;
