/**
 * `ferry fabric`: the Ethernet between hosts, with stations that make and measure traffic, in this very process.
 */
import type { Command } from 'commander';
import type { Station } from '../../devices/ethernet/datagram.js';
import type { LinkOptions } from '../../devices/ethernet/link.js';
import { formatSocketAddress, parseSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { labErrors } from '../errors.js';
import { serveFabricMonitor } from '../fabric/monitor.js';
import { type FlowSpec, parseFlow, parsePeer, parseShare } from '../fabric/options.js';
import { ending } from '../monitor/ending.js';
import { type ProcessMonitorAddress, parseProcessMonitor } from '../monitor/process-monitor.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue, optionValues } from '../options/option-value.js';
import { BadValue, parseDuration, parseRate, parseSize, parseWhole } from '../options/quantities.js';

const NAME = 'ferry fabric';

interface Flags {
  readonly listen?: readonly (SocketAddress | 'private')[];
  readonly peer?: readonly Station[];
  readonly flow?: readonly FlowSpec[];
  readonly delay?: LinkOptions['delay'];
  readonly loss?: number;
  readonly bandwidth?: number;
  readonly queue?: number;
  readonly pcap?: string;
  readonly monitor?: readonly ProcessMonitorAddress[];
  readonly seed?: number;
  readonly for?: number;
  readonly json?: boolean;
}

const EXAMPLES = `
Examples:
  A network for two machines, with a station that has one of them echo 1000 datagrams a second:
    ferry fabric --listen unix:net.sock --peer ip=10.0.0.1 --flow to=10.0.0.2,rate=1000

  What joins it, besides vf-ferry's own VMMs: QEMU, with
    -netdev stream,id=n0,addr.type=unix,addr.path=net.sock -device virtio-net,netdev=n0

  A slow, lossy link, and a capture for Wireshark:
    ferry fabric --listen tcp:127.0.0.1:4700 --delay 10ms --loss 0.1% --bandwidth 1Gbit/s --pcap net.pcapng

  Ask it while it runs, with any QMP client (socat, nc -U); each next-phase tells what happened since the one before:
    ferry fabric --listen unix:net.sock --peer ip=10.0.0.1 --monitor unix:fabric.sock
    {"execute": "start-flow", "arguments": {"flow": "to=10.0.0.2,rate=10000"}}
    {"execute": "next-phase"}

SIGINT or SIGTERM ends it: the report goes to standard output.

${exitStatuses('after SIGINT, SIGTERM, `quit` or the time of --for', ['environment'])}`;

export function define(command: Command): void {
  command
    .option(
      '--listen <address>',
      'let others plug in at tcp:HOST:PORT, unix:PATH, or `private`: a socket in a new directory that goes with the fabric; each connection is a port of its own; repeatable',
      optionValues(NAME, '--listen', (text) => (text === 'private' ? text : parseSocketAddress(text))),
    )
    .option(
      '--peer <station>',
      'a station: ip=ADDRESS[,mac=ADDRESS]; answers ARP, ping and UDP echo; repeatable',
      optionValues(NAME, '--peer', parsePeer),
    )
    .option(
      '--flow <flow>',
      'UDP from a peer: to=ADDRESS[,port=7][,rate=1000][,size=64][,count=N][,kind=echo|out][,from=ADDRESS]; repeatable',
      optionValues(NAME, '--flow', parseFlow),
    )
    .option(
      '--delay <time>',
      "delay of each port's cable, each way",
      optionValue(NAME, '--delay', (text) => parseDuration(text, { max: 60e9 })),
    )
    .option(
      '--loss <share>',
      'frames that each cable loses, each way: 0.1%',
      optionValue(NAME, '--loss', parseShare),
    )
    .option(
      '--bandwidth <rate>',
      'of each cable, each way: 1Gbit/s',
      optionValue(NAME, '--bandwidth', (text) => parseRate(text, { min: 1000 })),
    )
    .option(
      '--queue <size>',
      'what may wait for a cable, with --bandwidth (default: 1MiB)',
      optionValue(NAME, '--queue', (text) => parseSize(text, { max: 32 * 1024 * 1024 })),
    )
    .option(
      '--monitor <address>',
      'answer QMP clients at unix:PATH or tcp:HOST:PORT: query-report, next-phase, start-flow, stop-flows, quit; repeatable',
      optionValues(NAME, '--monitor', parseProcessMonitor),
    )
    .option('--pcap <file>', 'capture every frame that enters the switch, as pcapng')
    .option(
      '--seed <n>',
      'seed of the losses (default: 1)',
      optionValue(NAME, '--seed', (text) => parseWhole(text, { max: 0xffff_ffff })),
    )
    .option(
      '--for <time>',
      'end by itself after this time',
      optionValue(NAME, '--for', (text) => parseDuration(text, { max: 24 * 3600e9 })),
    )
    .allowExcessArguments(false)
    .addHelpText('after', EXAMPLES)
    .action(() => run(command.optsWithGlobals<Flags>()));
}

async function run(flags: Flags): Promise<void> {
  const usage = (why: string): Error => labErrors.error('usage', { why, command: NAME });
  const { listen = [], peer: peers = [], flow: flows = [], monitor: monitors = [], json = false } = flags;
  if (listen.length === 0) throw usage('nobody could join: give at least one --listen');
  if (new Set(peers.map(({ ip }) => ip)).size < peers.length) throw usage('--peer: two have one IP address');
  if (flows.length > 0 && peers.length === 0) throw usage('--flow needs a --peer to come from');
  const { delay, loss, bandwidth, queue, pcap, seed } = flags;
  const { startFabric } = await import('../fabric/fabric.js');
  const { cutOf } = await import('../fabric/pcap-file.js');
  const { reportText } = await import('../fabric/report.js');
  // A reader of the notices who goes away must not take the network along.
  process.stderr.on('error', () => {});
  const notice = (text: string): void => {
    process.stderr.write(`${text}\n`);
  };
  const fabric = await startFabric({
    listen,
    peers,
    flows,
    link: {
      ...(delay === undefined ? {} : { delay }),
      ...(loss === undefined ? {} : { loss }),
      ...(bandwidth === undefined ? {} : { bandwidth }),
      ...(queue === undefined ? {} : { queueBytes: queue }),
    },
    ...(pcap === undefined ? {} : { pcap }),
    ...(seed === undefined ? {} : { seed }),
    ...(json ? {} : { onNotice: notice }),
  }).catch((error: unknown) => {
    throw error instanceof BadValue ? usage(error.message) : error;
  });
  // Whoever reads the notice may send the signal at once.
  const { end, quit } = ending(flags.for);
  const closeMonitors: (() => void)[] = [];
  try {
    for (const address of monitors) {
      closeMonitors.push(await serveFabricMonitor({ fabric, quit }, address));
      if (address.kind !== 'fd') notice(`monitor at ${formatSocketAddress(address)}`);
    }
    for (const address of fabric.addresses) notice(`listening at ${formatSocketAddress(address)}`);
    await end;
  } catch (error) {
    quit();
    await fabric.close();
    throw error;
  } finally {
    for (const close of closeMonitors) close();
  }
  const report = await fabric.close();
  process.stdout.write(
    `${json ? JSON.stringify(report, null, 2) : reportText(report, process.stdout.columns)}\n`,
  );
  const cut = report.capture === null ? undefined : cutOf(report.capture);
  if (cut !== undefined) throw cut;
}
