/** What an operator of a simulated migration asks of the monitors, for each fault that is an operator's. */
import { ERROR_NAMES } from '../../devices/pci/error-names.js';
import { assignedName } from '../../vmm/passthrough/records.js';
import type { Fault, FaultKind, MonitorCall } from './fault.js';
import type { Side } from './link.js';

/** The source as others reach it. */
export const MIGRATE: MonitorCall = {
  side: 'source',
  command: 'migrate',
  arguments: { uri: 'tcp:127.0.0.1:4444' },
};

const DEVICE = assignedName(0);

const at = (side: Side, command: string, args: object = {}): MonitorCall => ({
  side,
  command,
  arguments: args,
});

const STEPS: { readonly [K in FaultKind]?: (amount: number) => readonly MonitorCall[] } = {
  cancel: () => [at('source', 'migrate_cancel')],
  stop: () => [at('source', 'stop')],
  cont: () => [at('source', 'cont')],
  'stop-destination': () => [at('destination', 'stop')],
  'cont-destination': () => [at('destination', 'cont')],
  'migrate-again': () => [MIGRATE],
  unplug: () => [at('source', 'device_del', { id: DEVICE })],
  replug: () => [at('source', 'device_add', { driver: 'vfio-pci', id: DEVICE })],
  'inject-error': (which) => [
    at('source', 'x-ferry-aer-inject', { id: DEVICE, error: ERROR_NAMES[which % ERROR_NAMES.length]! }),
  ],
  'dirty-rate': () => [
    at('source', 'calc-dirty-rate', { 'calc-time': 5, 'calc-time-unit': 'millisecond', 'x-ferry-period': 1 }),
  ],
};

/** One after the other; none of what is not asked of a monitor. */
export const stepsOf = ({ kind, amount, call }: Fault): readonly MonitorCall[] =>
  call === undefined ? (STEPS[kind]?.(amount) ?? []) : [call];
