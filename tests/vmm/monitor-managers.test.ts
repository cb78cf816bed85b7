/** What managers made for QEMU say to a VMM before and while they move a guest, against the monitor. */
import { describe, expect, it } from 'vitest';
import { VCPUS_MAX } from '../../base/abi/platform.js';
import { notingVm } from '../../lab/fuzz/noting-vm.js';
import { vmmCommands } from '../../vmm/monitor/commands.js';
import { FIXED_PARAMETERS } from '../../vmm/monitor/fixed-parameters.js';

function setUp() {
  const vm = notingVm();
  const commands = vmmCommands({ vm, version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' } });
  const client = { mute: (): void => {} };
  const ask = (execute: string, args: object = {}) => commands.run(execute, args, client);
  const inForce = async () => (await ask('query-migrate-parameters')) as Readonly<Record<string, unknown>>;
  return { vm, ask, inForce };
}

/** A value of the same type that asks for something else. */
const OTHERWISE = { string: 'other', number: 7, boolean: true } as const;

describe("the monitor, for QEMU's managers", () => {
  it('takes back in one call all the parameters that it lists', async () => {
    const { ask, inForce, vm } = setUp();
    const listed = await inForce();
    expect(listed).toMatchObject({
      'announce-initial': 50,
      'announce-max': 550,
      'announce-rounds': 5,
      'announce-step': 100,
      'tls-creds': '',
      mode: 'normal',
      'multifd-compression': 'none',
      'zero-page-detection': 'multifd',
    });
    await ask('migrate-set-parameters', { ...listed, 'downtime-limit': 123, 'tls-creds': null });
    expect(vm.parameters.values.downtimeLimitMs).toBe(123);
    expect(await inForce()).toEqual({ ...listed, 'downtime-limit': 123 });
  });

  it.each(Object.entries(FIXED_PARAMETERS))(
    'refuses %s with any other value, says why, and sets nothing of that call',
    async (name, { value, why }) => {
      const { ask, inForce } = setUp();
      const before = await inForce();
      const other = OTHERWISE[typeof value as keyof typeof OTHERWISE];
      const set = (given: unknown) => ask('migrate-set-parameters', { 'downtime-limit': 1, [name]: given });
      await expect(set(other)).rejects.toThrow(new RegExp(`^Parameter '${name}' is .* refused: ${why}$`));
      await expect(set([])).rejects.toThrow(`Invalid parameter type for '${name}', expected: `);
      await expect(set(null)).rejects.toThrow('Invalid parameter type');
      expect(await inForce()).toEqual(before);
    },
  );

  it('has a return path always, which may be asked for and not done without', async () => {
    const { ask, vm } = setUp();
    const set = (state: boolean) =>
      ask('migrate-set-capabilities', {
        capabilities: [
          { capability: 'events', state: true },
          { capability: 'return-path', state },
        ],
      });
    await expect(set(false)).rejects.toThrow(/^Capability 'return-path' is always on here/);
    expect(vm.migrationEvents).toBe(false);
    await set(true);
    expect(vm.migrationEvents).toBe(true);
    expect(await ask('query-migrate-capabilities')).toContainEqual({
      capability: 'return-path',
      state: true,
    });
  });

  it('needs either a uri or channels, and neither both nor none', async () => {
    const { ask, vm } = setUp();
    const addr = { transport: 'socket', type: 'unix', path: '/run/x' };
    const channels = [{ 'channel-type': 'main', addr }];
    const wrong = "need either 'uri' or 'channels' argument";
    await expect(ask('migrate', {})).rejects.toThrow(wrong);
    await expect(ask('migrate', { uri: 'unix:/run/x', channels })).rejects.toThrow(wrong);
    await expect(ask('migrate', { channels: [] })).rejects.toThrow('Channel list must have only one entry');
    vm.runState = 'inmigrate';
    await expect(ask('migrate-incoming', {})).rejects.toThrow(wrong);
    await expect(ask('migrate-incoming', { uri: 'unix:/run/x', channels })).rejects.toThrow(wrong);
    expect(vm.calls).toEqual([]);
  });

  it('tells what machine this is, in the shapes of QEMU', async () => {
    const { ask, vm } = setUp();
    expect(await ask('query-uuid')).toEqual({ UUID: '00000000-0000-0000-0000-000000000000' });
    expect(await ask('query-kvm')).toEqual({ enabled: false, present: false });
    expect(await ask('query-memory-size-summary')).toEqual({ 'base-memory': vm.memory().ramBytes });
    const [cpu] = (await ask('query-cpus-fast')) as readonly { readonly target: string }[];
    expect(await ask('query-target')).toEqual({ arch: cpu?.target });
    const machines = await ask('query-machines');
    expect(machines).toEqual([expect.objectContaining({ 'is-default': true, 'cpu-max': VCPUS_MAX })]);
    expect(await ask('query-current-machine')).toEqual({ 'wakeup-suspend-support': false });
  });

  it('tells what a NIC lets in as QEMU does, of all or of one', async () => {
    const { ask } = setUp();
    const info = {
      name: 'vf0',
      promiscuous: false,
      multicast: 'normal',
      unicast: 'normal',
      vlan: 'normal',
      'broadcast-allowed': true,
      'multicast-overflow': false,
      'unicast-overflow': false,
      'main-mac': '52:00:00:00:00:01',
      'vlan-table': [7],
      'unicast-table': [],
      'multicast-table': [],
      'x-ferry-multicast-hashes': [0x123],
    };
    expect(await ask('query-rx-filter')).toEqual([info]);
    expect(await ask('query-rx-filter', { name: 'vf0' })).toEqual([info]);
    await expect(ask('query-rx-filter', { name: 'vf1' })).rejects.toThrow('invalid net client name: vf1');
  });

  it('takes links away by name, and refuses a name that there is not as QEMU does', async () => {
    const { ask, vm } = setUp();
    await ask('set_link', { name: 'vf0', up: false });
    await expect(ask('set_link', { name: 'vf1', up: false })).rejects.toMatchObject({
      class: 'DeviceNotFound',
      message: "Device 'vf1' not found",
    });
    expect(vm.calls).toEqual([
      ['setLink', 'vf0', false],
      ['setLink', 'vf1', false],
    ]);
  });

  it('announces in the rhythm that it is given, but no guest that stands still or is not here', async () => {
    const { ask, vm } = setUp();
    const rhythm = { initial: 50, max: 550, rounds: 5, step: 50 };
    await ask('announce-self', rhythm);
    await ask('announce-self', { ...rhythm, interfaces: ['vf0'] });
    const meant = { initialMs: 50, pauseMsMax: 550, rounds: 5, stepMs: 50 };
    const calls = [
      ['announce', meant, undefined],
      ['announce', meant, ['vf0']],
    ];
    expect(vm.calls).toEqual(calls);
    for (const state of ['prelaunch', 'paused', 'postmigrate', 'inmigrate'] as const) {
      vm.runState = state;
      await expect(ask('announce-self', rhythm)).rejects.toThrow(`isn't permitted in '${state}' state`);
    }
    expect(vm.calls).toEqual(calls);
  });
});
