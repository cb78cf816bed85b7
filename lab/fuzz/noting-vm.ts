/** A VM for a monitor that has nothing but the monitor to it: it notes what is asked of it, and answers plausibly. */

import { MigrationParameters } from '../../migration/parameters.js';
import type { MigrationInfo, VmControl } from '../../vmm/monitor/control.js';
import type { RunState } from '../../vmm/monitor/run-state.js';
import type { RxFilter } from '../../vmm/passthrough/network-control.js';

const RX_FILTER: RxFilter = {
  name: 'vf0',
  promiscuous: false,
  broadcast: true,
  unicast: 'normal',
  multicast: 'normal',
  vlan: 'normal',
  mac: '52:00:00:00:00:01',
  addresses: [],
  groupHashes: [0x123],
  vlans: [7],
};

/** `calls`: what was asked of it, in order. */
export interface NotingVm extends VmControl {
  readonly calls: unknown[][];
  runState: RunState;
  standstill: VmControl['standstill'];
  info: MigrationInfo;
  blocked: readonly string[];
}

export function notingVm(): NotingVm {
  const calls: unknown[][] = [];
  const vm: NotingVm = {
    calls,
    info: {},
    blocked: [],
    name: 'guest',
    runState: 'running',
    standstill: undefined,
    cpus: () => [{ index: 0, threadId: 42 }],
    memory: () => ({
      ramBytes: 1,
      migratedPages: 2,
      pageBytes: 4096,
      residentBytes: 3,
      residentBytesMax: 4,
    }),
    nics: async () => {
      calls.push(['nics']);
      return [
        {
          name: 'vf0',
          mac: '',
          state: 'RUNNING',
          link: true,
          counters: {},
          drops: { stopped: 0, 'no-descriptor': 0, malformed: 0, cable: 0 },
          'iommu-faults': { count: 0, last: [] },
        },
      ];
    },
    pressPowerButton: async () => void calls.push(['pressPowerButton']),
    network: {
      rxFilters: async (name) => (name === undefined || name === RX_FILTER.name ? [RX_FILTER] : []),
      setLink: async (name, up) => {
        calls.push(['setLink', name, up]);
        return name === 'vf0';
      },
      announce: async (rhythm, names) => void calls.push(['announce', rhythm, names]),
    },
    deviceDel: async (id) => void calls.push(['deviceDel', id]),
    deviceAdd: async (id, bus) => void calls.push(['deviceAdd', id, bus]),
    calcDirtyRate: (request) => void calls.push(['calcDirtyRate', request]),
    dirtyRate: {
      status: 'measured',
      'start-time': 3,
      'calc-time': 2500,
      'calc-time-unit': 'millisecond',
      mode: 'dirty-bitmap',
      'dirty-rate': 7,
    },
    pci: async () => [],
    injectError: async (id, error) => {
      calls.push(['injectError', id, error]);
      return { bus: 1, slot: 0, function: 0, severity: 'fatal', reported: true };
    },
    dumpPci: async (path) => void calls.push(['dumpPci', path]),
    consoleTail: (lines) => [`last ${lines}`],
    stop: async () => void calls.push(['stop']),
    cont: async () => void calls.push(['cont']),
    quit: () => void calls.push(['quit']),
    migrate: (target) => void calls.push(['migrate', target]),
    migrateIncoming: async (target) => void calls.push(['migrateIncoming', target]),
    migrateCancel: () => void calls.push(['migrateCancel']),
    yankInstances: [{ type: 'migration' }, { type: 'chardev', id: 'agent' }],
    yank: (instances) => void calls.push(['yank', instances]),
    reclaim: async () => void calls.push(['reclaim']),
    migration: () => vm.info,
    blockedReasons: async () => vm.blocked,
    migrationRecord: () => undefined,
    parameters: new MigrationParameters(),
    setParameters: async (changes) => vm.parameters.set(changes),
    migrationEvents: false,
  };
  return vm;
}
