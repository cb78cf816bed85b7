/** What help texts and documents show works: every command line is parsed, every line for a monitor is one. */
import { readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { describe, expect, it } from 'vitest';
import { EXIT_STATUS, EXIT_WORDS, type ExitClass } from '../../base/exit-status.js';
import { COMMANDS as FABRIC_COMMANDS } from '../../lab/fabric/monitor.js';
import { commandLine } from '../../lab/ferry.js';
import { type MoveFlags, optionsOf } from '../../lab/move/move-options.js';
import { scenarioOf } from '../../lab/move/scenario.js';
import { COMMANDS as NIC_COMMANDS } from '../../lab/nic/monitor.js';
import { COMMANDS } from '../../vmm/monitor/commands.js';

/** Every command, and the classes that it can end with besides wrong use and a defect. */
const ENDS: Readonly<Record<string, readonly ExitClass[]>> = {
  migrate: ['refused', 'failed', 'unknown-owner', 'not-verified', 'environment', 'guest'],
  vmm: ['refused', 'failed', 'environment', 'guest'],
  explain: ['refused'],
  compare: ['refused', 'not-verified', 'environment'],
  fabric: ['environment'],
  nic: ['environment'],
  qemu: ['refused', 'failed', 'not-verified', 'environment', 'guest'],
  'qemu migrate': ['refused', 'failed', 'not-verified', 'environment', 'guest'],
  guest: ['refused', 'environment'],
  'guest init': ['environment'],
  'guest build': ['refused', 'environment'],
  'guest inspect': ['refused', 'environment'],
  inspect: ['refused', 'not-verified'],
  bench: ['failed', 'not-verified', 'environment'],
  'bench migrate': ['failed', 'not-verified', 'environment'],
  'bench machine': ['failed', 'not-verified', 'environment'],
  'bench transfer': ['failed', 'not-verified', 'environment'],
  'bench iommu': ['failed', 'not-verified', 'environment'],
  'bench fabric': ['failed', 'not-verified', 'environment'],
  'bench packets': ['failed', 'not-verified', 'environment'],
  'bench functions': ['failed', 'not-verified', 'environment'],
  'bench tracking': ['refused', 'failed', 'environment'],
  plan: ['environment'],
  simulate: ['refused', 'failed', 'not-verified', 'environment'],
  faults: ['failed', 'not-verified', 'environment'],
  run: ['refused', 'failed', 'not-verified', 'environment'],
  fuzz: ['not-verified'],
};

/** The words that lead to `command`, `ferry` left out. */
function nameOf(command: Command): string {
  const { parent } = command;
  return parent?.parent ? `${nameOf(parent)} ${command.name()}` : command.name();
}

const ofCommand = async (name: string): Promise<Command> => {
  let command = await commandLine(name.split(' '));
  for (const word of name.split(' ')) command = command.commands.find((one) => one.name() === word)!;
  return command;
};

async function helpOf(name: string): Promise<string> {
  const command = await ofCommand(name);
  let text = '';
  command.configureOutput({
    writeOut: (written) => {
      text += written;
    },
  });
  command.outputHelp();
  return text;
}

/** Parses a command line as `ferry` does, up to the action; returns the command that would have run, by name. */
async function parsed(line: string): Promise<string | undefined> {
  const words = line.match(/"[^"]*"|\S+/g) ?? [];
  const args = words.slice(1).map((word) => word.replaceAll('"', ''));
  const program = await commandLine(args);
  let ran: string | undefined;
  const recordOnly = (command: Command): void => {
    // A group's own action refuses words that are no command of it.
    if (command.commands.length === 0) {
      command.action(() => {
        ran = nameOf(command);
        if (ran === 'migrate') scenarioOf(optionsOf(command.optsWithGlobals<MoveFlags>()));
      });
    }
    for (const one of command.commands) recordOnly(one);
  };
  recordOnly(program);
  await program.parseAsync(args, { from: 'user' });
  return ran;
}

/** The command lines among `lines`: without the words behind them, and each of those that a pipe or `&&` joins. */
const commandsIn = (lines: readonly string[]): string[] =>
  lines
    .filter((line) => /^\s*(npx )?ferry /.test(line))
    .flatMap((line) =>
      line
        .trim()
        .replace(/^npx /, '')
        .split(/ {3,}|\s+#/)[0]!
        .split(/ \| | && /),
    )
    .filter((part) => part.startsWith('ferry '));

/** Those within sentences, unless a word in capitals stands for what a reader has to fill in. */
const commandsInWords = (text: string): string[] =>
  [...text.matchAll(/(?<!`)`(ferry [^`]+ -[^`]+)`/g)]
    .map(([, command]) => command!.replace(/\s+/g, ' '))
    .filter((command) => !/ [A-Z]+\b| tcp:HOST/.test(command));

const monitorLinesIn = (lines: readonly string[]): string[] =>
  lines.map((line) => line.trim()).filter((line) => line.startsWith('{"execute"'));

/** Those of the guest's agent, as its page lists them; that they are all of them is seen where there is a guest. */
const AGENT_COMMANDS = [
  ...readFileSync(new URL('../../docs/guest-agent.md', import.meta.url), 'utf8').matchAll(/^\| `(\S+)` \|/gm),
].map(([, name]) => name!);

const MONITORS = [...COMMANDS, ...FABRIC_COMMANDS, ...NIC_COMMANDS];
const KNOWN = [...MONITORS.map(({ name }) => name), ...AGENT_COMMANDS];

async function expectToWork(text: string): Promise<number> {
  const lines = text.split('\n');
  const found = [...commandsIn(lines), ...commandsInWords(text)];
  for (const line of found) expect(await parsed(line), line).toBeDefined();
  for (const line of monitorLinesIn(lines)) {
    const { execute } = JSON.parse(line) as { execute: string };
    if (execute !== 'qmp_capabilities') expect(KNOWN).toContain(execute);
  }
  return found.length;
}

describe('the help of', () => {
  it('every command is looked at here', async () => {
    const names = async (command: Command): Promise<string[]> => {
      const loaded = await ofCommand(nameOf(command));
      const inner = await Promise.all(loaded.commands.map(names));
      return [nameOf(command), ...inner.flat()];
    };
    const { commands } = await commandLine([]);
    expect((await Promise.all(commands.map(names))).flat().sort()).toEqual(Object.keys(ENDS).sort());
  });

  it.each(Object.entries(ENDS))(
    'ferry %s lists the statuses that can come, and no others',
    async (name, ends) => {
      const text = await helpOf(name);
      for (const exit of Object.keys(EXIT_STATUS) as ExitClass[]) {
        const listed = text.includes(`  ${String(EXIT_STATUS[exit]).padEnd(4)} ${EXIT_WORDS[exit]}`);
        expect(listed, exit).toBe(exit === 'usage' || exit === 'defect' || ends.includes(exit));
      }
    },
  );

  it.each(Object.keys(ENDS))('ferry %s shows examples, and all of them are taken', async (name) => {
    expect(await expectToWork(await helpOf(name))).toBeGreaterThan(0);
  });
});

describe('command lines in documents', () => {
  const root = fileURLToPath(new URL('../../', import.meta.url));
  const documents = ['README.md', ...readdirSync(`${root}docs`).map((name) => `docs/${name}`)];
  it('are taken', async () => {
    let found = 0;
    for (const document of documents.filter((name) => name.endsWith('.md'))) {
      found += await expectToWork(readFileSync(root + document, 'utf8'));
    }
    expect(found).toBeGreaterThan(3);
  });
});

describe('an example that does not work', () => {
  it.each([
    'ferry migrate --nope',
    'ferry bench nope',
    'ferry fabric --flow to=',
    'ferry migrate --nic none --pcap x',
  ])('is found out: %s', async (line) => {
    await expect(parsed(line)).rejects.toThrow();
  });
});
