/** What machine this is, as managers made for QEMU ask before they do anything with it. */
import { VCPUS_MAX } from '../../base/abi/platform.js';
import { boolean, count, list, oneOf, string, struct } from './arguments.js';
import { command, NO_GUEST, NOTHING } from './command.js';

/** The vCPUs' architecture, where QEMU names one of its own. */
const TARGET = 'wasm32';

/** The only type of machine, by the name that the guest finds as its hypervisor's. */
const MACHINE = 'vf-ferry';

export const machineCommands = [
  command({
    name: 'query-cpus-fast',
    summary: 'The vCPUs and their threads.',
    arguments: NOTHING,
    returns: list(
      struct({ 'cpu-index': count(), 'qom-path': string(), 'thread-id': count(), target: oneOf(TARGET) }),
    ),
    run: ({ vm }) =>
      vm.cpus().map(({ index, threadId }) => ({
        'cpu-index': index,
        'qom-path': `/machine/unattached/device[${index}]`,
        'thread-id': threadId,
        target: TARGET,
      })),
  }),
  command({
    name: 'query-uuid',
    summary: "The guest's UUID: all zeros, since none is given to it.",
    arguments: NOTHING,
    returns: struct({ UUID: string() }),
    run: () => ({ UUID: '00000000-0000-0000-0000-000000000000' }),
  }),
  command({
    name: 'query-target',
    summary: 'What the vCPUs execute.',
    arguments: NOTHING,
    returns: struct({ arch: oneOf(TARGET) }),
    run: () => ({ arch: TARGET }),
  }),
  command({
    name: 'query-kvm',
    summary: 'Whether KVM is there and used: no, the vCPUs are threads of this process.',
    arguments: NOTHING,
    returns: struct({ enabled: boolean(), present: boolean() }),
    run: () => ({ enabled: false, present: false }),
  }),
  command({
    name: 'query-memory-size-summary',
    summary: "The guest's RAM in bytes; nothing can be plugged in beside it.",
    arguments: NOTHING,
    returns: struct({ 'base-memory': count() }),
    run: ({ vm }) => ({ 'base-memory': vm.memory().ramBytes }),
  }),
  command({
    name: 'query-machines',
    summary: 'The types of machine that there are: one.',
    arguments: NOTHING,
    returns: list(
      struct({
        name: string(),
        'is-default': boolean(),
        'cpu-max': count(),
        'hotpluggable-cpus': boolean(),
        'numa-mem-supported': boolean(),
        deprecated: boolean(),
        acpi: boolean(),
      }),
    ),
    run: () => [
      {
        name: MACHINE,
        'is-default': true,
        'cpu-max': VCPUS_MAX,
        'hotpluggable-cpus': false,
        'numa-mem-supported': false,
        deprecated: false,
        acpi: false,
      },
    ],
  }),
  command({
    name: 'system_powerdown',
    summary:
      'Presses the power button; SHUTDOWN tells when the guest has switched its machine off, if it does.',
    arguments: NOTHING,
    refused: NO_GUEST,
    run: ({ vm }) => vm.pressPowerButton(),
  }),
  command({
    name: 'query-current-machine',
    summary: 'What this machine can: it never sleeps, so that nothing has to wake it.',
    arguments: NOTHING,
    returns: struct({ 'wakeup-suspend-support': boolean() }),
    run: () => ({ 'wakeup-suspend-support': false }),
  }),
];
