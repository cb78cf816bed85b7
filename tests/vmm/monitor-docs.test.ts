import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { COMMANDS as FABRIC_COMMANDS } from '../../lab/fabric/monitor.js';
import { COMMANDS as NIC_COMMANDS } from '../../lab/nic/monitor.js';
import { isCapability, type Parameter, parameterTable } from '../../migration/parameters.js';
import { COMMANDS } from '../../vmm/monitor/commands.js';
import { FIXED_PARAMETERS } from '../../vmm/monitor/fixed-parameters.js';
import { QMP_EVENT_NAMES } from '../../vmm/monitor/protocol.js';
import { RUN_STATES } from '../../vmm/monitor/run-state.js';

const page = readFileSync(new URL('../../docs/monitor.md', import.meta.url), 'utf8');

/** The rows of the tables under a heading, cell by cell. */
function rowsUnder(heading: string): string[][] {
  const section = page.split(/^## /m).find((part) => part.startsWith(heading)) ?? '';
  return [...section.matchAll(/^\| (`.*) \|$/gm)].map(([, row]) => row.split(' | '));
}

const codeIn = (text: string): string[] => [...text.matchAll(/`([^`]+)`/g)].map(([, word]) => word);

/** What stands as code in the first column: names of commands, each with the arguments that stand in braces behind. */
function named(heading: string): Map<string, string[]> {
  const found = new Map<string, string[]>();
  for (const [cell = ''] of rowsUnder(heading)) {
    const [, names = '', args = ''] = /^([^{]*)(?:\{([^}]*)\})?$/.exec(cell) ?? [];
    for (const name of codeIn(names)) found.set(name, codeIn(args));
  }
  return found;
}

/** The names of a command's arguments, from the words of its schema. */
function argumentsOf(words: string): string[] {
  let [before, inner] = ['', words.slice(1, -1)];
  while (inner !== before) [before, inner] = [inner, inner.replace(/\{[^{}]*\}|\[[^[\]]*\]/g, '')];
  return [...inner.matchAll(/([\w-]+): /g)].map(([, name]) => name);
}

const byName = (
  commands: readonly { readonly name: string; readonly arguments: { readonly words: string } }[],
) => new Map(commands.map((command) => [command.name, argumentsOf(command.arguments.words)]));

/** How the page writes which values a parameter takes. */
function rangeOf(parameter: Parameter): string {
  switch (parameter.type) {
    case 'number': {
      const max = parameter.max === Number.MAX_SAFE_INTEGER ? '2^53 - 1' : parameter.max;
      return `${parameter.min} to ${max} ${parameter.unit}`;
    }
    case 'boolean':
      return 'true, false';
    case 'text':
      return 'a text, or `null` for none';
    case 'choice':
      return parameter.choices.join(', ');
  }
}

describe('the page about the monitor', () => {
  it('has every command with its arguments, and no other', () => {
    const commands = byName(COMMANDS);
    // Its arguments have a table of their own.
    commands.set('migrate-set-parameters', []);
    expect(named('Commands')).toEqual(new Map([['qmp_capabilities', ['enable']], ...commands]));
  });

  it('has every parameter with its values and its default, and those of one value with that', () => {
    const settable = Object.values(parameterTable)
      .filter((parameter) => !isCapability(parameter))
      .map((one) => [`\`${one.qmpName}\``, rangeOf(one), one.type === 'text' ? '""' : String(one.default)]);
    const fixed = Object.entries(FIXED_PARAMETERS).map(([name, { value }]) => [
      `\`${name}\``,
      JSON.stringify(value),
    ]);
    const rows = rowsUnder('Parameters');
    expect(rows.slice(0, settable.length).map((row) => row.slice(0, 3))).toEqual(settable);
    expect(rows.slice(settable.length).map((row) => row.slice(0, 2))).toEqual(fixed);
  });

  it('has every run state and event, and no other', () => {
    expect(new Set(named('Run states').keys())).toEqual(new Set(RUN_STATES));
    expect(new Set(named('Events').keys())).toEqual(new Set(QMP_EVENT_NAMES));
  });

  it("has every command of the fabric's monitor with its arguments, and no other", () => {
    expect(named("The fabric's monitor")).toEqual(
      new Map([['qmp_capabilities', ['enable']], ...byName(FABRIC_COMMANDS)]),
    );
  });

  it('has every command of the monitor of a served function with its arguments, and no other', () => {
    expect(named('The monitor of a served function')).toEqual(
      new Map([['qmp_capabilities', ['enable']], ...byName(NIC_COMMANDS)]),
    );
  });

  it('is read as it is meant to be', () => {
    expect(named('Commands').get('migrate')).toContain('uri');
    expect(argumentsOf('{a: string, *b: [{c: int 1..2}], d-e: x|y}')).toEqual(['a', 'b', 'd-e']);
    expect(named('No such heading').size).toBe(0);
  });
});
