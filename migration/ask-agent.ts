/** A command to the guest's agent, and what it returns, for as long as someone waits for it. */
import { toMilliseconds } from '../base/units.js';
import { migrationErrors } from './errors.js';
import type { RequestLimits } from './patience.js';
import type { AssignedDevice, GuestAgent } from './ports.js';

/**
 * Resolves with what the command returns, of which nothing is known. `device` has an agent. Rejects with `migration/agent-silent`
 * when the patience is over, or nobody waits any more, and with `migration/agent-refused` if it returns an error.
 */
export async function askAgent(
  { name, agent }: AssignedDevice,
  command: string,
  args: object,
  { patience, givenUp }: RequestLimits,
): Promise<unknown> {
  const end = Promise.race([patience.over, givenUp]);
  const reply = await (agent as GuestAgent).execute(command, args, end);
  if (reply === undefined) {
    const waitedMs = Math.round(toMilliseconds(patience.duration));
    throw migrationErrors.error('agent-silent', { device: name, command, waitedMs });
  }
  if ('error' in reply) {
    throw migrationErrors.error('agent-refused', {
      device: name,
      command,
      answer: `an error: ${reply.error.desc}`,
    });
  }
  return reply.return;
}
