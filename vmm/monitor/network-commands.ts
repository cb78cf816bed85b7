/** The guest's NICs: what is known of them, and what an administrator does to them as stations of a network. */
import type { AnnounceRhythm } from '../../devices/ethernet/announcer.js';
import type { RxFilter } from '../passthrough/network-control.js';
import { boolean, integer, list, optional, string, struct, type TypeOf } from './arguments.js';
import { command, NO_GUEST, NOTHING } from './command.js';
import { QmpError } from './protocol.js';
import { nicInfo, rxFilterInfo } from './returns.js';

/** QEMU's RxFilterInfo (qapi/net.json). Of groups the part knows hashes, where QEMU's devices know addresses. */
export const rxFilterOf = (filter: RxFilter): TypeOf<typeof rxFilterInfo> => ({
  name: filter.name,
  promiscuous: filter.promiscuous,
  multicast: filter.multicast,
  unicast: filter.unicast,
  vlan: filter.vlan,
  'broadcast-allowed': filter.broadcast,
  'multicast-overflow': false,
  'unicast-overflow': false,
  'main-mac': filter.mac ?? '00:00:00:00:00:00',
  'vlan-table': filter.vlans,
  'unicast-table': filter.addresses,
  'multicast-table': [],
  'x-ferry-multicast-hashes': filter.groupHashes,
});

/** QEMU's AnnounceParameters. */
export const announceArguments = struct({
  initial: integer(0, 100_000, 'a number of milliseconds'),
  max: integer(0, 100_000, 'a number of milliseconds'),
  rounds: integer(0, 1000, 'a number of rounds'),
  step: integer(0, 10_000, 'a number of milliseconds'),
  interfaces: optional(list(string(64))),
  id: optional(string(64)),
});

/** Has `network` announce its NICs as it was asked to. */
export const announced = <R>(
  network: { announce(rhythm: AnnounceRhythm, names?: readonly string[]): R } | undefined,
  { initial, max, rounds, step, interfaces, id }: TypeOf<typeof announceArguments>,
): R | undefined =>
  network?.announce(
    { initialMs: initial, pauseMsMax: max, rounds, stepMs: step, ...(id === undefined ? {} : { id }) },
    interfaces,
  );

const STILL = 'the guest stands still, and can be heard of only when it runs';

export const networkCommands = [
  command({
    name: 'x-ferry-query-nic',
    summary:
      "The guest's network devices, a list: name, address, link, device state, what each counted, what VT-d blocked.",
    arguments: NOTHING,
    returns: list(nicInfo),
    run: ({ vm }) => vm.nics(),
  }),
  command({
    name: 'query-rx-filter',
    summary:
      'Which frames each NIC lets in, or the one of that name, as its registers and its driver have it.',
    arguments: struct({ name: optional(string(64)) }),
    returns: list(rxFilterInfo),
    run: async ({ vm }, { name }) => {
      const asked = (await vm.network?.rxFilters(name)) ?? [];
      if (name !== undefined && asked.length === 0) throw new QmpError(`invalid net client name: ${name}`);
      return asked.map(rxFilterOf);
    },
  }),
  command({
    name: 'set_link',
    summary: "Takes a NIC's link away, or gives it back.",
    arguments: struct({ name: string(64), up: boolean() }),
    refused: NO_GUEST,
    run: async ({ vm }, { name, up }) => {
      if ((await vm.network?.setLink(name, up)) === true) return;
      throw new QmpError(`Device '${name}' not found`, 'DeviceNotFound');
    },
  }),
  command({
    name: 'announce-self',
    summary: "Has the guest's NICs tell the network where they are: all, or those of `interfaces`.",
    arguments: announceArguments,
    refused: { ...NO_GUEST, prelaunch: STILL, paused: STILL },
    run: ({ vm }, args) => announced(vm.network, args),
  }),
];
