/** `yank` and `query-yank`, in QEMU's words. */
import { describe, expect, it } from 'vitest';
import { notingVm } from '../../lab/fuzz/noting-vm.js';
import { vmmCommands } from '../../vmm/monitor/commands.js';
import { giveAway, running, settled, sourceRecord, TARGET } from './controller-world.js';
import { SchemaJudge } from './schema-judge.js';

const client = { mute: () => {} } as never;
const commands = (vm = notingVm()) => {
  const { run } = vmmCommands({
    vm,
    version: { qemu: { major: 0, minor: 1, micro: 0 }, package: 'test' },
  });
  return (name: string, args: unknown = {}): Promise<unknown> =>
    Promise.resolve().then(() => run(name, args, client));
};

describe('the arguments of yank', () => {
  it('are instances as QEMU has them', async () => {
    const vm = notingVm();
    const instances = [{ type: 'migration' }, { type: 'chardev', id: 'agent' }];
    expect(await commands(vm)('yank', { instances })).toEqual({});
    expect(vm.calls).toEqual([['yank', instances]]);
  });

  it.each([
    [{ type: 'nothing' }, "Parameter 'instances[0].type' does not accept value 'nothing'"],
    [{}, "Parameter 'instances[0].type' is missing"],
    [{ type: 'chardev' }, "Parameter 'instances[0].id' is missing"],
    [{ type: 'migration', id: 'x' }, "Parameter 'instances[0].id' is unexpected"],
    [{ type: 'chardev', id: 'x', 'node-name': 'y' }, "Parameter 'instances[0].node-name' is unexpected"],
    [7, "Invalid parameter type for 'instances[0]', expected: object"],
  ])('are refused: %j', async (instance, words) => {
    await expect(commands()('yank', { instances: [instance] })).rejects.toThrow(words);
  });

  it('and the answer of query-yank are what introspection says', async () => {
    const run = commands();
    const judge = new SchemaJudge(await run('query-qmp-schema'));
    const instances = await run('query-yank');
    expect(instances).toEqual([{ type: 'migration' }, { type: 'chardev', id: 'agent' }]);
    expect(judge.answer('query-yank', instances)).toEqual([]);
    expect(judge.arguments('yank', { instances })).toEqual([]);
    expect(judge.arguments('yank', { instances: [{ type: 'migration', id: 'x' }] })).not.toEqual([]);
    expect(judge.arguments('yank', { instances: [{ type: 'chardev' }] })).not.toEqual([]);
    expect(judge.outOfBand()).toEqual(expect.arrayContaining(['yank', 'query-yank']));
  });
});

describe('a VMM', () => {
  const AGENT = { type: 'chardev', id: 'agent' } as const;
  const MIGRATION = { type: 'migration' } as const;

  it('has a migration to cut while one is under way', async () => {
    const { controller, state, log } = await running();
    expect(controller.yankInstances).toEqual([AGENT]);
    let end = (): void => {};
    state.leave = () =>
      new Promise((resolve) => {
        end = () => resolve(sourceRecord('failed'));
      });
    controller.migrate(TARGET);
    expect(controller.yankInstances).toEqual([MIGRATION, AGENT]);
    controller.yank([MIGRATION]);
    expect(log).toEqual(['links cut']);
    end();
    await settled(() => controller.yankInstances.length === 1);
  });

  it('cuts nothing if one of what it is to cut is not there', async () => {
    const { controller, log } = await running();
    for (const missing of [MIGRATION, { type: 'block-node', 'node-name': 'disk' }] as const) {
      expect(() => controller.yank([AGENT, missing])).toThrow(
        expect.objectContaining({ class: 'DeviceNotFound', message: 'Instance not found' }),
      );
    }
    expect(() => controller.yank([{ type: 'chardev', id: 'other' }])).toThrow('Instance not found');
    expect(log).toEqual([]);
    controller.yank([AGENT]);
    expect(log).toEqual(['agent hung up']);
  });

  it('waits for a guest: that is a migration, too', async () => {
    const { controller, state } = await running();
    state.leave = giveAway;
    controller.migrate(TARGET);
    await settled(() => controller.runState === 'postmigrate');
    await controller.migrateIncoming(TARGET);
    expect(controller.yankInstances).toEqual([MIGRATION, AGENT]);
    await controller.destroy();
  });
});
