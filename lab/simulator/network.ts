/**
 * The network of simulated machines: a learning switch, and a peer that sends numbered, checksummed datagrams through it,
 * in virtual time. It keeps order within a flow, and loses nothing but what a machine does not take.
 */
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import { FRAME_BYTES_MAX } from '../../devices/ethernet/frame.js';
import type { FrameSink } from '../../devices/ethernet/frame-sink.js';
import { TrafficPeer } from '../../devices/ethernet/peer.js';
import { ETHERTYPE_RARP, etherHeader } from '../../devices/ethernet/protocols.js';
import { EthernetSwitch, type SwitchPort } from '../../devices/ethernet/switch.js';
import type { SimulatedWorld } from './run.js';

/** The guest's first interface has this address, each further one the next. */
export const GUEST_IP = parseIpv4('10.0.0.2')!;
const PEER = { ip: parseIpv4('10.0.0.1')!, mac: parseMac('02:00:0a:00:00:01')! };
const ETHERTYPE = etherHeader.offset.etherType;

/** Of one NIC. */
interface Cable {
  readonly port: SwitchPort;
  readonly carrier: (up: boolean) => void;
  up: boolean;
}

export class SimulatedNetwork {
  peer: TrafficPeer;
  /** Ports at which a guest's place was announced, in the order of the announcements. */
  readonly announcedAt: string[] = [];
  readonly #switch: EthernetSwitch;
  readonly #cables = new Map<string, Cable>();
  readonly #fromPeer: FrameSink;
  readonly #newPeer: () => TrafficPeer;
  /** What the peer sent last, in the first bytes. */
  readonly #latest = new Uint8Array(FRAME_BYTES_MAX);
  #latestBytes = 0;

  constructor({ scheduler, random }: SimulatedWorld) {
    this.#switch = new EthernetSwitch({
      scheduler,
      random: random.fork('switch'),
      tap: (port, bytes, at) => {
        const etherType = (bytes[at + ETHERTYPE]! << 8) | bytes[at + ETHERTYPE + 1]!;
        if (etherType === ETHERTYPE_RARP) this.announcedAt.push(port.name);
      },
    });
    const port = this.#switch.addPort({
      name: 'peer',
      deliver: (bytes, at, length) => {
        this.peer.receive(bytes, at, length);
        return true;
      },
    })!;
    this.#fromPeer = port.receive;
    const send: FrameSink = (bytes, at, length) => {
      this.#latest.set(bytes.subarray(at, at + length));
      this.#latestBytes = length;
      port.receive(bytes, at, length);
    };
    this.#newPeer = () => new TrafficPeer({ station: PEER, scheduler, sharedClock: true, send });
    this.peer = this.#newPeer();
  }

  /** Another in the place of the peer, that has sent nothing yet: one has so many flows, and no more. */
  renewPeer(): void {
    this.peer = this.#newPeer();
  }

  /** What the peer sent last comes so many times more, all at once. */
  repeat(times: number): void {
    for (let i = 0; i < times; i++) this.#fromPeer(this.#latest, 0, this.#latestBytes);
  }

  /** Stations that the switch heard at another port than before. */
  get stationMoves(): number {
    return this.#switch.stations.moves;
  }

  /** A cable into the switch. */
  readonly plug =
    (name: string) =>
    (receive: FrameSink, carrier: (up: boolean) => void = () => {}): FrameSink => {
      const port = this.#switch.addPort({
        name,
        deliver: (bytes, at, length) => {
          if (cable.up) receive(bytes, at, length);
          return cable.up;
        },
      })!;
      const cable: Cable = { port, carrier, up: true };
      this.#cables.set(name, cable);
      return (bytes, at, length) => {
        if (cable.up) port.receive(bytes, at, length);
      };
    };

  unplug(name: string): void {
    this.#switch.removePort(this.#cables.get(name)!.port);
    this.#cables.delete(name);
  }

  /** The cable of that name has a carrier or has none; nothing passes without one. Of one that is not there, nothing happens. */
  setCarrier(name: string, up: boolean): void {
    const cable = this.#cables.get(name);
    if (cable === undefined) return;
    cable.up = up;
    cable.carrier(up);
  }
}
