/**
 * Every command of the monitor in one table: name, arguments, the run states that refuse it and why, what it does.
 * Names, arguments and results are QEMU's where QEMU has the command; ours carry the prefix `x-ferry-`.
 */

import { ERROR_NAMES } from '../../devices/pci/error-names.js';
import { parseSocketAddress, type SocketAddress } from '../sockets/address.js';
import { anything, boolean, count, integer, list, oneOf, optional, string, struct } from './arguments.js';
import {
  AWAITED,
  BROKEN,
  type Command,
  type CommandContext,
  command,
  MOVED,
  NO_GUEST,
  NOTHING,
  OFF,
  PANICKED,
  STANDSTILL,
  SWITCHING,
} from './command.js';
import { EVENTS } from './events.js';
import { machineCommands } from './machine-commands.js';
import { type MonitorClient, type MonitorCommands, negotiation } from './monitor.js';
import { networkCommands } from './network-commands.js';
import {
  capabilitiesOf,
  capabilityChanges,
  capabilityName,
  listCapabilities,
  listParameters,
  parameterChanges,
} from './parameters.js';
import { notFound, QMP_EVENT_NAMES, QmpError } from './protocol.js';
import { pciBuses } from './query-pci.js';
import { dirtyRateInfo, migrationInfo, migrationParameters, pciBus } from './returns.js';
import { RUN_STATES } from './run-state.js';
import { qmpSchema } from './schema.js';
import { yankCommands } from './yank-commands.js';

/** `channels` of `migrate`, the newer way to say where to: one main channel over a socket. */
const migrationChannels = list(
  struct({
    'channel-type': oneOf('main'),
    addr: struct({
      transport: oneOf('socket'),
      type: oneOf('inet', 'unix'),
      host: optional(string(255)),
      port: optional(string(5)),
      path: optional(string(107)),
    }),
  }),
  1,
);

function migrationTarget(args: {
  readonly uri?: string;
  readonly channels?: (typeof migrationChannels)['check'] extends (...a: never[]) => infer T ? T : never;
}): SocketAddress {
  if ((args.uri === undefined) === (args.channels === undefined)) {
    throw new QmpError("need either 'uri' or 'channels' argument");
  }
  if (args.uri !== undefined) return parseSocketAddress(args.uri);
  const addr = args.channels?.[0]?.addr;
  if (addr === undefined) throw new QmpError('Channel list must have only one entry, for the main channel');
  if (addr.type === 'unix') return parseSocketAddress(`unix:${addr.path ?? ''}`);
  // Alone an IPv6 host needs no brackets; that is also how `socket-address` shows it.
  const { host = '', port = '' } = addr;
  return parseSocketAddress(
    `tcp:${host.includes(':') && !host.startsWith('[') ? `[${host}]` : host}:${port}`,
  );
}

/** Each session answers it by itself. */
const NEGOTIATION = { name: 'qmp_capabilities', arguments: negotiation, returns: NOTHING, oob: false };

const names = list(struct({ name: string() }), Infinity);

const capability = struct({ capability: capabilityName, state: boolean() });

/** The commands of a client that has negotiated. */
export const COMMANDS: readonly Command[] = [
  command({
    name: 'query-version',
    summary: 'Version of this VMM.',
    arguments: NOTHING,
    returns: struct({
      qemu: struct({ major: count(), minor: count(), micro: count() }),
      package: string(),
    }),
    run: ({ version }) => version,
  }),
  command({
    name: 'query-commands',
    summary: 'Names of all commands.',
    arguments: NOTHING,
    returns: names,
    run: () => [{ name: NEGOTIATION.name }, ...COMMANDS.map(({ name }) => ({ name }))],
  }),
  command({
    name: 'x-ferry-help',
    summary: 'All commands with their arguments and what they do.',
    arguments: NOTHING,
    returns: list(struct({ name: string(), arguments: string(), summary: string() }), Infinity),
    run: () => COMMANDS.map((c) => ({ name: c.name, arguments: c.arguments.words, summary: c.summary })),
  }),
  command({
    name: 'query-events',
    summary: 'Names of all events.',
    arguments: NOTHING,
    returns: names,
    run: () => QMP_EVENT_NAMES.map((name) => ({ name })),
  }),
  command({
    name: 'query-qmp-schema',
    summary: 'All commands, events and types, for programs.',
    arguments: NOTHING,
    returns: list(anything(), Infinity),
    run: () => qmpSchema([NEGOTIATION, ...COMMANDS], EVENTS),
  }),
  command({
    name: 'x-ferry-mute-events',
    summary: 'Sends this client no events of the given names from now on, and all others.',
    arguments: struct({ events: list(oneOf(...QMP_EVENT_NAMES)) }),
    run: (_context, { events }, client) => client.mute(events),
  }),
  command({
    name: 'query-name',
    summary: "The guest's name, if it was given one.",
    arguments: NOTHING,
    returns: struct({ name: optional(string()) }),
    run: ({ vm }) => (vm.name === undefined ? {} : { name: vm.name }),
  }),
  command({
    name: 'query-status',
    summary: 'Whether the guest runs, and the run state.',
    arguments: NOTHING,
    returns: struct({ status: oneOf(...RUN_STATES), running: boolean() }),
    run: ({ vm }) => ({ status: vm.runState, running: vm.runState === 'running' }),
  }),
  ...machineCommands,
  command({
    name: 'stop',
    summary: 'Stops the guest; `cont` lets it go on.',
    arguments: NOTHING,
    refused: {
      'finish-migrate': SWITCHING,
      postmigrate: MOVED,
      'guest-panicked': PANICKED,
      shutdown: OFF,
      'internal-error': BROKEN,
    },
    run: ({ vm }) => vm.stop(),
  }),
  command({
    name: 'cont',
    summary: 'Lets the guest run, or, of a guest that is awaited, lets it run when it has come.',
    arguments: NOTHING,
    refused: {
      'finish-migrate': SWITCHING,
      postmigrate: MOVED,
      'guest-panicked': PANICKED,
      shutdown: OFF,
      'internal-error': BROKEN,
    },
    standstill: ['kept'],
    run: ({ vm }) => vm.cont(),
  }),
  command({
    name: 'quit',
    summary: 'Ends this VMM, and the guest if it is here.',
    arguments: NOTHING,
    oob: true,
    run: ({ vm }) => vm.quit(),
  }),
  command({
    name: 'migrate',
    summary: 'Starts to move the guest to the VMM that listens at `uri`; returns at once.',
    arguments: struct({
      uri: optional(string(255)),
      channels: optional(migrationChannels),
      detach: optional(boolean()),
    }),
    refused: NO_GUEST,
    run: ({ vm }, args) => vm.migrate(migrationTarget(args)),
  }),
  command({
    name: 'migrate-incoming',
    summary: 'Listens at `uri` for a guest: with --incoming defer, or after the guest moved away.',
    arguments: struct({
      uri: optional(string(255)),
      channels: optional(migrationChannels),
      'exit-on-error': optional(boolean()),
    }),
    refused: {
      prelaunch: 'this VMM has a guest of its own',
      running: 'this VMM has a guest of its own',
      paused: 'this VMM has a guest of its own',
      'finish-migrate': SWITCHING,
      'guest-panicked': PANICKED,
      shutdown: OFF,
      'internal-error': BROKEN,
    },
    run: ({ vm }, { uri, channels, 'exit-on-error': exitOnError }) =>
      vm.migrateIncoming(
        migrationTarget({ ...(uri && { uri }), ...(channels && { channels }) }),
        exitOnError,
      ),
  }),
  command({
    name: 'migrate_cancel',
    summary: 'Cancels the migration under way; the guest goes on here. Without one, does nothing.',
    arguments: NOTHING,
    oob: true,
    run: ({ vm }) => vm.migrateCancel(),
  }),
  command({
    name: 'x-ferry-reclaim',
    summary:
      'Takes back a guest whose commit was never acknowledged. Only after making sure that the other side does not run it!',
    arguments: NOTHING,
    refused: {
      prelaunch: 'the guest is here',
      running: 'the guest is here',
      paused: 'the guest is here',
      inmigrate: AWAITED,
      'finish-migrate': SWITCHING,
      postmigrate: MOVED,
      'guest-panicked': PANICKED,
      shutdown: OFF,
      'internal-error': BROKEN,
    },
    standstill: ['undecided'],
    run: ({ vm }) => vm.reclaim(),
  }),
  command({
    name: 'query-migrate',
    summary:
      'State and figures of the last migration, and what stands in the way of another; empty before the first.',
    arguments: NOTHING,
    returns: migrationInfo,
    run: async ({ vm }) => {
      const reasons = await vm.blockedReasons();
      return { ...vm.migration(), ...(reasons.length > 0 && { 'blocked-reasons': reasons }) };
    },
  }),
  command({
    name: 'migrate-set-parameters',
    summary: 'Sets limits of a migration, also of one under way; loads approaches that are modules.',
    arguments: parameterChanges,
    run: ({ vm }, changes) => vm.setParameters(changes),
  }),
  command({
    name: 'query-migrate-parameters',
    summary: 'The limits in force.',
    arguments: NOTHING,
    returns: migrationParameters,
    run: ({ vm }) => listParameters(vm.parameters.values),
  }),
  command({
    name: 'migrate-set-capabilities',
    summary: 'Switches abilities of a migration.',
    arguments: struct({
      capabilities: list(capability),
    }),
    run: ({ vm }, { capabilities }) => {
      const { events, ...parameters } = capabilityChanges(capabilities);
      vm.parameters.set(parameters);
      if (events !== undefined) vm.migrationEvents = events;
    },
  }),
  command({
    name: 'query-migrate-capabilities',
    summary: 'All abilities and whether they are on.',
    arguments: NOTHING,
    returns: list(capability),
    run: ({ vm }) => listCapabilities(capabilitiesOf(vm.migrationEvents, vm.parameters)),
  }),
  ...yankCommands,
  ...networkCommands,
  command({
    name: 'device_del',
    summary: 'Asks the guest to let a device go; DEVICE_DELETED tells when it has left its slot.',
    arguments: struct({ id: string(64) }),
    refused: NO_GUEST,
    run: ({ vm }, { id }) => vm.deviceDel(id),
  }),
  command({
    name: 'device_add',
    summary: 'Puts a device that `device_del` took out back into its slot.',
    arguments: struct({ driver: oneOf('vfio-pci'), id: string(64), bus: optional(string(64)) }),
    refused: NO_GUEST,
    run: ({ vm }, { id, bus }) => vm.deviceAdd(id, bus),
  }),
  command({
    name: 'calc-dirty-rate',
    summary:
      'Measures how fast guest and devices write memory: the tracking of `migrate-set-parameters` at work, without a migration.',
    arguments: struct({
      'calc-time': integer(1, 60_000, 'a time'),
      'calc-time-unit': optional(oneOf('second', 'millisecond')),
      mode: optional(oneOf('dirty-bitmap')),
      'x-ferry-period': optional(integer(1, 60_000, 'a number of milliseconds')),
    }),
    refused: NO_GUEST,
    run: (
      { vm },
      { 'calc-time': time, 'calc-time-unit': unit = 'second', 'x-ferry-period': periodMs = 100 },
    ) => vm.calcDirtyRate({ durationMs: unit === 'second' ? time * 1000 : time, periodMs }),
  }),
  command({
    name: 'query-dirty-rate',
    summary: 'What `calc-dirty-rate` has found.',
    arguments: struct({ 'calc-time-unit': optional(oneOf('second', 'millisecond')) }),
    returns: dirtyRateInfo,
    run: ({ vm }, { 'calc-time-unit': unit = 'second' }) => {
      const info = vm.dirtyRate;
      const time = info['calc-time'];
      return {
        ...info,
        'calc-time': unit === 'second' ? Math.round(time / 1000) : time,
        'calc-time-unit': unit,
      };
    },
  }),
  command({
    name: 'query-pci',
    summary: 'The PCI functions that the guest sees, bus by bus: places, ids, BARs, bridges.',
    arguments: NOTHING,
    returns: list(pciBus),
    run: async ({ vm }) => pciBuses(await vm.pci()),
  }),
  command({
    name: 'x-ferry-aer-inject',
    summary: 'Has an assigned device report an error, by the names of `pcie_aer_inject_error`.',
    arguments: struct({ id: string(64), error: oneOf(...ERROR_NAMES) }),
    returns: struct({
      bus: count(),
      slot: count(),
      function: count(),
      severity: oneOf('correctable', 'nonfatal', 'fatal'),
      reported: boolean(),
    }),
    refused: NO_GUEST,
    run: ({ vm }, { id, error }) => vm.injectError(id, error),
  }),
  command({
    name: 'x-ferry-pci-dump',
    summary: 'Writes the configuration space of all PCI functions to a file that `lspci -F` reads.',
    arguments: struct({ path: string() }),
    run: ({ vm }, { path }) => vm.dumpPci(path),
  }),
  command({
    name: 'x-ferry-query-record',
    summary:
      'The complete record of the last migration; `record` is null before the first. Its timeline if asked for.',
    arguments: struct({ timeline: optional(boolean()) }),
    returns: struct({ record: anything() }),
    run: ({ vm }, { timeline }) => {
      const record = vm.migrationRecord();
      return { record: record === undefined || timeline ? (record ?? null) : { ...record, timeline: [] } };
    },
  }),
  command({
    name: 'x-ferry-query-memory',
    summary: "Guest RAM and this process's memory, in bytes.",
    arguments: NOTHING,
    returns: struct({
      'ram-bytes': count(),
      'migrated-pages': count(),
      'page-size': count(),
      'resident-bytes': count(),
      'resident-bytes-max': count(),
    }),
    run: ({ vm }) => {
      const memory = vm.memory();
      return {
        'ram-bytes': memory.ramBytes,
        'migrated-pages': memory.migratedPages,
        'page-size': memory.pageBytes,
        'resident-bytes': memory.residentBytes,
        'resident-bytes-max': memory.residentBytesMax,
      };
    },
  }),
  command({
    name: 'x-ferry-console-tail',
    summary: 'The last lines of the console.',
    arguments: struct({ lines: optional(integer(1, 1000, 'a number of lines')) }),
    returns: struct({ lines: list(string(), Infinity) }),
    run: ({ vm }, { lines }) => ({ lines: vm.consoleTail(lines ?? 20) }),
  }),
];

/** Answers one command; what it throws is a QmpError or a FerryError, or a defect of ours. */
async function runCommand(
  context: CommandContext,
  found: Command,
  args: unknown,
  client: MonitorClient,
): Promise<unknown> {
  const checked = found.arguments.check(args, '');
  const { runState: state, standstill } = context.vm;
  const refused = found.refused[state];
  const reason = refused === undefined || standstill === undefined ? refused : STANDSTILL[standstill];
  if (reason !== undefined && !(standstill !== undefined && found.standstill.includes(standstill))) {
    throw new QmpError(`The command '${found.name}' isn't permitted in '${state}' state: ${reason}`);
  }
  return (await found.run(context, checked, client)) ?? {};
}

/** The commands of a VMM, as its monitor runs them. */
export const vmmCommands = (context: CommandContext): MonitorCommands => ({
  version: context.version,
  capabilities: ['oob'],
  run: (execute, args, client, outOfBand = false) => {
    const found = COMMANDS.find(({ name }) => name === execute);
    if (found === undefined) throw notFound(execute);
    if (outOfBand && !found.oob) throw new QmpError(`The command ${found.name} does not support OOB`);
    return runCommand(context, found, args, client);
  },
});
