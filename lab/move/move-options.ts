/** Options of a command that moves guests: what the guest is and does, its network, and how it is moved. */
import { type Command, Option } from 'commander';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP, VCPUS_MAX } from '../../base/abi/platform.js';
import { PAGE_BYTES } from '../../base/units.js';
import { FLOW_PAYLOAD_BYTES_MAX, FLOW_PAYLOAD_BYTES_MIN } from '../../devices/ethernet/flow-payload.js';
import { CHANNELS_MAX } from '../../migration/parameters.js';
import { ASSIGNED_MAX, DEVICE_KINDS, IOMMU_LEAVES, IOMMU_STAGES } from '../../vmm/passthrough/records.js';
import { RATE_MAX } from '../fabric/options.js';
import { parseNic, parseStations } from '../options/nic-kind.js';
import { optionValue } from '../options/option-value.js';
import {
  BadValue,
  formatSize,
  parseDuration,
  parseRate,
  parseSize,
  parseWhole,
} from '../options/quantities.js';
import { BEHAVIOUR_TEXTS, GUEST_BEHAVIOURS } from './guest-behaviour.js';
import { FLOWS, type Flow, type MigrateOptions, WORKLOADS } from './scenario.js';

/** Options of `ferry migrate`, and of commands that move guests as it does, as the parser has them. */
export interface MoveFlags
  extends Pick<
    MigrateOptions,
    | 'guest'
    | 'prealloc'
    | 'vcpus'
    | 'workload'
    | 'dirtyRate'
    | 'guestBehaviour'
    | 'nic'
    | 'device'
    | 'destinationNic'
    | 'destinationMac'
    | 'iommuLeaves'
    | 'iommuStage'
    | 'tracking'
    | 'stop'
    | 'start'
    | 'rate'
    | 'pcap'
    | 'channels'
    | 'maxBandwidth'
    | 'verify'
    | 'seed'
    | 'tlsCreds'
    | 'tlsHostname'
  > {
  readonly flow?: readonly Flow[];
  readonly size?: number;
  readonly memory?: number;
  readonly workingSet?: number;
  readonly downtimeLimit?: number;
  readonly requestTimeout?: number;
  readonly deviceStartTimeout?: number;
  readonly settle?: number;
  readonly record?: string;
  readonly trace?: string;
  readonly json?: boolean;
}

/** Adds them to the command that goes by `name`. */
export function moveOptions(
  command: Command,
  name: string,
  defaults: { readonly workload: string; readonly settle: string },
): Command {
  const value = <T>(flag: string, parse: (text: string) => T): ((text: string) => T) =>
    optionValue(name, flag, parse);
  const ram = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
  return command
    .option(
      '--memory <size>',
      `guest RAM, ${formatSize(ram.min)} to ${formatSize(ram.max)} (default: 256MiB)`,
      value('--memory', (text) => parseSize(text, ram)),
    )
    .option(
      '--prealloc',
      'touch all of guest RAM on both sides beforehand: the first round is faster (default: pages are taken as they are written)',
    )
    .option(
      '--vcpus <n>',
      `number of vCPUs, 1 to ${VCPUS_MAX} (default: 1)`,
      value('--vcpus', (text) => parseWhole(text, { min: 1, max: VCPUS_MAX })),
    )
    .addOption(
      new Option(
        '--workload <name>',
        `what the guest does meanwhile (default: ${defaults.workload})`,
      ).choices([...WORKLOADS]),
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
    .addOption(
      new Option(
        '--guest-behaviour <name>',
        `a guest that does not help: ${GUEST_BEHAVIOURS.map((one) => `${one}: ${BEHAVIOUR_TEXTS[one]}`).join('; ')} (default: it helps)`,
      ).choices([...GUEST_BEHAVIOURS]),
    )
    .option(
      '--nic <kind>',
      `the guest's NIC: vf, a virtual function behind VT-d, on a network with a traffic peer; vf=N, up to ${ASSIGNED_MAX} of them; virtio, a device of the VMM's own; none; properties of a function follow, as in vf,enable-migration=off: it does not speak VFIO migration; vf,failover=on: with a virtio-net standby beside it (default: vf; with --guest: none)`,
      value('--nic', parseNic),
    )
    .option(
      '--destination-nic <kind>',
      "the NIC at the destination, where it is another: as --nic, say vf,revision=2, or vf,link=down (default: the source's)",
      value('--destination-nic', parseNic),
    )
    .option(
      '--destination-mac <addresses>',
      "station address of the function at the destination, or several with commas (default: the source's)",
      value('--destination-mac', parseStations),
    )
    .addOption(
      new Option(
        '--device <kind>',
        'another device behind VT-d, which the guest works with meanwhile: edu, a DMA engine (default: none)',
      ).choices([...DEVICE_KINDS]),
    )
    .addOption(
      new Option(
        '--iommu-leaves <size>',
        'how VT-d maps guest RAM, and so what one dirty bit stands for: small, 4 KiB; huge, as much as fits, up to 1 GiB; demote, huge until the migration splits them to 4 KiB (default: small)',
      ).choices([...IOMMU_LEAVES]),
    )
    .addOption(
      new Option(
        '--iommu-stage <stage>',
        "of which of VT-d's tables the dirty bits are read: second (bit 9), first (bit 6) (default: second)",
      ).choices([...IOMMU_STAGES]),
    )
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
    .option(
      '--request-timeout <time>',
      'how long a guest that is asked to stop its device may take (default: 10s)',
      value('--request-timeout', parsePatience),
    )
    .option(
      '--device-start-timeout <time>',
      'how long a device may take to work that is started after the guest (default: 30s)',
      value('--device-start-timeout', parsePatience),
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
      `how long the guest works before it is moved, and is watched afterwards (default: ${defaults.settle})`,
      value('--settle', (text) => Math.round(parseDuration(text, { min: 1e8, max: 3.6e12 }) / 1e6)),
    );
}

/** What `migrate` of the library takes, of the options of a command line. */
export function optionsOf(flags: MoveFlags): MigrateOptions {
  const { memory, workingSet, downtimeLimit, settle, record, trace, flow, size, json: _, ...others } = flags;
  const { requestTimeout, deviceStartTimeout, ...same } = others;
  const all = {
    ...same,
    memoryBytes: memory,
    workingSetBytes: workingSet,
    downtimeLimitMs: downtimeLimit,
    requestTimeoutMs: requestTimeout,
    deviceStartTimeoutMs: deviceStartTimeout,
    flows: flow,
    payloadBytes: size,
    settleMs: settle,
    recordTo: record,
    traceTo: trace,
  };
  return Object.fromEntries(Object.entries(all).filter(([, given]) => given !== undefined)) as MigrateOptions;
}

/** Milliseconds, as much as the parameters take. Throws BadValue. */
const parsePatience = (text: string): number =>
  Math.round(parseDuration(text, { min: 5e7, max: 3.6e12 }) / 1e6);

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
