/** Introspection says what there is: managers look there before they use anything. */
import { describe, expect, it } from 'vitest';
import { notingVm } from '../../lab/fuzz/noting-vm.js';
import { COMMANDS, vmmCommands } from '../../vmm/monitor/commands.js';
import { QMP_EVENT_NAMES } from '../../vmm/monitor/protocol.js';
import { SchemaJudge } from './schema-judge.js';

function setUp() {
  const vm = notingVm();
  const commands = vmmCommands({ vm, version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' } });
  const ask = (execute: string, args: object = {}) => commands.run(execute, args, { mute: () => {} });
  return { vm, ask };
}

const judge = async (): Promise<SchemaJudge> => new SchemaJudge(await setUp().ask('query-qmp-schema'));

/**
 * What libvirt says to a QEMU that it has found, that it moves a guest away from, and that one comes to: those of its commands that
 * there are here, with the arguments that it gives them.
 */
const CAPABILITIES = ['xbzrle', 'auto-converge', 'rdma-pin-all', 'postcopy-ram', 'multifd', 'return-path'];
const LIBVIRT: Readonly<Record<string, readonly (readonly [string, object?])[]>> = {
  attaches: [
    ['query-version'],
    ['query-commands'],
    ['query-kvm'],
    ['query-target'],
    ['query-machines'],
    ['query-migrate-capabilities'],
    ['migrate-set-capabilities', { capabilities: [{ capability: 'events', state: true }] }],
    ['query-cpus-fast'],
    ['query-status'],
    ['query-current-machine'],
    ['query-memory-size-summary'],
    ['query-rx-filter', { name: 'vf0' }],
  ],
  'moves the guest away': [
    [
      'migrate-set-capabilities',
      {
        capabilities: CAPABILITIES.map((capability) => ({ capability, state: capability === 'return-path' })),
      },
    ],
    ['query-migrate-parameters'],
    [
      'migrate-set-parameters',
      { 'max-bandwidth': 9_223_372_036, 'downtime-limit': 300, 'tls-creds': '', 'tls-hostname': '' },
    ],
    ['migrate', { detach: true, uri: 'tcp:127.0.0.1:49152' }],
    ['query-migrate'],
    ['migrate_cancel'],
    ['cont'],
  ],
};

describe('query-qmp-schema', () => {
  it('has every command and every event, and no other', async () => {
    const said = await judge();
    expect(said.named('command')).toEqual(['qmp_capabilities', ...COMMANDS.map(({ name }) => name)]);
    expect(said.named('event')).toEqual([...QMP_EVENT_NAMES]);
    expect(said.outOfBand()).toEqual(COMMANDS.filter(({ oob }) => oob).map(({ name }) => name));
    expect(said.outOfBand()).toContain('migrate_cancel');
  });

  it('explains each type that it names, and names each once', async () => {
    const schema = (await setUp().ask('query-qmp-schema')) as readonly { readonly name: string }[];
    const known = new Set(schema.map(({ name }) => name));
    expect(known.size).toBe(schema.length);
    const used = [...JSON.stringify(schema).matchAll(/"(?:arg-type|ret-type|element-type|type)":"([^"]+)"/g)];
    expect(used.length).toBeGreaterThan(100);
    for (const [, name] of used) expect(known).toContain(name);
  });

  it('is right about what every query answers', async () => {
    const said = await judge();
    const { ask, vm } = setUp();
    vm.info = { status: 'completed', 'total-time': 5, vfio: { transferred: 1 }, 'socket-address': [] };
    vm.blocked = ['why'];
    for (const { name } of COMMANDS.filter((command) => /query-|x-ferry-help/.test(command.name))) {
      expect(said.answer(name, await ask(name)), name).toEqual([]);
    }
  });

  it('is taken at its word: what it does not have is found, in arguments, answers and events', async () => {
    const said = await judge();
    expect(said.answer('query-status', { status: 'running', running: true })).toEqual([]);
    expect(said.answer('query-status', { status: 'asleep', running: 1, more: 0 })).toEqual([
      'query-status.status is "asleep"',
      'query-status.running is no bool',
      'query-status.more is not in the schema',
    ]);
    expect(said.arguments('announce-self', { initial: 1, max: 2, rounds: 3 })).toEqual([
      'announce-self.step is missing',
    ]);
    expect(said.arguments('migrate-set-parameters', { 'tls-creds': null })).toEqual([]);
    expect(said.arguments('migrate-set-parameters', { 'tls-creds': 1 })).toHaveLength(1);
    expect(said.event('MIGRATION', { status: 'active' })).toEqual([]);
    expect(said.event('MIGRATION', {})).toEqual(['MIGRATION.status is missing']);
    const device = { bus: 1, slot: 0, function: 0, class_info: { class: 512 }, id: { device: 1, vendor: 2 } };
    const endpoint = { ...device, irq_pin: 0, qdev_id: 'vf0', regions: [] };
    const window = { base: 1, limit: 0 };
    const bus = { number: 0, secondary: 1, subordinate: 1, io_range: window, memory_range: window };
    const port = {
      ...endpoint,
      pci_bridge: { bus: { ...bus, prefetchable_range: window }, devices: [endpoint] },
    };
    expect(said.answer('query-pci', [{ bus: 0, devices: [port] }])).toEqual([]);
    const deep = { ...port, pci_bridge: { ...port.pci_bridge, devices: [{ ...endpoint, irq_pin: 'A' }] } };
    expect(said.answer('query-pci', [{ bus: 0, devices: [deep] }])).toHaveLength(1);
  });

  it.each(Object.entries(LIBVIRT))(
    'knows all that libvirt says when it %s, and it is done',
    async (_when, dialogue) => {
      const said = await judge();
      const { ask } = setUp();
      for (const [execute, args = {}] of dialogue) {
        expect(said.arguments(execute, args), execute).toEqual([]);
        expect(said.answer(execute, await ask(execute, args)), execute).toEqual([]);
      }
    },
  );
});
