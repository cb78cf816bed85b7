/** What commands answer, where that is more than a few members: declared like arguments, so that introspection can tell it. */
import { isCapability, parameterTable } from '../../migration/parameters.js';
import {
  anything,
  boolean,
  count,
  integer,
  lazy,
  list,
  number,
  oneOf,
  optional,
  type Shape,
  string,
  struct,
} from './arguments.js';
import type { DirtyRateInfo, MigrationInfo, MigrationRamInfo, NicInfo } from './control.js';
import { fixedParameterShapes } from './fixed-parameters.js';
import { MIGRATION_STATUSES } from './protocol.js';
import type { QmpPciBus, QmpPciDevice } from './query-pci.js';

const dirtied = struct({ cpu: count(), device: count(), both: count() });

const ram: Shape<MigrationRamInfo> = struct({
  transferred: count(),
  remaining: count(),
  total: count(),
  duplicate: count(),
  normal: count(),
  'normal-bytes': count(),
  'dirty-pages-rate': count(),
  mbps: number(),
  'dirty-sync-count': count(),
  'postcopy-requests': count(),
  'page-size': count(),
  'multifd-bytes': count(),
  'pages-per-second': count(),
  'precopy-bytes': count(),
  'downtime-bytes': count(),
  'postcopy-bytes': count(),
  'dirty-sync-missed-zero-copy': count(),
});

/** QEMU has a union of addresses here; one of them has a host and a port, another a path. */
const socketAddress = struct({
  type: oneOf('inet', 'unix'),
  host: optional(string()),
  port: optional(string()),
  path: optional(string()),
});

export const migrationInfo = struct({
  status: optional(oneOf(...MIGRATION_STATUSES)),
  'total-time': optional(count()),
  'setup-time': optional(count()),
  'expected-downtime': optional(count()),
  downtime: optional(count()),
  'cpu-throttle-percentage': optional(count()),
  'error-desc': optional(string()),
  'blocked-reasons': optional(list(string())),
  ram: optional(ram),
  vfio: optional(struct({ transferred: count() })),
  'x-ferry-approaches': optional(struct({ tracking: string(), stop: string(), start: string() })),
  'x-ferry-dirtied': optional(dirtied),
  'socket-address': optional(list(socketAddress)),
}) satisfies Shape<Omit<MigrationInfo, 'socket-address'>>;

/** All of them, always. */
export const migrationParameters = struct({
  ...Object.fromEntries(
    Object.values(parameterTable)
      .filter((parameter) => !isCapability(parameter))
      .map(({ qmpName, type }) => [
        qmpName,
        type === 'number' ? count() : type === 'boolean' ? boolean() : string(),
      ]),
  ),
  ...fixedParameterShapes,
});

export const dirtyRateInfo: Shape<DirtyRateInfo> = struct({
  status: oneOf('unstarted', 'measuring', 'measured'),
  'start-time': integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
  'calc-time': count(),
  'calc-time-unit': oneOf('second', 'millisecond'),
  mode: oneOf('dirty-bitmap'),
  'dirty-rate': optional(count()),
  'x-ferry-tracking': optional(string()),
  'x-ferry-dirtied': optional(dirtied),
  'x-ferry-harvests': optional(struct({ count: count(), 'time-ns': count(), 'vcpus-away-ns': count() })),
  'error-desc': optional(string()),
});

export const nicInfo = struct({
  name: string(),
  mac: string(),
  state: string(),
  link: boolean(),
  /** Which there are depends on the kind of device. */
  counters: anything(),
  drops: struct({ stopped: count(), 'no-descriptor': count(), malformed: count(), cable: count() }),
  'iommu-faults': struct({
    count: count(),
    last: list(struct({ source: count(), reason: count(), address: count(), write: boolean() })),
  }),
}) satisfies Shape<Omit<NicInfo, 'counters'>>;

const filterMode = oneOf('normal', 'all', 'none');

export const rxFilterInfo = struct({
  name: string(),
  promiscuous: boolean(),
  multicast: filterMode,
  unicast: filterMode,
  vlan: filterMode,
  'broadcast-allowed': boolean(),
  'multicast-overflow': boolean(),
  'unicast-overflow': boolean(),
  'main-mac': string(),
  'vlan-table': list(count()),
  'unicast-table': list(string()),
  'multicast-table': list(string()),
  'x-ferry-multicast-hashes': list(count()),
});

const range = struct({ base: count(), limit: count() });

const pciDevice: Shape<QmpPciDevice> = struct({
  bus: count(),
  slot: count(),
  function: count(),
  class_info: struct({ class: count(), desc: optional(string()) }),
  id: struct({
    device: count(),
    vendor: count(),
    subsystem: optional(count()),
    'subsystem-vendor': optional(count()),
  }),
  irq_pin: count(),
  qdev_id: string(),
  pci_bridge: optional(
    struct({
      bus: struct({
        number: count(),
        secondary: count(),
        subordinate: count(),
        io_range: range,
        memory_range: range,
        prefetchable_range: range,
      }),
      devices: optional(list(lazy(() => pciDevice))),
    }),
  ),
  regions: list(
    struct({
      bar: count(),
      type: oneOf('memory'),
      address: integer(-1, Number.MAX_SAFE_INTEGER),
      size: count(),
      prefetch: boolean(),
      mem_type_64: boolean(),
    }),
  ),
});

export const pciBus: Shape<QmpPciBus> = struct({ bus: count(), devices: list(pciDevice) });
