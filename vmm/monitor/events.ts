/** Every event as introspection has it: its data, declared like the arguments of a command. */
import { boolean, count, list, oneOf, type Shape, string, struct } from './arguments.js';
import { MIGRATION_STATUSES, QMP_EVENT_NAMES, type QmpEvents, VFIO_DEVICE_STATES } from './protocol.js';

const NOTHING = struct({});

const device = struct({ 'device-id': string() });

const DATA: { readonly [E in keyof QmpEvents]: Shape<QmpEvents[E]> } = {
  STOP: NOTHING,
  RESUME: NOTHING,
  SHUTDOWN: struct({
    guest: boolean(),
    reason: oneOf('host-qmp-quit', 'host-signal', 'guest-shutdown', 'guest-reset'),
  }),
  POWERDOWN: NOTHING,
  GUEST_PANICKED: struct({
    action: oneOf('pause'),
    info: struct({ type: oneOf('ferry'), desc: string() }),
  }),
  MIGRATION: struct({ status: oneOf(...MIGRATION_STATUSES) }),
  MIGRATION_PASS: struct({ pass: count() }),
  FAILOVER_NEGOTIATED: device,
  UNPLUG_PRIMARY: device,
  NIC_RX_FILTER_CHANGED: struct({ name: string(), path: string() }),
  VFIO_MIGRATION: struct({
    'device-id': string(),
    'qom-path': string(),
    'device-state': oneOf(...VFIO_DEVICE_STATES),
  }),
  DEVICE_DELETED: struct({ device: string(), path: string() }),
  X_FERRY_CONSOLE: struct({ lines: list(string(), Infinity), dropped: count() }),
};

/** In the order of QMP_EVENT_NAMES. */
export const EVENTS = QMP_EVENT_NAMES.map((name) => ({ name, arguments: DATA[name] }));
