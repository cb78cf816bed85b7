/**
 * A station on the network that answers ARP and ICMP echo, echoes UDP (port 7), and runs numbered, checksummed UDP
 * flows in both directions. What comes in may be anything: it is bounded, counted, and never an exception.
 */
import type { Cancel, Scheduler } from '../../base/clock.js';
import { invariant } from '../../base/errors.js';
import { type Instant, nanoseconds, seconds } from '../../base/units.js';
import { BROADCAST_MAC, isGroupMac, isHostIpv4, MAC_BYTES, sameMac } from './addresses.js';
import { sumBytes, sumIsValid, sumPseudoHeader } from './checksum.js';
import {
  ARP_FRAME_BYTES,
  buildArp,
  buildArpRequest,
  buildGratuitousArp,
  buildIcmp,
  buildUdp,
  finishIcmp,
  finishUdp,
  type Station,
} from './datagram.js';
import { type FlowOptions, type FlowReport, remoteName } from './flow.js';
import {
  FLOW_PAYLOAD_BYTES_MAX,
  FLOW_PAYLOAD_BYTES_MIN,
  flowHeader,
  payloadIsIntact,
} from './flow-payload.js';
import { type FlowMeasurement, FlowReceiver } from './flow-receiver.js';
import { FlowSender } from './flow-sender.js';
import {
  ETHER_HEADER_BYTES,
  ETHERTYPE_IPV4,
  FRAME_BYTES_MAX,
  FrameBuffer,
  ParsedFrame,
  PROTOCOL_UDP,
} from './frame.js';
import type { FrameSink } from './frame-sink.js';
import {
  ARP_HARDWARE_ETHERNET,
  ARP_REPLY,
  ARP_REQUEST,
  arpPacket,
  ETHERTYPE_ARP,
  etherHeader,
  ICMP_ECHO_REPLY,
  ICMP_ECHO_REQUEST,
  icmpEcho,
  ipv4Header,
  L4_AT,
  PROTOCOL_ICMP,
  UDP_PAYLOAD_AT,
  udpHeader,
} from './protocols.js';

/** RFC 862 */
export const PORT_ECHO = 7;
/** RFC 863: for flows that only go one way. */
export const PORT_DISCARD = 9;
/** Our own flow number n speaks from this port plus n. */
const FLOW_PORT_BASE = 40000;
const FLOWS_MAX = 64;
const NEIGHBOURS_MAX = 256;
const ARP_RETRY = seconds(1);

export interface PeerOptions {
  readonly station: Station;
  readonly scheduler: Scheduler;
  readonly send: FrameSink;
  /** Both ends read one clock, so that one-way latency means something. */
  readonly sharedClock?: boolean;
}

export interface PeerStatistics {
  readonly arpAnswered: number;
  readonly pingsAnswered: number;
  readonly udpEchoed: number;
  /** IP or ICMP checksums that were wrong, and UDP ones of no known flow. */
  readonly checksumErrors: number;
  /** For us, but nothing that we understand. */
  readonly ignored: number;
  /** Incoming flows beyond the 64 that are measured. */
  readonly flowsRefused: number;
}

interface OwnFlow {
  readonly options: FlowOptions;
  readonly sender: FlowSender;
  readonly receiver: FlowReceiver | undefined;
  /** Datagrams sent when the phase began. */
  sentBefore: number;
  /** It was stopped, and sends no more. */
  stopped: boolean;
}

interface IncomingFlow {
  readonly flow: number;
  readonly ip: number;
  readonly port: number;
  readonly receiver: FlowReceiver;
}

export class TrafficPeer {
  readonly station: Station;
  readonly #scheduler: Scheduler;
  readonly #send: FrameSink;
  readonly #sharedClock: boolean;
  readonly #frame = new FrameBuffer();
  readonly #view = new DataView(this.#frame.bytes.buffer);
  readonly #parsed = new ParsedFrame();
  readonly #answer = new FrameBuffer();
  /** By IP address, oldest first. */
  readonly #neighbours = new Map<number, Uint8Array>();
  readonly #own: OwnFlow[] = [];
  readonly #incoming: IncomingFlow[] = [];
  #arpTimer: Cancel | undefined;
  #counts = {
    arpAnswered: 0,
    pingsAnswered: 0,
    udpEchoed: 0,
    checksumErrors: 0,
    ignored: 0,
    flowsRefused: 0,
  };

  constructor({ station, scheduler, send, sharedClock = false }: PeerOptions) {
    this.station = station;
    this.#scheduler = scheduler;
    this.#send = send;
    this.#sharedClock = sharedClock;
  }

  /** Tells everybody where this station is. */
  announce(): void {
    buildGratuitousArp(this.#answer, this.station);
    this.#transmit(this.#answer);
  }

  /**
   * Starts a flow as soon as the other end's MAC address is known; asks for it until then. Returns the flow's number.
   * At most 64 flows, payloads of 24 to 1472 bytes.
   */
  startFlow(options: FlowOptions): number {
    const { payloadBytes, rate, kind } = options;
    invariant(this.hasRoom, `more than ${FLOWS_MAX} flows`);
    invariant(payloadBytes >= FLOW_PAYLOAD_BYTES_MIN && payloadBytes <= FLOW_PAYLOAD_BYTES_MAX, 'payload');
    invariant(rate > 0, `rate ${rate}`);
    const flow = this.#own.length;
    this.#own.push({
      options,
      sender: new FlowSender(this.#scheduler, { ...options, flow }, this.#send),
      receiver: kind === 'echo' ? new FlowReceiver() : undefined,
      sentBefore: 0,
      stopped: false,
    });
    this.#resolve();
    return flow;
  }

  /** Whether another flow can be started. */
  get hasRoom(): boolean {
    return this.#own.length < FLOWS_MAX;
  }

  /** Ends the flows that there are; what comes in is still measured, and other flows may be started. */
  stopFlows(): void {
    this.#arpTimer?.();
    this.#arpTimer = undefined;
    for (const own of this.#own) {
      own.stopped = true;
      own.sender.stop();
    }
  }

  get statistics(): PeerStatistics {
    return { ...this.#counts };
  }

  /** One report per flow: our own by number, then those that came in. */
  report(): FlowReport[] {
    const now = this.#scheduler.now();
    return this.#flows((receiver) => receiver.measurement(now));
  }

  /**
   * The same of what happened since the last call, or since the start; the next phase begins here. With `arrivalsSince`
   * each report also tells when it came.
   */
  nextPhase(arrivalsSince?: Instant): FlowReport[] {
    const now = this.#scheduler.now();
    const reports = this.#flows((receiver) => receiver.nextPhase(now), arrivalsSince);
    return reports.map((report, i) => {
      const own = this.#own[i];
      if (own === undefined) return report;
      const sent = report.sent - own.sentBefore;
      own.sentBefore = report.sent;
      return { ...report, sent };
    });
  }

  #flows(measured: (receiver: FlowReceiver) => FlowMeasurement, arrivalsSince?: Instant): FlowReport[] {
    const arrivals = (receiver: FlowReceiver | undefined): Pick<FlowReport, 'arrivals'> =>
      receiver === undefined || arrivalsSince === undefined
        ? {}
        : { arrivals: receiver.arrivals(arrivalsSince, this.#scheduler.now()) };
    return [
      ...this.#own.map(({ options: { kind, ip, port }, sender: { sent }, receiver }, flow) => {
        const outstanding = receiver?.outstanding(sent) ?? 0;
        const arrived = receiver === undefined ? null : measured(receiver);
        const remote = remoteName(ip, port);
        return { flow, kind, remote, sent, outstanding, arrived, ...arrivals(receiver) };
      }),
      ...this.#incoming.map(({ flow, ip, port, receiver }) => ({
        flow,
        kind: 'in' as const,
        remote: remoteName(ip, port),
        sent: 0,
        outstanding: 0,
        arrived: measured(receiver),
        ...arrivals(receiver),
      })),
    ];
  }

  /** A frame reaches the station. Anything may be in it. */
  readonly receive: FrameSink = (bytes, at, length) => {
    if (length < ETHER_HEADER_BYTES || length > FRAME_BYTES_MAX) return;
    const unicast = sameMac(bytes, at, this.station.mac, 0);
    if (!unicast && !sameMac(bytes, at, BROADCAST_MAC, 0)) return;
    const frame = this.#frame;
    frame.load(bytes, at, length);
    const etherType = frame.u16(etherHeader.offset.etherType);
    if (etherType === ETHERTYPE_ARP) this.#receiveArp();
    else if (etherType === ETHERTYPE_IPV4 && unicast) this.#receiveIpv4();
    else this.#counts.ignored++;
  };

  #receiveArp(): void {
    const view = this.#view;
    const at = ETHER_HEADER_BYTES;
    const { hardwareType, protocolType, hardwareBytes, protocolBytes, operation } = arpPacket.offset;
    const { senderMac, senderIp, targetIp } = arpPacket.offset;
    const from = view.getUint32(at + senderIp);
    if (
      this.#frame.length < ARP_FRAME_BYTES ||
      view.getUint16(at + hardwareType) !== ARP_HARDWARE_ETHERNET ||
      view.getUint16(at + protocolType) !== ETHERTYPE_IPV4 ||
      view.getUint8(at + hardwareBytes) !== 6 ||
      view.getUint8(at + protocolBytes) !== 4 ||
      isGroupMac(this.#frame.bytes, at + senderMac) ||
      from === this.station.ip
    ) {
      this.#counts.ignored++;
      return;
    }
    const forUs = view.getUint32(at + targetIp) === this.station.ip;
    // RFC 826: what is known is brought up to date by any packet; only who speaks to us is added.
    if (isHostIpv4(from) && (forUs || this.#neighbours.has(from))) this.#learn(from, at + senderMac);
    if (!forUs || view.getUint16(at + operation) !== ARP_REQUEST) return;
    const mac = this.#frame.bytes.subarray(at + senderMac, at + senderMac + MAC_BYTES);
    buildArp(this.#answer, { operation: ARP_REPLY, target: mac, from: this.station, toMac: mac, toIp: from });
    this.#counts.arpAnswered++;
    this.#transmit(this.#answer);
  }

  #learn(ip: number, macAt: number): void {
    const known = this.#neighbours.get(ip);
    if (known !== undefined && sameMac(known, 0, this.#frame.bytes, macAt)) return;
    if (known === undefined && this.#neighbours.size === NEIGHBOURS_MAX) {
      // Whoever we send to stays: his flow would go on to ask for him again.
      for (const oldest of this.#neighbours.keys()) {
        if (this.#own.some(({ options }) => options.ip === oldest)) continue;
        this.#neighbours.delete(oldest);
        break;
      }
    }
    this.#neighbours.set(ip, this.#frame.bytes.slice(macAt, macAt + MAC_BYTES));
    for (const [flow, { options }] of this.#own.entries()) if (options.ip === ip) this.#startSender(flow);
  }

  /** Asks for the addresses that flows wait for, and again until they are known. */
  #resolve(): void {
    this.#arpTimer?.();
    this.#arpTimer = undefined;
    let waiting = false;
    for (const [flow, { options, stopped }] of this.#own.entries()) {
      if (stopped) continue;
      if (this.#neighbours.has(options.ip)) {
        this.#startSender(flow);
      } else {
        waiting = true;
        buildArpRequest(this.#answer, this.station, options.ip);
        this.#transmit(this.#answer);
      }
    }
    if (waiting) this.#arpTimer = this.#scheduler.after(ARP_RETRY, () => this.#resolve());
  }

  #startSender(flow: number): void {
    const { options, sender, stopped } = this.#own[flow]!;
    const mac = this.#neighbours.get(options.ip);
    if (mac === undefined || stopped) return;
    const from = { ...this.station, port: FLOW_PORT_BASE + flow };
    sender.start(from, { mac, ip: options.ip, port: options.port });
  }

  #receiveIpv4(): void {
    const frame = this.#frame;
    const parsed = this.#parsed;
    parsed.parse(frame);
    const at = parsed.ipOffset;
    if (
      parsed.ipVersion !== 4 ||
      parsed.fragment ||
      this.#view.getUint32(at + ipv4Header.offset.target) !== this.station.ip
    ) {
      this.#counts.ignored++;
    } else if (!sumIsValid(sumBytes(frame, at, parsed.ipHeaderBytes))) {
      this.#counts.checksumErrors++;
    } else if (parsed.l4Protocol === PROTOCOL_UDP) {
      this.#receiveUdp();
    } else if (frame.bytes[at + ipv4Header.offset.protocol] === PROTOCOL_ICMP) {
      this.#receiveIcmp();
    } else {
      this.#counts.ignored++;
    }
  }

  /** Where an answer to the frame being looked at goes. */
  #asker(): Station {
    return {
      mac: this.#frame.bytes.subarray(MAC_BYTES, 2 * MAC_BYTES),
      ip: this.#view.getUint32(this.#parsed.ipOffset + ipv4Header.offset.source),
    };
  }

  #receiveIcmp(): void {
    const { ipOffset, ipHeaderBytes, ipEnd } = this.#parsed;
    const at = ipOffset + ipHeaderBytes;
    const messageBytes = ipEnd - at;
    const isEcho =
      messageBytes >= icmpEcho.size &&
      this.#view.getUint8(at + icmpEcho.offset.type) === ICMP_ECHO_REQUEST &&
      this.#view.getUint8(at + icmpEcho.offset.code) === 0;
    if (!isEcho) {
      this.#counts.ignored++;
      return;
    }
    if (!sumIsValid(sumBytes(this.#frame, at, messageBytes))) {
      this.#counts.checksumErrors++;
      return;
    }
    buildIcmp(this.#answer, this.station, this.#asker(), messageBytes);
    this.#answer.bytes.set(this.#frame.bytes.subarray(at, ipEnd), L4_AT);
    this.#answer.bytes[L4_AT + icmpEcho.offset.type] = ICMP_ECHO_REPLY;
    finishIcmp(this.#answer, messageBytes);
    this.#counts.pingsAnswered++;
    this.#transmit(this.#answer);
  }

  #receiveUdp(): void {
    const { l4Offset: at, ipEnd } = this.#parsed;
    const lengthBytes = this.#view.getUint16(at + udpHeader.offset.lengthBytes);
    const sourcePort = this.#view.getUint16(at + udpHeader.offset.sourcePort);
    const targetPort = this.#view.getUint16(at + udpHeader.offset.targetPort);
    if (lengthBytes < udpHeader.size || lengthBytes > ipEnd - at) {
      this.#counts.ignored++;
      return;
    }
    const payload = at + udpHeader.size;
    const payloadBytes = lengthBytes - udpHeader.size;
    const intact = this.#udpChecksumHolds(at, lengthBytes);
    if (targetPort === PORT_ECHO && sourcePort !== PORT_ECHO) {
      if (intact) this.#echo(sourcePort, payload, payloadBytes);
      else this.#counts.checksumErrors++;
      return;
    }
    const ip = this.#view.getUint32(this.#parsed.ipOffset + ipv4Header.offset.source);
    const ownFlow = targetPort - FLOW_PORT_BASE;
    // Most ports are none of ours, and a look outside an array's bounds is slow.
    const own = ownFlow >= 0 && ownFlow < this.#own.length ? this.#own[ownFlow] : undefined;
    if (own?.receiver !== undefined && own.options.ip === ip && own.options.port === sourcePort) {
      this.#measure(own.receiver, intact && this.#isFlow(payload, payloadBytes, ownFlow), payload, true);
      return;
    }
    this.#receiveIncoming(
      ip,
      sourcePort,
      intact && payloadIsIntact(this.#view, payload, payloadBytes),
      payload,
    );
  }

  /** RFC 768: no checksum is nothing to judge. */
  #udpChecksumHolds(at: number, lengthBytes: number): boolean {
    if (this.#view.getUint16(at + udpHeader.offset.checksum) === 0) return true;
    const sum = sumPseudoHeader(this.#frame, this.#parsed, lengthBytes);
    return sumIsValid(sum + sumBytes(this.#frame, at, lengthBytes));
  }

  #isFlow(payload: number, payloadBytes: number, flow: number): boolean {
    return (
      payloadIsIntact(this.#view, payload, payloadBytes) &&
      this.#view.getUint32(payload + flowHeader.offset.flow) === flow
    );
  }

  #echo(port: number, payload: number, payloadBytes: number): void {
    const to = { ...this.#asker(), port };
    buildUdp(this.#answer, { ...this.station, port: PORT_ECHO }, to, payloadBytes);
    this.#answer.bytes.set(this.#frame.bytes.subarray(payload, payload + payloadBytes), UDP_PAYLOAD_AT);
    finishUdp(this.#answer, payloadBytes);
    this.#counts.udpEchoed++;
    this.#transmit(this.#answer);
  }

  #receiveIncoming(ip: number, port: number, intact: boolean, payload: number): void {
    const flow = intact ? this.#view.getUint32(payload + flowHeader.offset.flow) : -1;
    for (const known of this.#incoming) {
      // A damaged datagram's own number says nothing; where it came from has a checksum of its own.
      if (known.ip !== ip || known.port !== port || (intact && known.flow !== flow)) continue;
      this.#measure(known.receiver, intact, payload, this.#sharedClock);
      return;
    }
    if (!intact) {
      this.#counts.checksumErrors++;
    } else if (this.#incoming.length === FLOWS_MAX) {
      this.#counts.flowsRefused++;
    } else {
      const receiver = new FlowReceiver();
      this.#incoming.push({ flow, ip, port, receiver });
      this.#measure(receiver, true, payload, this.#sharedClock);
    }
  }

  /** `clocked`: the datagram carries the time of our own clock. */
  #measure(receiver: FlowReceiver, intact: boolean, payload: number, clocked: boolean): void {
    if (!intact) {
      receiver.damaged();
      return;
    }
    const now = this.#scheduler.now();
    const { sequence, sentAt } = flowHeader.offset;
    const sent =
      this.#view.getUint32(payload + sentAt) * 2 ** 32 + this.#view.getUint32(payload + sentAt + 4);
    const latency = clocked ? nanoseconds(now - sent) : undefined;
    receiver.arrived(this.#view.getUint32(payload + sequence), now, latency);
  }

  #transmit(frame: FrameBuffer): void {
    this.#send(frame.bytes, 0, frame.length);
  }
}
