/** A command that only holds others. */
import type { Command } from 'commander';

/** Without a word behind it the group shows its help; one that names none of its commands is refused. */
export function asGroup(group: Command): void {
  group.allowExcessArguments(true).action(() => {
    const [word] = group.args;
    if (word === undefined) group.help();
    group.error(`unknown command '${word}'`);
  });
}
