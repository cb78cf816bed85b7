/**
 * `ferry migrate`: boots a guest in one VMM process, moves it to another while it works, and says whether it arrived
 * whole. `npm start` is this with its defaults.
 */

import type { Command } from 'commander';
import { isFerryError } from '../../base/errors.js';
import { labErrors } from '../errors.js';
import { type MoveFlags, moveOptions, optionsOf } from '../move/move-options.js';
import { approachHelp, parseApproach } from '../options/approaches.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';

const NAME = 'ferry migrate';

const EXAMPLES = `
Examples:
  ferry migrate                                        the defaults: a 256 MiB guest that checks itself, with a
                                                       virtual function and 10,000 echoes a second
  ferry migrate --flow from-guest,to-guest --size 1472 --rate 20000 --pcap move.pcapng
  ferry migrate --tracking pinned --workload mixed     another way to know what the device wrote
  ferry migrate --tracking module:docs/examples/scan-late.mjs
                                                       one of your own: docs/own-approaches.md
  ferry migrate --nic vf=4                             four devices, each with its own traffic
  ferry migrate --nic none                             no device, no network
  ferry migrate --workload stress --dirty-rate 200MiB/s --max-bandwidth 100MiB/s
                                                       a guest that dirties faster than the link: watch it throttled
  ferry migrate --memory 2GiB --vcpus 2 --workload mixed --channels 4
  ferry migrate --verify root --downtime-limit 5ms --json | jq .record.blackout
  ferry migrate --record recording && ferry inspect recording
  ferry migrate --trace move.json                      then open move.json in ui.perfetto.dev

${exitStatuses('the guest moved and everything was verified', [
  'refused',
  'failed',
  'unknown-owner',
  'not-verified',
  'environment',
  'guest',
])}`;

export function define(command: Command): void {
  const value = <T>(flag: string, parse: (text: string) => T): ((text: string) => T) =>
    optionValue(NAME, flag, parse);
  moveOptions(command, NAME, { workload: 'ledger', settle: '1s' })
    .option('--tracking <how>', approachHelp('tracking'), value('--tracking', parseApproach('tracking')))
    .option('--stop <how>', approachHelp('stop'), value('--stop', parseApproach('stop')))
    .option('--start <how>', approachHelp('start'), value('--start', parseApproach('start')))
    .option('--pcap <file>', 'capture every frame on the network, as pcapng')
    .option('--guest <image>', 'move this guest instead of the one that comes with vf-ferry')
    .option(
      '--tls-creds <directory>',
      "move under TLS, with the certificates in this directory, laid out as QEMU's are; see docs/tls.md",
    )
    .option(
      '--tls-hostname <name>',
      "what the destination's certificate is for, if not for 127.0.0.1, where it listens",
    )
    .option('--record <directory>', 'keep the migration stream, for `ferry inspect`')
    .option(
      '--trace <file>',
      'write what happened when, on both sides and in the network, for ui.perfetto.dev',
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(async () => {
      const flags = command.optsWithGlobals<MoveFlags>();
      const options = optionsOf(flags);
      const { migrate, display: displays, text } = await loadMove();
      const { liveDisplay, plainDisplay, silentDisplay } = displays;
      const display = flags.json
        ? silentDisplay
        : process.stdout.isTTY
          ? liveDisplay(process.stdout)
          : plainDisplay((text) => process.stdout.write(text));
      const result = await migrate(options, display).catch((error: unknown) => {
        throw flags.json ? error : withoutLastWords(error);
      });
      process.stdout.write(
        flags.json
          ? `${JSON.stringify(result, null, 2)}\n`
          : text.resultText(text.shown(result), process.stdout.columns),
      );
      process.exitCode = text.exitStatusOf(result);
    });
}

/** Most of what there is to load, which a help text does without. */
async function loadMove() {
  const [{ migrate }, display, text] = await Promise.all([
    import('../move/move.js'),
    import('../move/display.js'),
    import('../move/result-text.js'),
  ]);
  return { migrate, display, text };
}

/** What a crashed guest said last stands above already, where its console is shown. */
function withoutLastWords(error: unknown): unknown {
  if (!isFerryError(error, 'lab/guest-ended')) return error;
  return labErrors.error('guest-ended', { desc: String(error.facts.desc), lastLines: '' }, error);
}
