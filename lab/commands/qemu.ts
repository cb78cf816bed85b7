/** `ferry qemu migrate`: QEMU moves an unmodified Linux with a function of ours, measured as `ferry migrate` measures its own. */
import type { Command } from 'commander';
import { AUTO } from '../../migration/registry.js';
import { RATE_MAX } from '../fabric/options.js';
import { liveDisplay, plainDisplay, silentDisplay } from '../move/display.js';
import { exitStatusOf, resultText, type ShownMove } from '../move/result-text.js';
import { asGroup } from '../options/command-group.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { BadValue, parseDuration, parseSize, parseWhole } from '../options/quantities.js';
import { moveLinux, type QemuMoveOptions, type QemuMoveResult } from '../qemu/move.js';
import { onQemu } from '../qemu/registry.js';

const NAME = 'ferry qemu migrate';
const MIB = 2 ** 20;
const MEMORY = { min: 256 * MIB, max: 4096 * MIB, step: MIB };
const CPUS_MAX = 8;

interface Flags extends Pick<QemuMoveOptions, 'world' | 'rate' | 'cpus' | 'pcap'> {
  readonly tracking?: string;
  readonly stop?: string;
  readonly start?: string;
  readonly memory?: number;
  readonly settle?: number;
  readonly patience?: number;
  readonly trace?: string;
  readonly json?: boolean;
}

export function define(command: Command): void {
  command.addHelpText(
    'after',
    `
Examples:
  ferry qemu migrate

${exitStatuses('the guest moved and all that was checked held', ['refused', 'failed', 'not-verified', 'environment', 'guest'])}`,
  );
  asGroup(command);
  defineMigrate(
    command.command('migrate').description('have QEMU move a Linux with a function of ours, and measure it'),
  );
}

const EXAMPLES = `
It takes a folder with QEMU 11.1, a Linux kernel and a small guest, which scripts/qemu-world makes. Two QEMUs and two \`ferry nic\`
are started, with one network between them; a peer has the guest echo datagrams all the while. No KVM is needed, and without it
minutes are. What is known of each approach stands in docs/real-linux.md.

Examples:
  scripts/qemu-world .qemu-world                       once: from Debian's packages, nothing is installed
  ferry qemu migrate                                   QEMU's failover: the function goes, a virtio-net standby carries
  ferry qemu migrate --stop device-state               the function's state moves beside QEMU's stream
  ferry qemu migrate --stop surprise --start error-recovery-nonfatal
  ferry qemu migrate --stop hot-unplug --rate 1000 --trace move.json
  ferry qemu migrate --world .qemu-world --json | jq .record.blackout

${exitStatuses('the guest moved and all that was checked held', ['refused', 'failed', 'not-verified', 'environment', 'guest'])}`;

type Known = readonly { readonly of: { readonly name: string }; readonly text: string }[];

/** The option's help, with what happens on QEMU. */
const helpOf = (what: string, known: Known): string =>
  `${what} (default: the first that goes with the others). ${known.map(({ of, text }) => `${of.name}: ${text}`).join('; ')}`;

/** The parser of a name. Throws BadValue. */
const nameOf =
  (known: Known) =>
  (text: string): string => {
    const names = [AUTO, ...known.map(({ of }) => of.name)];
    if (names.includes(text)) return text;
    throw new BadValue(`'${text.slice(0, 40)}' is no approach on QEMU; known are ${names.join(', ')}`);
  };

function defineMigrate(command: Command): void {
  const value = <T>(flag: string, parse: (text: string) => T): ((text: string) => T) =>
    optionValue(NAME, flag, parse);
  command
    .option(
      '--world <folder>',
      'the folder that scripts/qemu-world made (default: QEMU_WORLD of the environment, or .qemu-world)',
    )
    .option(
      '--stop <how>',
      helpOf('how the function is stopped', onQemu.stop),
      value('--stop', nameOf(onQemu.stop)),
    )
    .option(
      '--start <how>',
      helpOf('how the guest gets one at the destination', onQemu.start),
      value('--start', nameOf(onQemu.start)),
    )
    .option(
      '--tracking <how>',
      helpOf('how it is known what the function wrote', onQemu.tracking),
      value('--tracking', nameOf(onQemu.tracking)),
    )
    .option(
      '--memory <size>',
      'guest RAM, 256MiB to 4GiB (default: 384MiB)',
      value('--memory', (text) => parseSize(text, MEMORY)),
    )
    .option(
      '--cpus <n>',
      `emulated processors of the guest, 1 to ${CPUS_MAX} (default: 1)`,
      value('--cpus', (text) => parseWhole(text, { min: 1, max: CPUS_MAX })),
    )
    .option(
      '--rate <n>',
      `echoes a second, 1 to ${RATE_MAX} (default: 100)`,
      value('--rate', (text) => parseWhole(text, { min: 1, max: RATE_MAX })),
    )
    .option(
      '--settle <time>',
      'how long the guest works before it is moved, and is watched afterwards (default: 3s)',
      value('--settle', (text) => Math.round(parseDuration(text, { min: 1e8, max: 3.6e12 }) / 1e6)),
    )
    .option(
      '--patience <time>',
      'longest wait for anything that guest or QEMU have to do, at most 10min (default: 5min)',
      value('--patience', (text) => Math.round(parseDuration(text, { min: 1e9, max: 6e11 }) / 1e6)),
    )
    .option('--pcap <file>', 'capture every frame on the network, as pcapng')
    .option('--trace <file>', 'write what happened when, for ui.perfetto.dev')
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(() => run(command.optsWithGlobals<Flags>()));
}

/** What the library takes, of the options of a command line. */
export function optionsOf({ memory, settle, patience, trace, json: _, ...flags }: Flags): QemuMoveOptions {
  const all = {
    ...flags,
    memoryMib: memory === undefined ? undefined : memory / MIB,
    settleMs: settle,
    patienceMs: patience,
    traceTo: trace,
  };
  return Object.fromEntries(
    Object.entries(all).filter(([, given]) => given !== undefined && given !== AUTO),
  ) as QemuMoveOptions;
}

async function run(flags: Flags): Promise<void> {
  // Ended in good order, so that nothing is left of it: the processes end with this one.
  for (const [signal, status] of [
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const) {
    process.once(signal, () => process.exit(status));
  }
  const display = flags.json
    ? silentDisplay
    : process.stdout.isTTY
      ? liveDisplay(process.stdout)
      : plainDisplay((text) => process.stdout.write(text));
  const result = await moveLinux(optionsOf(flags), display);
  process.stdout.write(
    flags.json ? `${JSON.stringify(result, null, 2)}\n` : resultText(shownOf(result), process.stdout.columns),
  );
  process.exitCode = exitStatusOf(result);
}

const shownOf = (result: QemuMoveResult): ShownMove => ({
  ...result,
  verified: 'VERIFIED: QEMU moved the guest, and all that was checked holds; its memory was not compared',
  foot: `${result.emulator}; Linux took commands ${(result.bootMs / 1000).toFixed(0)} s after the start`,
});
