/**
 * `ferry migrate`: boots a guest in one VMM process, moves it to another while it works, and says whether it arrived
 * whole. `npm start` is this with its defaults.
 */

import { type Command, Option } from 'commander';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP, VCPUS_MAX } from '../../base/abi/platform.js';
import { isFerryError } from '../../base/errors.js';
import { PAGE_BYTES } from '../../base/units.js';
import { FLOW_PAYLOAD_BYTES_MAX, FLOW_PAYLOAD_BYTES_MIN } from '../../devices/ethernet/flow-payload.js';
import { CHANNELS_MAX } from '../../migration/parameters.js';
import { ASSIGNED_MAX, IOMMU_LEAVES } from '../../vmm/passthrough/records.js';
import { labErrors } from '../errors.js';
import { RATE_MAX } from '../fabric/options.js';
import { liveDisplay, plainDisplay, silentDisplay } from '../move/display.js';
import { migrate } from '../move/move.js';
import { exitStatusOf, resultText } from '../move/result-text.js';
import { FLOWS, type Flow, type MigrateOptions, WORKLOADS } from '../move/scenario.js';
import { approachHelp, parseApproach } from '../options/approaches.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { parseNic } from '../options/nic-kind.js';
import { optionValue } from '../options/option-value.js';
import {
  BadValue,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  parseWhole,
} from '../options/quantities.js';

const NAME = 'ferry migrate';

export interface Flags
  extends Pick<
    MigrateOptions,
    | 'guest'
    | 'vcpus'
    | 'workload'
    | 'dirtyRate'
    | 'nic'
    | 'iommuLeaves'
    | 'tracking'
    | 'stop'
    | 'start'
    | 'rate'
    | 'pcap'
    | 'channels'
    | 'maxBandwidth'
    | 'verify'
    | 'seed'
  > {
  readonly flow?: readonly Flow[];
  readonly size?: number;
  readonly memory?: number;
  readonly workingSet?: number;
  readonly downtimeLimit?: number;
  readonly settle?: number;
  readonly record?: string;
  readonly trace?: string;
  readonly json?: boolean;
}

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
  const ram = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
  command
    .option(
      '--memory <size>',
      `guest RAM, ${formatSize(ram.min)} to ${formatSize(ram.max)} (default: 256MiB)`,
      value('--memory', (text) => parseSize(text, ram)),
    )
    .option(
      '--vcpus <n>',
      `number of vCPUs, 1 to ${VCPUS_MAX} (default: 1)`,
      value('--vcpus', (text) => parseWhole(text, { min: 1, max: VCPUS_MAX })),
    )
    .addOption(
      new Option('--workload <name>', 'what the guest does meanwhile (default: ledger)').choices([
        ...WORKLOADS,
      ]),
    )
    .option(
      '--dirty-rate <rate>',
      'how fast stress and mixed dirty memory; 0B/s: as fast as they can (default: 50MiB/s)',
      value('--dirty-rate', (text) => parseRate(text)),
    )
    .option(
      '--working-set <size>',
      'how much memory the workload works on',
      value('--working-set', (text) => parseSize(text, { min: PAGE_BYTES, max: RAM_BYTES_MAX })),
    )
    .option(
      '--nic <kind>',
      `the guest's NIC: vf, a virtual function behind VT-d, on a network with a traffic peer; vf=N, up to ${ASSIGNED_MAX} of them; none; properties follow, as in vf,enable-migration=off: it does not speak VFIO migration (default: vf; with --guest: none)`,
      value('--nic', parseNic),
    )
    .addOption(
      new Option(
        '--iommu-leaves <size>',
        'how VT-d maps guest RAM, and so what one dirty bit stands for: small, 4 KiB; huge, as much as fits, up to 1 GiB; demote, huge until the migration splits them to 4 KiB (default: small)',
      ).choices([...IOMMU_LEAVES]),
    )
    .option('--tracking <how>', approachHelp('tracking'), value('--tracking', parseApproach('tracking')))
    .option('--stop <how>', approachHelp('stop'), value('--stop', parseApproach('stop')))
    .option('--start <how>', approachHelp('start'), value('--start', parseApproach('start')))
    .option(
      '--flow <names>',
      'traffic meanwhile: echo, from-guest, to-guest, several with commas, or none (default: echo; with udp-stream: both directions)',
      value('--flow', parseFlows),
    )
    .option(
      '--rate <n>',
      `datagrams a second of each flow, 1 to ${RATE_MAX} (default: 10000, divided among several devices)`,
      value('--rate', (text) => parseWhole(text, { min: 1, max: RATE_MAX })),
    )
    .option(
      '--size <bytes>',
      `payload of each datagram, ${FLOW_PAYLOAD_BYTES_MIN} to ${FLOW_PAYLOAD_BYTES_MAX} bytes (default: 64)`,
      value('--size', (text) =>
        parseWhole(text, { min: FLOW_PAYLOAD_BYTES_MIN, max: FLOW_PAYLOAD_BYTES_MAX }),
      ),
    )
    .option('--pcap <file>', 'capture every frame on the network, as pcapng')
    .option(
      '--channels <n>',
      'data channels (default: 2)',
      value('--channels', (text) => parseWhole(text, { min: 1, max: CHANNELS_MAX })),
    )
    .option(
      '--max-bandwidth <rate>',
      'limit over all channels before the switchover (default: none)',
      value('--max-bandwidth', (text) => parseRate(text, { min: PAGE_BYTES })),
    )
    .option(
      '--downtime-limit <time>',
      'blackout to aim for (default: 3ms)',
      value('--downtime-limit', (text) => Math.round(parseDuration(text, { min: 1e6, max: 2e12 }) / 1e6)),
    )
    .addOption(
      new Option(
        '--verify <how>',
        'full: all of RAM, registers and devices as they are at the stop, before the guest is given away; after: the same, ' +
          'compared while it runs at the destination already; root: hashes of pages as sent and received; off (default: after)',
      ).choices(['full', 'after', 'root', 'off']),
    )
    .option(
      '--seed <n>',
      "seed of the guest's random numbers (default: random, and printed)",
      value('--seed', (text) => parseWhole(text, { max: 0xffff_ffff })),
    )
    .option(
      '--settle <time>',
      'how long the guest works before it is moved, and is watched afterwards (default: 1.5s)',
      value('--settle', (text) => Math.round(parseDuration(text, { min: 1e8, max: 3.6e12 }) / 1e6)),
    )
    .option('--guest <image>', 'move this guest instead of the one that comes with vf-ferry')
    .option('--record <directory>', 'keep the migration stream, for `ferry inspect`')
    .option(
      '--trace <file>',
      'write what happened when, on both sides and in the network, for ui.perfetto.dev',
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(async () => {
      const flags = command.optsWithGlobals<Flags>();
      const options = optionsOf(flags);
      const display = flags.json
        ? silentDisplay
        : process.stdout.isTTY
          ? liveDisplay(process.stdout)
          : plainDisplay((text) => process.stdout.write(text));
      const result = await migrate(options, display).catch((error: unknown) => {
        throw flags.json ? error : withoutLastWords(error);
      });
      process.stdout.write(
        flags.json ? `${JSON.stringify(result, null, 2)}\n` : resultText(result, process.stdout.columns),
      );
      process.exitCode = exitStatusOf(result);
    });
}

/** What a crashed guest said last stands above already, where its console is shown. */
function withoutLastWords(error: unknown): unknown {
  if (!isFerryError(error, 'lab/guest-ended')) return error;
  return labErrors.error('guest-ended', { desc: String(error.facts.desc), lastLines: '' }, error);
}

/** What `migrate` of the library takes, of the options of a command line. */
export function optionsOf(flags: Flags): MigrateOptions {
  const { memory, workingSet, downtimeLimit, settle, record, trace, flow, size, json: _, ...same } = flags;
  const all = {
    ...same,
    memoryBytes: memory,
    workingSetBytes: workingSet,
    downtimeLimitMs: downtimeLimit,
    flows: flow,
    payloadBytes: size,
    settleMs: settle,
    recordTo: record,
    traceTo: trace,
  };
  return Object.fromEntries(Object.entries(all).filter(([, given]) => given !== undefined)) as MigrateOptions;
}

/** `echo,to-guest`, or `none`. Throws BadValue. */
function parseFlows(text: string): readonly Flow[] {
  if (text === 'none') return [];
  const names = text.split(',');
  for (const [i, name] of names.entries()) {
    if (!(FLOWS as readonly string[]).includes(name)) {
      throw new BadValue(`'${name.slice(0, 40)}' is no flow; known are ${FLOWS.join(', ')}, and none`);
    }
    if (names.indexOf(name) !== i) throw new BadValue(`${name} is given twice`);
  }
  return names as Flow[];
}
