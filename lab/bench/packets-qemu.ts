/**
 * The same packets beside ours: a Linux in QEMU without hardware virtualisation, as our guest is, with one of QEMU's own NICs at a
 * fabric of ours with a peer of ours. What the guest does is done in its kernel, by what Linux has for it and no program of ours:
 * `pktgen` sends, a rule of `tc` turns datagrams round, and what is received is counted at the interface.
 */
import { type FabricProcess, spawnFabric } from '../fabric/spawn.js';
import { Linux, portArguments } from '../qemu/linux.js';
import type { QemuWorld } from '../qemu/world.js';
import { median } from '../report/median.js';
import { highestRate, type Offered, RATE_SHARE } from './offered-rate.js';
import type { Direction, QemuNic } from './packet-kinds.js';

export interface QemuPacketFigure {
  readonly nic: QemuNic;
  readonly direction: Direction;
  readonly payloadBytes: number;
  /** Median. */
  readonly packetsPerSecond: number;
  readonly offered: number;
  readonly lost: number;
}

const GUEST_IP = '10.0.0.2';
const GUEST_MAC = '52:54:00:00:00:02';
const PEER_IP = '10.0.0.1';
const ECHO_PORT = 7;
/** The peer's own flow number n speaks from this port plus n (`devices/ethernet/peer.ts`). */
const FLOW_PORT_BASE = 40_000;
/** Ethernet, IPv4 and UDP headers. */
const HEADER_BYTES = 42;
const TURN_MS = 1500;
const LEAD_MS = 500;
/** Nothing comes any more if nothing came for so long. */
const SETTLE_MS = 500;
const RATE_FIRST = 500;
/** Long rings, as ours has for its measurements. */
const RING = 4096;
const MODULES = 'pktgen sch_ingress cls_flower act_pedit act_mirred';
const PKTGEN = '/proc/net/pktgen';

export class QemuPackets {
  readonly nic: QemuNic;
  readonly #fabric: FabricProcess;
  readonly #linux: Linux;
  readonly #peerMac: string;
  /** Flows of the peer so far. */
  #flows = 0;

  private constructor(nic: QemuNic, fabric: FabricProcess, linux: Linux, peerMac: string) {
    this.nic = nic;
    this.#fabric = fabric;
    this.#linux = linux;
    this.#peerMac = peerMac;
  }

  /** Boots Linux, which takes a minute or more. Rejects with the FerryErrors of the processes and of `Linux`. */
  static async start(world: QemuWorld, nic: QemuNic): Promise<QemuPackets> {
    const fabric = await spawnFabric({ peers: [`ip=${PEER_IP}`] });
    let linux: Linux | undefined;
    try {
      const socket = fabric.address.slice('unix:'.length);
      linux = await Linux.start({
        world,
        arguments: [
          ...['-netdev', `stream,id=n0,server=off,addr.type=unix,addr.path=${socket}`],
          ...portArguments('rp0', 1),
          ...['-device', `${nic},bus=rp0,netdev=n0,mac=${GUEST_MAC}`],
        ],
      });
      await linux.booted();
      const { peers } = await fabric.report();
      const { mac } = peers[0]!;
      await linux.sh(`modprobe -a ${nic} ${MODULES}`);
      await linux.until('[ -e /sys/class/net/eth0 ]');
      await linux.run(`ethtool -G eth0 rx ${RING} tx ${RING}`);
      await linux.sh(`ip addr add ${GUEST_IP}/24 dev eth0; ip link set eth0 up`);
      await linux.sh(`ip neigh replace ${PEER_IP} lladdr ${mac} dev eth0; tc qdisc add dev eth0 clsact`);
      await linux.until(`ping -c 1 -W 5 ${PEER_IP}`);
      return new QemuPackets(nic, fabric, linux, mac);
    } catch (error) {
      linux?.kill();
      await fabric.quit();
      throw error;
    }
  }

  /** Takes no CPU time until `goOn`. */
  async rest(): Promise<void> {
    await this.#linux.qmp.execute('stop');
  }

  async goOn(): Promise<void> {
    await this.#linux.qmp.execute('cont');
  }

  /** `runs` turns of it, at the highest rate that arrives. */
  async measure(direction: Direction, payloadBytes: number, runs: number): Promise<QemuPacketFigure> {
    const turns =
      direction === 'guest to peer'
        ? await this.#send(payloadBytes, runs)
        : await this.#receive(direction, payloadBytes, runs);
    return {
      nic: this.nic,
      direction,
      payloadBytes,
      packetsPerSecond: median(turns.map(({ perSecond }) => perSecond)),
      offered: turns.reduce((sum, { offered }) => sum + offered, 0),
      lost: turns.reduce((sum, { lost }) => sum + lost, 0),
    };
  }

  async close(): Promise<void> {
    this.#linux.kill();
    await this.#fabric.quit();
  }

  /** The guest sends as fast as its NIC takes it. */
  async #send(payloadBytes: number, runs: number): Promise<Offered[]> {
    const settings = [
      `pkt_size ${HEADER_BYTES + payloadBytes}`,
      'count 0',
      'delay 0',
      'clone_skb 64',
      `dst ${PEER_IP}`,
      `dst_mac ${this.#peerMac}`,
    ].map((setting) => `echo "${setting}" >${PKTGEN}/eth0`);
    await this.#linux.sh(
      [
        `echo rem_device_all >${PKTGEN}/kpktgend_0; echo add_device eth0 >${PKTGEN}/kpktgend_0`,
        ...settings,
      ].join('; '),
    );
    await this.#linux.sh(`(echo start >${PKTGEN}/pgctrl) >/dev/null 2>&1 &`);
    await sleep(2 * LEAD_MS);
    const turns: Offered[] = [];
    for (let run = 0; run < runs; run++) {
      const [before, from] = [await this.#arrivedAtPort(), performance.now()];
      await sleep(TURN_MS);
      const arrived = (await this.#arrivedAtPort()) - before;
      // What it sends waits for the cable, as ours does.
      turns.push({ perSecond: (arrived / (performance.now() - from)) * 1000, offered: arrived, lost: 0 });
    }
    await this.#linux.sh(`echo stop >${PKTGEN}/pgctrl`);
    return turns;
  }

  async #receive(
    direction: 'peer to guest' | 'echo',
    payloadBytes: number,
    runs: number,
  ): Promise<Offered[]> {
    const offer = (rate: number): Promise<Offered> => this.#offer(direction, payloadBytes, rate);
    await offer(RATE_FIRST);
    const rate = Math.round((await highestRate(RATE_FIRST, offer)) * RATE_SHARE);
    const turns: Offered[] = [];
    for (let run = 0; run < runs; run++) turns.push(await offer(rate));
    return turns;
  }

  async #offer(direction: 'peer to guest' | 'echo', payloadBytes: number, rate: number): Promise<Offered> {
    const offered = Math.ceil((rate * (TURN_MS + LEAD_MS)) / 1000);
    const flow = this.#flows++;
    if (direction === 'echo') await this.#turnRound(FLOW_PORT_BASE + flow);
    const arrived = direction === 'echo' ? () => this.#cameBack(flow) : () => this.#counted();
    const before = await arrived();
    const kind = direction === 'echo' ? 'echo' : 'out';
    const from = performance.now();
    await this.#fabric.startFlow(
      `to=${GUEST_IP},kind=${kind},size=${payloadBytes},rate=${rate},count=${offered}`,
    );
    await sleep(TURN_MS + LEAD_MS);
    while (!(await this.#allSent(flow, offered))) await sleep(SETTLE_MS / 5);
    const tookMs = performance.now() - from;
    let there = (await arrived()) - before;
    for (let last = -1; there < offered && there !== last; ) {
      last = there;
      await sleep(SETTLE_MS);
      there = (await arrived()) - before;
    }
    return { perSecond: (there / tookMs) * 1000, offered, lost: Math.max(0, offered - there) };
  }

  /** Datagrams of the flow that speaks from `port` go back as they came: the checksum is that of the same words. */
  async #turnRound(port: number): Promise<void> {
    const back = [
      `eth src set ${GUEST_MAC}`,
      `eth dst set ${this.#peerMac}`,
      `ip src set ${GUEST_IP}`,
      `ip dst set ${PEER_IP}`,
      `udp sport set ${ECHO_PORT}`,
      `udp dport set ${port}`,
    ].map((munge) => `munge ${munge}`);
    await this.#linux.sh(
      'tc filter del dev eth0 ingress 2>/dev/null; ' +
        `tc filter add dev eth0 ingress pref 1 protocol ip flower ip_proto udp dst_port ${ECHO_PORT} ` +
        `action pedit ex ${back.join(' ')} pipe action mirred egress redirect dev eth0`,
    );
  }

  /** What the guest's interface has received. */
  async #counted(): Promise<number> {
    return Number(await this.#linux.sh('cat /sys/class/net/eth0/statistics/rx_packets'));
  }

  async #arrivedAtPort(): Promise<number> {
    const { ports } = await this.#fabric.report();
    return ports.reduce((sum, { framesIn }) => sum + framesIn, 0);
  }

  async #cameBack(flow: number): Promise<number> {
    const { peers } = await this.#fabric.report();
    return peers[0]!.flows.find((one) => one.kind === 'echo' && one.flow === flow)?.arrived?.received ?? 0;
  }

  async #allSent(flow: number, count: number): Promise<boolean> {
    const { peers } = await this.#fabric.report();
    const sent = peers[0]!.flows.find((one) => one.kind !== 'in' && one.flow === flow)?.sent ?? 0;
    return sent >= count;
  }
}

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
