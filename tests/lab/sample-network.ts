/** The network of a move that went well, as its record has it: whole, and in parts to be made worse. */
import type { FlowMeasurement } from '../../devices/ethernet/flow-receiver.js';
import type { FabricReport, PortReport } from '../../lab/fabric/report.js';
import type { DeviceView, FlowRecord, NetworkRecord } from '../../lab/move/network-record.js';
import type { Flow } from '../../lab/move/scenario.js';

export const MS = 1e6;
export const RATE = 10_000;
export const ALL_FLOWS: readonly Flow[] = ['echo', 'from-guest', 'to-guest'];
const latency = {
  count: 1,
  minNs: 0.1 * MS,
  medianNs: 0.3 * MS,
  p99Ns: 1 * MS,
  p999Ns: 1.5 * MS,
  maxNs: 2 * MS,
};

export const measured = (received: number, lost: number): FlowMeasurement => ({
  received,
  lost,
  holes: lost > 0 ? 1 : 0,
  duplicated: 0,
  reordered: 0,
  corrupt: 0,
  tooLate: 0,
  longestGapNs: 12 * MS,
  longestGapAtNs: 0,
  silentNs: 0,
  latency,
});

/** A flow of which `lost` of `sent` did not arrive; the guest measures what goes to it. */
export const flow = (name: Flow, sent: number, lost: number): FlowRecord => ({
  device: 'vf0',
  flow: name,
  sent: name === 'from-guest' ? 0 : sent,
  pending: 0,
  arrived: name === 'to-guest' ? null : measured(sent - lost, lost),
  gapStalledNs: 0,
});

export const port = (name: string): PortReport => ({
  name,
  end: null,
  giants: 0,
  framesIn: 30_000,
  bytesIn: 3_000_000,
  framesOut: 30_000,
  bytesOut: 3_000_000,
  flooded: 3,
  invalid: 0,
  filtered: 0,
  lost: 0,
  queueDrops: 0,
  refused: 0,
  downDrops: 0,
});

export const fabric: FabricReport = {
  listening: ['unix:net.sock'],
  ports: [port('source'), port('destination')],
  connectionsRefused: 0,
  longestStallNs: 0.2 * MS,
  stations: { known: 2, moves: 1, evictions: 0 },
  stationMovedAtNs: 1.5e9,
  peers: [
    {
      ip: '10.0.0.1',
      mac: '52:54:00:00:00:01',
      arpAnswered: 1,
      pingsAnswered: 0,
      udpEchoed: 0,
      checksumErrors: 0,
      ignored: 0,
      flowsRefused: 0,
      flows: [],
    },
  ],
  capture: null,
};

/** A move of three seconds in which the machine stood for 12 ms: 110 echoes and 100 datagrams came meanwhile. */
export const whole: DeviceView = {
  name: 'vf0',
  rate: RATE,
  payloadBytes: 64,
  before: {
    startNs: 0,
    durationNs: 1e9,
    longestStallNs: 0,
    flows: ALL_FLOWS.map((name) => flow(name, 10_000, 0)),
  },
  move: {
    startNs: 1e9,
    durationNs: 1e9,
    longestStallNs: 0,
    flows: [flow('echo', 10_000, 110), flow('from-guest', 10_000, 0), flow('to-guest', 10_000, 100)],
  },
  after: {
    startNs: 2e9,
    durationNs: 1e9,
    longestStallNs: 0,
    flows: ALL_FLOWS.map((name) => flow(name, 10_000, 0)),
  },
  total: [flow('echo', 30_000, 110), flow('from-guest', 30_000, 0), flow('to-guest', 30_000, 100)],
  guest: {
    echo: { echoed: 29_890, notSent: 0 },
    stream: { sent: 30_010 },
    incoming: { received: 29_900, lost: 100, duplicated: 0, reordered: 0, corrupt: 0, longestGapNs: 12 * MS },
    device: { received: 59_790, sent: 59_900, dropped: 0, errors: 0, badChecksums: 0 },
  },
  guestBefore: {
    echo: { echoed: 19_890, notSent: 0 },
    stream: { sent: 20_010 },
    incoming: { received: 19_900, lost: 100, duplicated: 0, reordered: 0, corrupt: 0, longestGapNs: 12 * MS },
    device: { received: 39_790, sent: 39_900, dropped: 0, errors: 0, badChecksums: 0 },
  },
  nics: {
    source: { stopped: 210, 'no-descriptor': 0, malformed: 0, cable: 0 },
    destination: { stopped: 2, 'no-descriptor': 0, malformed: 0, cable: 0 },
  },
  fabric,
};

export const blackout = {
  totalNs: 12 * MS,
  quiesceNs: 1 * MS,
  pauseNs: 1 * MS,
  lastPagesNs: 4 * MS,
  deviceStateNs: 1 * MS,
  stateNs: 1 * MS,
  loadNs: 2 * MS,
  startNs: 2 * MS,
};

/** The record of a move whose devices had this of the network. */
export function recordOf(...views: readonly DeviceView[]): NetworkRecord {
  const flowsOf = (phase: (view: DeviceView) => readonly FlowRecord[]) =>
    views.flatMap((view) => phase(view).map((record) => ({ ...record, device: view.name })));
  const { name: _name, guest: _guest, guestBefore: _before, nics: _nics, ...network } = views[0]!;
  return {
    ...network,
    before: { ...network.before, flows: flowsOf(({ before }) => before.flows) },
    move: { ...network.move, flows: flowsOf(({ move }) => move.flows) },
    after: { ...network.after, flows: flowsOf(({ after }) => after.flows) },
    total: flowsOf(({ total }) => total),
    devices: views.map(({ name, guest, guestBefore, nics }) => ({ name, guest, guestBefore, nics })),
  };
}
