/**
 * `ferry vmm`: one VMM, in this very process, driven over its monitor.
 */

import { type Command, Option } from 'commander';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP, VCPUS_MAX } from '../../base/abi/platform.js';
import { parseMonitorAddress } from '../../vmm/monitor/monitor-address.js';
import { ASSIGNED_MAX, DEVICE_KINDS, IOMMU_LEAVES, IOMMU_STAGES } from '../../vmm/passthrough/records.js';
import { loadVmm } from '../../vmm/process/load.js';
import type { NicKind } from '../../vmm/process/nic-options.js';
import { conflictOf, type VmmOptions } from '../../vmm/process/options.js';
import { parseSocketAddress } from '../../vmm/sockets/address.js';
import { labErrors } from '../errors.js';
import { approachHelp, parseApproach } from '../options/approaches.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { parseNic, parseStations } from '../options/nic-kind.js';
import { optionValue, optionValues } from '../options/option-value.js';
import { BadValue, formatSize, parseSize, parseWhole } from '../options/quantities.js';

const NAME = 'ferry vmm';

interface Flags {
  readonly guest?: string;
  readonly memory?: number;
  readonly prealloc?: boolean;
  readonly vcpus?: number;
  readonly append?: string;
  readonly monitor?: readonly string[];
  readonly agent?: string;
  readonly incoming?: string;
  readonly name?: string;
  readonly seed?: number;
  readonly console: string;
  readonly paused?: boolean;
  readonly tlsCreds?: string;
  readonly insecure?: boolean;
  readonly recordTo?: string;
  readonly ownerFile?: string;
  readonly nic?: NicKind;
  readonly device?: string;
  readonly mac?: string;
  readonly netdev?: string;
  readonly iommuLeaves?: string;
  readonly iommuStage?: string;
  readonly tracking?: string;
  readonly stop?: string;
  readonly start?: string;
  readonly pciDump?: string;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  A guest here, and a place for it to go to, in two terminals:
    ferry vmm --guest dist/guests/kernel.img --append workload=ledger --monitor unix:a.sock
    ferry vmm --incoming tcp:127.0.0.1:4444 --monitor unix:b.sock

  In a third, with any QMP client (socat, nc -U), move it:
    socat - UNIX-CONNECT:a.sock
    {"execute": "qmp_capabilities"}
    {"execute": "migrate", "arguments": {"uri": "tcp:127.0.0.1:4444"}}
    {"execute": "query-migrate"}

  And back again: at a.sock
    {"execute": "migrate-incoming", "arguments": {"uri": "tcp:127.0.0.1:4445"}}
  then at b.sock
    {"execute": "migrate", "arguments": {"uri": "tcp:127.0.0.1:4445"}}

  With a network: start this first, and give both VMMs --nic vf --netdev unix:net.sock
    ferry fabric --listen unix:net.sock --peer ip=10.0.0.1 --flow to=10.0.0.2,rate=1000

With --json, the console's lines are {"console":"..."} on standard output, and what happens {"notice":"..."} on standard
error, an error last.

A monitor asks nobody who he is: whoever reaches it controls the guest. A UNIX socket is open to its owner alone.

${exitStatuses(
  'after `quit`',
  ['refused', 'failed', 'environment', 'guest'],
  [
    [130, 'ended by SIGINT, in good order'],
    [143, 'ended by SIGTERM, in good order'],
  ],
)}`;

export function define(command: Command): void {
  const size = { min: RAM_BYTES_MIN, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP };
  command
    .option('--guest <image>', 'boot this image (made by `ferry guest build`)')
    .option(
      '--incoming <address>',
      'wait for a guest at tcp:HOST:PORT or unix:PATH; `defer`: a monitor says where',
      optionValue(NAME, '--incoming', (text) => {
        if (text !== 'defer') parseSocketAddress(text);
        return text;
      }),
    )
    .option(
      '--memory <size>',
      `guest RAM, ${formatSize(size.min)} to ${formatSize(size.max)} (default: 256MiB, or what the guest brings)`,
      optionValue(NAME, '--memory', (text) => parseSize(text, size)),
    )
    .option(
      '--prealloc',
      'touch all of guest RAM before the guest starts or may come, so that no page is missing when it is first written; takes that much memory of the host at once',
    )
    .option(
      '--vcpus <n>',
      `number of vCPUs, 1 to ${VCPUS_MAX} (default: 1, or what the guest brings)`,
      optionValue(NAME, '--vcpus', (text) => parseWhole(text, { min: 1, max: VCPUS_MAX })),
    )
    .option('--append <text>', "the guest's kernel command line")
    .option(
      '--monitor <address>',
      'serve a QMP monitor at unix:PATH or tcp:HOST:PORT; `,wait=on` starts the guest at the first client; repeatable',
      optionValues(NAME, '--monitor', (text) => {
        parseMonitorAddress(text);
        return text;
      }),
    )
    .option(
      '--agent <address>',
      "let a client of QEMU's guest agent connect to the guest's, at unix:PATH or tcp:HOST:PORT; one at a time",
      optionValue(NAME, '--agent', (text) => {
        parseSocketAddress(text);
        return text;
      }),
    )
    .option(
      '--console <where>',
      'guest console: stdio, none, file:PATH',
      optionValue(NAME, '--console', parseConsole),
      'stdio',
    )
    .option(
      '--nic <kind>',
      `the guest's NIC: vf, a virtual function behind VT-d; vf=N, up to ${ASSIGNED_MAX} of them; virtio, a device of the VMM's own; none; properties of a function follow, as in vf,enable-migration=off: it does not speak VFIO migration; vf,failover=on: with a virtio-net standby beside it (default: none)`,
      optionValue(NAME, '--nic', parseNic),
    )
    .addOption(
      new Option(
        '--device <kind>',
        'give the guest another device behind VT-d as well: edu, a DMA engine as QEMU has it',
      ).choices([...DEVICE_KINDS]),
    )
    .option(
      '--mac <addresses>',
      'station address of the virtual function, or several with commas; each further function has the one after ' +
        '(default: 52:54:00:12:34:56)',
      optionValue(NAME, '--mac', parseStations),
    )
    .option(
      '--netdev <address>',
      "plug the NIC's cable in at tcp:HOST:PORT or unix:PATH: a `ferry fabric`, or what else speaks QEMU's -netdev stream",
      optionValue(NAME, '--netdev', (text) => {
        parseSocketAddress(text);
        return text;
      }),
    )
    .addOption(
      new Option(
        '--iommu-leaves <size>',
        'how VT-d maps guest RAM, and so what one dirty bit stands for: small, 4 KiB; huge, as much as fits, up to 1 GiB; demote, huge until a migration splits them to 4 KiB (default: small)',
      ).choices([...IOMMU_LEAVES]),
    )
    .addOption(
      new Option(
        '--iommu-stage <stage>',
        "of which of VT-d's tables the dirty bits are read: second (bit 9), first (bit 6) (default: second)",
      ).choices([...IOMMU_STAGES]),
    )
    .option(
      '--tracking <how>',
      approachHelp('tracking'),
      optionValue(NAME, '--tracking', parseApproach('tracking')),
    )
    .option('--stop <how>', approachHelp('stop'), optionValue(NAME, '--stop', parseApproach('stop')))
    .option('--start <how>', approachHelp('start'), optionValue(NAME, '--start', parseApproach('start')))
    .option(
      '--pci-dump <file>',
      'write the configuration space of all PCI functions at the end, for `lspci -F`',
    )
    .option('-S, --paused', "don't start the guest; `cont` on a monitor does")
    .option(
      '--tls-creds <directory>',
      "move guests under TLS alone, with the certificates in this directory, laid out as QEMU's are; see docs/tls.md",
    )
    .option(
      '--insecure',
      'move guests from and to other hosts also without TLS: whoever is between reads and changes them',
    )
    .option(
      '--record-to <folder>',
      'keep a copy of the stream when the guest is moved away, for `ferry inspect`',
    )
    .option(
      '--owner-file <file>',
      'keep in a file who has the guest; a VMM that is started again with it starts no second copy',
    )
    .option('--name <name>', 'name of the guest, for people')
    .option(
      '--seed <n>',
      "seed of the guest's random numbers",
      optionValue(NAME, '--seed', (text) => parseWhole(text, { max: 0xffff_ffff })),
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(async () => {
      const { memory, monitor, ...flags } = command.optsWithGlobals<Flags>();
      const options: VmmOptions = {
        ...flags,
        ...(memory === undefined ? {} : { memoryBytes: memory }),
        ...(monitor === undefined ? {} : { monitors: monitor }),
      };
      const conflict = conflictOf(options);
      if (conflict !== undefined) throw labErrors.error('usage', { why: conflict, command: NAME });
      process.exitCode = await loadVmm().runVmm(options, { notices: true });
    });
}

function parseConsole(text: string): string {
  if (text !== 'stdio' && text !== 'none' && !/^file:./.test(text)) {
    throw new BadValue(`'${text.slice(0, 40)}' is no console; write stdio, none or file:PATH`);
  }
  return text;
}
