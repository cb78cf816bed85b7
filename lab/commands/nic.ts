/**
 * `ferry nic`: one virtual function of the 82599 as a device of other VMMs, over vfio-user.
 */
import type { Command } from 'commander';
import type { MacAddress } from '../../devices/nic82599/pf-driver/filters.js';
import { DEFAULT_MAC, stationsOf } from '../../vmm/process/nic-options.js';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import type { NicFigures } from '../../vmm/vfio-user/nic-process.js';
import { labErrors } from '../errors.js';
import { ending } from '../monitor/ending.js';
import { type ProcessMonitorAddress, parseProcessMonitor } from '../monitor/process-monitor.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue, optionValues } from '../options/option-value.js';
import { BadValue, parseWhole } from '../options/quantities.js';

const NAME = 'ferry nic';
/** Largest frame that a host may grant, FCS included: from the standard's to what the part can. */
const FRAME_BYTES = { min: 1518, max: 9728 };

interface Flags {
  readonly vfioUser?: SocketAddress & { readonly kind: 'unix' };
  readonly mac: string;
  readonly netdev?: SocketAddress;
  readonly frameMax?: number;
  readonly monitor?: readonly ProcessMonitorAddress[];
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  A network, and a virtual function on it for another VMM:
    ferry fabric --listen unix:net.sock --peer ip=10.0.0.1
    ferry nic --vfio-user unix:vf.sock --netdev unix:net.sock

  QEMU 11.1 or newer uses it with guest memory that it shares, and
    -device '{"driver":"vfio-user-pci","id":"vf0","socket":{"type":"unix","path":"vf.sock"}}'

  What its host does to it, from any QMP client:
    ferry nic --vfio-user unix:vf.sock --netdev unix:net.sock --monitor unix:nic.sock
    {"execute": "set_link", "arguments": {"name": "vf0", "up": false}}

One client is served at a time; the next one finds the device as the last one left it, and resets it. docs/vfio-user.md says what
clients there are and what they need. SIGINT or SIGTERM ends it: what it was used for goes to standard output.

${exitStatuses('after SIGINT or SIGTERM', ['environment'])}`;

export function define(command: Command): void {
  command
    .option(
      '--vfio-user <address>',
      'serve it at unix:PATH',
      optionValue(NAME, '--vfio-user', (text) => {
        const address = parseSocketAddress(text);
        if (address.kind === 'unix') return address;
        throw new BadValue('descriptors pass through UNIX sockets alone; write it like unix:vf.sock');
      }),
    )
    .option(
      '--mac <address>',
      `address of the function (default: ${DEFAULT_MAC})`,
      optionValue(NAME, '--mac', (text) => {
        stationOf(text);
        return text;
      }),
      DEFAULT_MAC,
    )
    .option(
      '--netdev <address>',
      'plug its cable in at the fabric at unix:PATH or tcp:HOST:PORT',
      optionValue(NAME, '--netdev', parseSocketAddress),
    )
    .option(
      '--frame-max <bytes>',
      'largest frame of the host with FCS, 1518 to 9728: above 1518 its driver grants jumbo frames (default: 1518)',
      optionValue(NAME, '--frame-max', (text) => parseWhole(text, FRAME_BYTES)),
    )
    .option(
      '--monitor <address>',
      'answer QMP clients at unix:PATH or tcp:HOST:PORT: query-nic, set_link, set-vf, reset-pf, quit and more; repeatable',
      optionValues(NAME, '--monitor', parseProcessMonitor),
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(() => run(command.optsWithGlobals<Flags>()));
}

/** Throws BadValue for what is no single station's address. */
function stationOf(text: string): MacAddress {
  const stations = stationsOf(text, 1);
  if (typeof stations === 'string') throw new BadValue(stations);
  return stations[0]!;
}

async function run({
  vfioUser: address,
  mac,
  netdev,
  frameMax,
  monitor: monitors = [],
  json = false,
}: Flags): Promise<void> {
  if (address === undefined) {
    throw labErrors.error('usage', { why: 'nobody could use it: give --vfio-user', command: NAME });
  }
  const { startNicProcess } = await import('../../vmm/vfio-user/nic-process.js');
  const { serveNicMonitor } = await import('../nic/monitor.js');
  process.stderr.on('error', () => {});
  const notice = (text: string): void => {
    if (!json) process.stderr.write(`${text}\n`);
  };
  const { end, quit } = ending();
  const nic = await startNicProcess({
    address,
    ...(netdev === undefined ? {} : { netdev }),
    policy: { mac: stationOf(mac) },
    ...(frameMax === undefined ? {} : { frameBytesMax: frameMax }),
    onNotice: notice,
  });
  let figures: NicFigures;
  const closeMonitors: (() => void)[] = [];
  try {
    for (const place of monitors) {
      closeMonitors.push(await serveNicMonitor({ nic, quit }, place));
      if (place.kind !== 'fd') notice(`monitor at ${formatSocketAddress(place)}`);
    }
    notice(`listening at ${formatSocketAddress(address)}`);
    await end;
  } finally {
    for (const close of closeMonitors) close();
    figures = nic.figures();
    nic.close();
  }
  process.stdout.write(
    json
      ? `${JSON.stringify(figures, null, 2)}\n`
      : `${figures.clients} clients, ${figures.interrupts} interrupts, ` +
          `${figures.framesRefused} frames refused by the cable, ${figures.dmaBlocked} requests blocked\n`,
  );
}
