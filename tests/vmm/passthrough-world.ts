/**
 * Two machines with a NIC each, and the network between them, in one thread and virtual time: the guest kernel with its
 * driver, the 82599 behind VT-d, a learning switch, and a peer that sends numbered, checksummed datagrams through it.
 */
import { readFileSync } from 'node:fs';
import type { FaultPlan, FaultRule } from '../../base/fault.js';
import { seededRandom } from '../../base/random.js';
import { MIB, microseconds, milliseconds } from '../../base/units.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import { PORT_DISCARD, PORT_ECHO } from '../../devices/ethernet/peer.js';
import { dataNetwork, macOf, simulatedMachine } from '../../lab/simulator/machine.js';
import { GUEST_IP, SimulatedNetwork } from '../../lab/simulator/network.js';
import { runSimulatedMigration } from '../../lab/simulator/run.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { DmaTracking, SourceMachine } from '../../migration/ports.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import type { Machine } from '../../vmm/machine/machine.js';
import type { IommuLeaves, NicOptions } from '../../vmm/passthrough/records.js';
import type { PassthroughReport } from '../../vmm/passthrough/report.js';

export const image = readFileSync(new URL('../../dist/guests/kernel.img', import.meta.url));

export const RATE = 20_000;
export const PAYLOAD_BYTES = 200;
/** Until the link is up and the first packets went around, and as long after the move. */
const SETTLE_MS = 40;
/** The last pages have been copied after that. */
const LAST_PASS = milliseconds(20);
/** A frame is through the switch after that. */
const CABLE = microseconds(2);
/** The guest's driver sets up one function after the other, and waits for each. */
const FUNCTION_MS = 11;

export interface TrafficScene {
  readonly seed?: number;
  /** Another guest than the kernel; it understands its command line. */
  readonly image?: Uint8Array;
  readonly parameters?: Partial<ParameterValues>;
  /** Other approaches than those that come with vf-ferry. */
  readonly registry?: ApproachRegistry;
  /** Defects of the migration itself. */
  readonly faults?: FaultPlan;
  /** Defects of the source's or the destination's NIC and IOMMU. */
  readonly nicFaults?: {
    readonly source?: readonly FaultRule[];
    readonly destination?: readonly FaultRule[];
  };
  /** The guest only looks at what the peer sends, instead of sending it back. */
  readonly sink?: boolean;
  readonly writesInFlight?: number;
  /** Frames that arrive right before the devices' writes are asked for: then some are always on their way. */
  readonly framesAtHarvest?: number;
  /** Frames that arrive right before the devices are quiesced: the guest has no time to take them in. */
  readonly framesAtStop?: number;
  /** Frames that arrive when the guest stands still and the last pages have been copied. */
  readonly framesAfterLastPass?: number;
  readonly leaves?: IommuLeaves;
  /** The guest stands still before it is moved. */
  readonly paused?: boolean;
  /** What is done to the guest once its network works, before it is moved. */
  readonly before?: (machine: Machine) => Promise<void>;
  /** What is looked at, wherever it is in the end. */
  readonly after?: (machine: Machine) => Promise<void>;
  /** What else stands on the guest's command line. */
  readonly commandLine?: string;
  /** What else is said of both NICs. */
  readonly nic?: Partial<NicOptions>;
  /** What is said of the destination's alone. */
  readonly destinationNic?: Partial<NicOptions>;
  /** Packets per second of all flows; RATE if absent. */
  readonly rate?: number;
  /** How long the guest goes on at the end. */
  readonly afterwardsMs?: number;
  /** The migration is cancelled so long after it began. */
  readonly cancelAfterMs?: number;
  /** Virtual functions, each with a flow of its own; 1 if absent. */
  readonly functions?: number;
  /** A virtio-net device instead of them, or beside the only one. */
  readonly virtio?: 'alone' | 'standby';
}

export interface TrafficResult {
  readonly source: MigrationRecord;
  readonly destination: DestinationRecord;
  readonly flow: FlowReport;
  /** Of each function, the first one's being `flow`. */
  readonly flows: readonly FlowReport[];
  readonly console: readonly string[];
  /** As seen where the guest is in the end. */
  readonly nic: PassthroughReport;
  readonly nics: readonly PassthroughReport[];
  /** As seen where it is not any more, or never came to. */
  readonly nicsElsewhere: readonly PassthroughReport[];
  /** Machines from which the network was told of a guest's new place, and how many stations it then knew elsewhere. */
  readonly announcedAt: readonly string[];
  readonly stationMoves: number;
  readonly hash: string;
}

/** Frames that come at moments of a migration. */
interface Arrivals {
  /** The devices' writes are about to be harvested. */
  atHarvest(): void;
  /** The devices are about to be quiesced. */
  atStop(): Promise<void>;
  /** The guest stands still, and the state of its devices is about to be read. */
  afterLastPass(): Promise<void>;
}

/** `machine`, where frames come at such moments. */
function withFrames(machine: SourceMachine, { atHarvest, atStop, afterLastPass }: Arrivals): SourceMachine {
  const devices = machine.devices?.map((device) => ({
    ...device,
    dma: device.dma && {
      track: (how: DmaTracking | undefined) => device.dma!.track(how),
      readDirty: () => {
        atHarvest();
        return device.dma!.readDirty();
      },
    },
    vfio:
      device.vfio &&
      Object.assign(Object.create(device.vfio), {
        quiesce: async () => {
          await atStop();
          await device.vfio!.quiesce();
        },
        stopCopy: async () => {
          await afterLastPass();
          return device.vfio!.stopCopy();
        },
      }),
  }));
  return { ...machine, devices };
}

export interface Alone {
  readonly machine: Machine;
  readonly network: SimulatedNetwork;
  readonly scheduler: VirtualTime;
  readonly console: readonly string[];
}

/** One machine whose guest echoes what the peer sends; it ends when `body` has. */
export async function echoingAlone(
  body: (world: Alone) => Promise<void>,
  ramBytes = 64 * MIB,
  { nic = {}, rate = RATE, image: guest = image }: Pick<TrafficScene, 'nic' | 'rate' | 'image'> = {},
): Promise<void> {
  const random = seededRandom(1);
  const trace = new Trace();
  const scheduler = new VirtualTime(random.fork('ties'), trace);
  const world = { scheduler, trace, random };
  const console: string[] = [];
  const network = new SimulatedNetwork(world);
  const machine = simulatedMachine(world, network, 'machine', { nic, console, ramBytes });
  const run = async (): Promise<void> => {
    await machine.boot(guest, 'workload=udp-echo status_ms=20');
    await scheduler.sleep(milliseconds(SETTLE_MS));
    network.peer.startFlow({
      kind: 'echo',
      ip: GUEST_IP,
      port: PORT_ECHO,
      rate,
      payloadBytes: PAYLOAD_BYTES,
    });
    await body({ machine, network, scheduler, console });
    await machine.destroy();
  };
  await scheduler.run(run());
}

/** Moves a guest that echoes, or just reads, what the peer sends, and lets it go on for a while wherever it is then. */
export async function moveUnderTraffic(scene: TrafficScene = {}): Promise<TrafficResult> {
  const {
    nicFaults = {},
    writesInFlight = 0,
    framesAtHarvest = 0,
    framesAtStop = 0,
    framesAfterLastPass = 0,
    leaves = 'small',
    sink = false,
    functions = 1,
    rate = RATE,
  } = scene;
  const stations = Array.from({ length: functions }, (_, i) => macOf(i));
  const nic: NicOptions = {
    macs: scene.virtio === 'alone' ? [] : stations,
    virtio: scene.virtio ? stations.map((mac) => ({ mac, standby: scene.virtio === 'standby' })) : [],
    ...scene.nic,
  };
  const workload = sink ? 'udp-stream rate=0' : 'udp-echo';
  const console: string[] = [];
  let flows: readonly FlowReport[] = [];
  let nics: readonly PassthroughReport[] = [];
  let nicsElsewhere: readonly PassthroughReport[] = [];
  let told = { announcedAt: [] as readonly string[], stationMoves: 0 };
  const result = await runSimulatedMigration(scene.seed ?? 1, async (world) => {
    const { scheduler } = world;
    const network = new SimulatedNetwork(world);
    const { source: near = [], destination: far = [] } = nicFaults;
    const from = simulatedMachine(world, network, 'source', {
      nic: { ...nic, writesInFlight, leaves, faults: near },
      console,
    });
    const to = simulatedMachine(world, network, 'destination', {
      nic: { ...nic, ...scene.destinationNic, writesInFlight, faults: far },
      console,
    });
    const data = dataNetwork(scheduler, from, to);
    const arrive = async (frames: number): Promise<void> => {
      network.repeat(frames);
      await scheduler.sleep(CABLE);
    };
    await from.boot(scene.image ?? image, `workload=${workload} status_ms=20 ${scene.commandLine ?? ''}`);
    // A peer that asks for the guest's address too early asks again only after a second.
    await scheduler.sleep(milliseconds(SETTLE_MS + FUNCTION_MS * (functions - 1)));
    for (let i = 0; i < functions; i++) {
      network.peer.startFlow({
        kind: sink ? 'out' : 'echo',
        ip: GUEST_IP + i,
        port: sink ? PORT_DISCARD : PORT_ECHO,
        rate: rate / functions,
        payloadBytes: PAYLOAD_BYTES,
      });
    }
    await scheduler.sleep(milliseconds(SETTLE_MS));
    await scene.before?.(from);
    if (scene.paused === true) await from.pause();
    // So slow that there is traffic in every round, and several rounds.
    const parameters = {
      verify: 'full',
      maxBandwidth: 40e6,
      downtimeLimitMs: 1,
      maxRounds: 6,
      ...scene.parameters,
    } as const;
    const cancel = new AbortController();
    if (scene.cancelAfterMs !== undefined)
      scheduler.after(milliseconds(scene.cancelAfterMs), () => cancel.abort());
    return {
      source: {
        signal: cancel.signal,
        machine:
          framesAtHarvest + framesAtStop + framesAfterLastPass === 0
            ? from.outgoing
            : withFrames(from.outgoing, {
                atHarvest: () => network.repeat(framesAtHarvest),
                atStop: () => arrive(framesAtStop),
                afterLastPass: async () => {
                  if (framesAfterLastPass > 0) await scheduler.sleep(LAST_PASS);
                  await arrive(framesAfterLastPass);
                },
              }),
        data: data.source(() => from.ram),
        hasher: data.hasher(() => from.ram),
        parameters: new MigrationParameters(parameters, scene.registry),
      },
      destination: {
        machine: to.incoming,
        data: data.destination(() => to.ram),
        hasher: data.hasher(() => to.ram),
        parameters: new MigrationParameters(parameters, scene.registry),
      },
      ...(scene.faults === undefined ? {} : { faults: scene.faults }),
      afterwards: async ({ destination }) => {
        await scheduler.sleep(milliseconds(scene.afterwardsMs ?? SETTLE_MS));
        network.peer.stopFlows();
        await scheduler.sleep(milliseconds(SETTLE_MS));
        flows = network.peer.report();
        const [here, elsewhere] = destination.status === 'completed' ? [to, from] : [from, to];
        nics = await here.nicReports();
        nicsElsewhere = await elsewhere.nicReports();
        await scene.after?.(here);
        const { announcedAt, stationMoves } = network;
        told = { announcedAt, stationMoves };
        await Promise.all([from.destroy(), to.destroy()]);
      },
    };
  });
  return { ...result, flow: flows[0]!, flows, console, nic: nics[0]!, nics, nicsElsewhere, ...told };
}
