/**
 * The network between hosts, in this process: an Ethernet switch whose ports are sockets that speak QEMU's
 * `-netdev stream`, and stations of its own that make and measure traffic.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cancel } from '../../base/clock.js';
import { seededRandom } from '../../base/random.js';
import { seconds } from '../../base/units.js';
import { formatIpv4, formatMac } from '../../devices/ethernet/addresses.js';
import type { Station } from '../../devices/ethernet/datagram.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import type { LinkOptions } from '../../devices/ethernet/link.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';
import { EthernetSwitch, PORTS_MAX, type SwitchPort } from '../../devices/ethernet/switch.js';
import { formatSocketAddress, type SocketAddress } from '../../vmm/sockets/address.js';
import { listen, unlinkSocket } from '../../vmm/sockets/listening.js';
import { realTime } from '../../vmm/threads/real-time.js';
import { BadValue } from '../options/quantities.js';
import type { FlowSpec } from './options.js';
import { PcapFile } from './pcap-file.js';
import type { FabricReport, MeasuredFlow, PhaseReport, PortReport } from './report.js';
import { StallWatch } from './stalls.js';
import { StreamPort } from './stream-port.js';

export interface FabricOptions {
  /**
   * Where others plug in; each connection is a port of its own. `private`: a UNIX socket in a new directory of the
   * user's own, which goes when the fabric does; `addresses` tells where.
   */
  readonly listen: readonly (SocketAddress | 'private')[];
  /** Each socket's cable, in both directions. */
  readonly link?: LinkOptions;
  readonly peers?: readonly Station[];
  /** Flows of the peers. */
  readonly flows?: readonly FlowSpec[];
  /** Captures every frame that enters the switch. */
  readonly pcap?: string;
  /** Seed of the losses. */
  readonly seed?: number;
  /** Told in words when something is plugged in or goes away. */
  readonly onNotice?: (text: string) => void;
}

/** Ports that are gone are remembered up to this number, the latest. */
const GONE_MAX = 64;
const CAPTURE_FLUSH = seconds(1);

export class Fabric {
  readonly #options: FabricOptions;
  readonly #network: EthernetSwitch;
  readonly #servers: { readonly server: Server; readonly address: SocketAddress }[] = [];
  readonly #folders: string[] = [];
  readonly #streams = new Set<StreamPort>();
  readonly #gone: PortReport[] = [];
  readonly #peers: TrafficPeer[] = [];
  readonly #peerPorts: SwitchPort[] = [];
  readonly #capture: PcapFile | undefined;
  readonly #captured: number[] = [];
  readonly #stalls = new StallWatch(() => realTime.now());
  #phaseStart = realTime.now();
  #flushTimer: Cancel | undefined;
  #connections = 0;
  #refused = 0;
  #closed: Promise<FabricReport> | undefined;

  private constructor(options: FabricOptions) {
    this.#options = options;
    const capture = options.pcap === undefined ? undefined : new PcapFile(options.pcap, realTime);
    this.#capture = capture;
    this.#network = new EthernetSwitch({
      scheduler: realTime,
      random: seededRandom(options.seed ?? 1),
      ...(capture === undefined
        ? {}
        : {
            tap: (port: SwitchPort, bytes: Uint8Array, at: number, length: number) =>
              capture.packet(this.#captured[port.index]!, bytes, at, length),
          }),
    });
    if (capture !== undefined) this.#flushLater(capture);
  }

  /** Opens everything; see `startFabric`. */
  static async start(options: FabricOptions): Promise<Fabric> {
    const fabric = new Fabric(options);
    try {
      for (const station of options.peers ?? []) fabric.#addPeer(station);
      for (const address of options.listen) await fabric.#listen(address);
      if (fabric.#peers.length > 0) fabric.#stalls.start();
      for (const flow of options.flows ?? []) fabric.startFlow(flow);
    } catch (error) {
      await fabric.close();
      throw error;
    }
    return fabric;
  }

  /** Addresses in force, in the order asked for: with the real port where port 0 was given. */
  get addresses(): readonly SocketAddress[] {
    return this.#servers.map(({ address }) => address);
  }

  /** The fabric's own stations, in the order given. */
  get peers(): readonly TrafficPeer[] {
    return this.#peers;
  }

  /** Ports in use by sockets. */
  get portsInUse(): number {
    return this.#streams.size;
  }

  report(): FabricReport {
    const live = [...this.#streams].map((stream) => portReport(stream.port, stream));
    return {
      listening: this.addresses.map(formatSocketAddress),
      ports: [...this.#peerPorts.map((port) => portReport(port)), ...live, ...this.#gone],
      connectionsRefused: this.#refused,
      longestStallNs: this.#stalls.longestNs,
      stations: this.#network.stations,
      ...(this.#network.lastMove === undefined ? {} : { stationMovedAtNs: this.#network.lastMove }),
      ...(this.#network.lastNew === undefined ? {} : { stationNewAtNs: this.#network.lastNew }),
      peers: this.#peers.map((peer) => ({
        ip: formatIpv4(peer.station.ip),
        mac: formatMac(peer.station.mac),
        ...peer.statistics,
        flows: peer.report().map((flow) => this.#withStalls(flow)),
      })),
      capture: this.#capture?.report ?? null,
    };
  }

  /** Starts a flow of one of the peers. Throws BadValue if there is no such peer, or no room for another flow. */
  startFlow({ fromIp, ...flow }: FlowSpec): void {
    const peer =
      fromIp === undefined ? this.#peers[0] : this.#peers.find(({ station }) => station.ip === fromIp);
    if (peer === undefined) {
      throw new BadValue(
        fromIp === undefined
          ? 'there is no peer to come from'
          : `no peer has the address ${formatIpv4(fromIp)}`,
      );
    }
    if (!peer.hasRoom) throw new BadValue('no more flows from this peer');
    peer.startFlow(flow);
  }

  /** Ends the flows that there are; what comes in is still measured. */
  stopFlows(): void {
    for (const peer of this.#peers) peer.stopFlows();
  }

  /**
   * What was measured since the last call, or since the start; the next phase begins here, and totals go on. `arrivals`:
   * also when each flow's datagrams came.
   */
  nextPhase({ arrivals = false } = {}): PhaseReport {
    const now = realTime.now();
    const startNs = this.#phaseStart;
    const durationNs = now - startNs;
    this.#phaseStart = now;
    const flows = this.#peers.flatMap((peer) =>
      peer
        .nextPhase(arrivals ? startNs : undefined)
        .map((flow) => ({ peer: formatIpv4(peer.station.ip), ...this.#withStalls(flow) })),
    );
    return { startNs, durationNs, longestStallNs: this.#stalls.nextPhase(), flows };
  }

  /** Ends flows, unplugs everything, finishes the capture. Resolves with the last report; a second call with the same. */
  close(): Promise<FabricReport> {
    this.#closed ??= this.#close();
    return this.#closed;
  }

  async #close(): Promise<FabricReport> {
    this.stopFlows();
    this.#stalls.stop();
    this.#flushTimer?.();
    this.#capture?.close();
    const report = this.report();
    const closing = this.#servers.map(
      ({ server, address }) =>
        new Promise<void>((resolve) => {
          server.close(() => {
            unlinkSocket(address);
            resolve();
          });
        }),
    );
    for (const stream of this.#streams) stream.close();
    await Promise.all(closing);
    for (const folder of this.#folders) rmSync(folder, { recursive: true, force: true });
    return report;
  }

  async #listen(wanted: SocketAddress | 'private'): Promise<void> {
    const server = createServer((socket) => this.#accept(socket));
    const address = wanted === 'private' ? this.#privateAddress() : wanted;
    const listening = await listen(server, address);
    this.#servers.push({ server, address: listening.address });
  }

  #privateAddress(): SocketAddress {
    const folder = mkdtempSync(join(tmpdir(), 'ferry-'));
    this.#folders.push(folder);
    return { kind: 'unix', path: join(folder, 'net.sock') };
  }

  #accept(socket: Socket): void {
    const name = `port${this.#connections++}`;
    const options = { ...this.#options.link, name };
    const stream = StreamPort.attach(socket, this.#network, options, (gone) => this.#unplugged(gone));
    if (stream === undefined) {
      this.#refused++;
      socket.on('error', () => {});
      socket.destroy();
      return;
    }
    this.#streams.add(stream);
    this.#plugged(stream.port);
    this.#options.onNotice?.(`${name}: plugged in`);
  }

  #unplugged(stream: StreamPort): void {
    this.#streams.delete(stream);
    this.#network.removePort(stream.port);
    this.#gone.push(portReport(stream.port, stream));
    if (this.#gone.length > GONE_MAX) this.#gone.shift();
    this.#options.onNotice?.(`${stream.port.name}: ${stream.end ?? 'gone'}`);
  }

  #addPeer(station: Station): void {
    const peer: TrafficPeer = new TrafficPeer({
      station,
      scheduler: realTime,
      send: (bytes, at, length) => port?.receive(bytes, at, length),
    });
    const port = this.#network.addPort({
      name: `peer ${formatIpv4(station.ip)}`,
      deliver: (bytes, at, length) => {
        peer.receive(bytes, at, length);
        return true;
      },
    });
    if (port === undefined) throw new BadValue(`a switch has ${PORTS_MAX} ports, and so no more peers`);
    this.#peers.push(peer);
    this.#peerPorts.push(port);
    this.#plugged(port);
  }

  #withStalls(flow: FlowReport): MeasuredFlow {
    const { longestGapAtNs = 0, longestGapNs = 0 } = flow.arrived ?? {};
    return { ...flow, gapStalledNs: this.#stalls.within(longestGapAtNs, longestGapNs) };
  }

  #plugged(port: SwitchPort): void {
    if (this.#capture !== undefined) this.#captured[port.index] = this.#capture.addInterface(port.name);
  }

  /** What was captured can be looked at while the fabric runs. */
  #flushLater(capture: PcapFile): void {
    this.#flushTimer = realTime.after(CAPTURE_FLUSH, () => {
      capture.flush();
      this.#flushLater(capture);
    });
  }
}

function portReport(port: SwitchPort, stream?: StreamPort): PortReport {
  return { name: port.name, end: stream?.end ?? null, giants: stream?.giants ?? 0, ...port.statistics };
}

/**
 * Starts a fabric in this process. Throws `vmm/listen-failed` for an address that can't be had, `lab/file-failed` for a
 * capture that can't be written, BadValue for a flow that can't be.
 */
export const startFabric = (options: FabricOptions): Promise<Fabric> => Fabric.start(options);
