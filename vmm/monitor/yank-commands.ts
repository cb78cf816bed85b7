/** Connections that hang, cut from outside: QEMU's `yank`, for when the other end no longer reads, or answers. */
import { list, type Shape, string, struct, union } from './arguments.js';
import { command, NOTHING } from './command.js';
import type { YankInstance } from './control.js';

const instance: Shape<YankInstance> = union('type', {
  'block-node': { 'node-name': string() },
  chardev: { id: string() },
  migration: {},
});

export const yankCommands = [
  command({
    name: 'yank',
    summary: 'Cuts connections that hang: all of these instances, or none if one is not there.',
    arguments: struct({ instances: list(instance) }),
    oob: true,
    run: ({ vm }, { instances }) => vm.yank(instances),
  }),
  command({
    name: 'query-yank',
    summary: 'What `yank` can cut now.',
    arguments: NOTHING,
    returns: list(instance, Infinity),
    oob: true,
    run: ({ vm }) => vm.yankInstances,
  }),
];
