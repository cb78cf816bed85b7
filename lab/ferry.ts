#!/usr/bin/env node
/**
 * The `ferry` command. Each subcommand lives in its own file and is loaded only when it is asked for, so that help
 * and the VMM itself start quickly.
 */
import { realpathSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Command, CommanderError } from 'commander';
import { reportOf } from '../vmm/process/report.js';
import { reasonOf } from '../vmm/sockets/listening.js';
import { VERSION } from '../vmm/version.js';
import { labErrors } from './errors.js';

/** What a file in `commands/` exports. */
export interface CommandModule {
  /**
   * Adds options, help with examples, and the action. An action that ends in an error throws it; one that ends well
   * with a status other than 0 sets `process.exitCode`.
   */
  define(command: Command): void;
}

interface Subcommand {
  readonly name: string;
  readonly summary: string;
  readonly load: () => Promise<CommandModule>;
}

const SUBCOMMANDS: readonly Subcommand[] = [
  {
    name: 'migrate',
    summary: 'move a working guest from one new VMM to another, and verify it',
    load: () => import('./commands/migrate.js'),
  },
  {
    name: 'compare',
    summary: 'move the same guest by each approach in turn, and say what each cost',
    load: () => import('./commands/compare.js'),
  },
  {
    name: 'explain',
    summary: 'say what an approach does, needs and costs',
    load: () => import('./commands/explain.js'),
  },
  {
    name: 'vmm',
    summary: 'run one VMM: a guest, or a place for a guest to come to',
    load: () => import('./commands/vmm.js'),
  },
  {
    name: 'fabric',
    summary: 'run the Ethernet between hosts, with stations that measure traffic',
    load: () => import('./commands/fabric.js'),
  },
  {
    name: 'nic',
    summary: 'serve a virtual function of the 82599 to another VMM, such as QEMU, as a vfio-user device',
    load: () => import('./commands/nic.js'),
  },
  {
    name: 'qemu',
    summary: 'have QEMU move an unmodified Linux with such a function, and measure it',
    load: () => import('./commands/qemu.js'),
  },
  {
    name: 'guest',
    summary: 'build a bootable guest image, or inspect one',
    load: () => import('./commands/guest.js'),
  },
  {
    name: 'inspect',
    summary: 'explain a recorded migration stream',
    load: () => import('./commands/inspect.js'),
  },
  {
    name: 'bench',
    summary: 'measure the machine and the transfer, beside their limits',
    load: () => import('./commands/bench.js'),
  },
  {
    name: 'plan',
    summary: 'calculate a migration from the figures of its guest, link and devices',
    load: () => import('./commands/plan.js'),
  },
  {
    name: 'simulate',
    summary: 'migrate whole machines in virtual time under random faults, and check what must hold',
    load: () => import('./commands/simulate.js'),
  },
  {
    name: 'faults',
    summary: 'cut, stall, kill and stop real processes while a guest moves, and check what must hold',
    load: () => import('./commands/faults.js'),
  },
  {
    name: 'run',
    summary: 'run experiments that are files: faults, operators, what must hold and what is measured',
    load: () => import('./commands/run.js'),
  },
  {
    name: 'fuzz',
    summary: 'let a hostile guest driver loose on the device models',
    load: () => import('./commands/fuzz.js'),
  },
];

/** The command of `args`, with its options; the others are there by name. */
export async function commandLine(args: readonly string[]): Promise<Command> {
  const program = new Command('ferry')
    .description('A VMM that moves a running guest to another process, byte for byte.')
    .version(VERSION, '-V, --version', 'print the version')
    .option('--json', 'results and errors as JSON, for programs')
    .helpOption('-h, --help', 'show help')
    .helpCommand('help [command]', 'show help for a command')
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: true })
    .exitOverride()
    .configureOutput({ writeErr: () => {} })
    .addHelpText('after', "\nEach command explains itself: 'ferry vmm --help'.");
  const wanted = args.filter((arg) => !arg.startsWith('-'));
  for (const { name, summary, load } of SUBCOMMANDS) {
    const command = program.command(name).description(summary);
    if (wanted[0] === name || (wanted[0] === 'help' && wanted[1] === name)) (await load()).define(command);
  }
  return program;
}

/** Runs the command line `args` (without node and script); resolves with the exit status. */
export async function main(args: readonly string[]): Promise<number> {
  const json = args.includes('--json');
  try {
    const program = await commandLine(args);
    if (args.every((arg) => arg === '--json')) program.help({ error: false });
    await program.parseAsync([...args], { from: 'user' });
    return Number(process.exitCode ?? 0);
  } catch (error) {
    if (error instanceof CommanderError && error.exitCode === 0) return 0;
    const { text, exitStatus } = reportOf(
      error instanceof CommanderError ? usageOf(error, args) : error,
      json,
    );
    process.stderr.write(text);
    return exitStatus;
  }
}

/** What the option parser found wrong, as an error of ours. */
function usageOf(error: CommanderError, args: readonly string[]): Error {
  const why = error.message.replace(/^error: /, '').replace(/\s*\n\s*/g, ' ');
  const name = SUBCOMMANDS.find((command) => args.includes(command.name))?.name;
  return labErrors.error('usage', { why, command: name === undefined ? 'ferry' : `ferry ${name}` });
}

/** As SIGPIPE would end it, which Node ignores: whoever read our output has seen enough. */
const SIGPIPE_STATUS = 141;

/** Output that can't be written ends the command, and with it the processes that it started. */
function outputFailed(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(SIGPIPE_STATUS);
  const facts = { path: 'standard output', what: 'written', reason: reasonOf(error) };
  const { text, exitStatus } = reportOf(labErrors.error('file-failed', facts, error), false);
  process.stderr.write(text);
  process.exit(exitStatus);
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url)) {
  // A VMM goes on without a reader of its guest's console.
  if (process.argv[2] !== 'vmm') process.stdout.on('error', outputFailed);
  process.exitCode = await main(process.argv.slice(2));
}
