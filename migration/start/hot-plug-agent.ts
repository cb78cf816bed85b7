/**
 * Hot-plug to a guest whose agent is asked, before its device goes, what the interface has, and to give it that again when there
 * is a device: the host keeps it meanwhile, and no kernel need know of it.
 */
import { ordinary } from '../approach.js';
import { askAgent } from '../ask-agent.js';
import { migrationErrors } from '../errors.js';
import { malformed } from '../frame.js';
import { NEVER, type RequestLimits } from '../patience.js';
import type { AssignedDevice, GuestAgent } from '../ports.js';
import { hotPlug } from './hot-plug.js';
import {
  decodeInterface,
  encodeInterface,
  gatewaysIn,
  interfaceIn,
  type KeptInterface,
  neighboursIn,
} from './kept-interface.js';
import { startByPlug } from './plug.js';
import type { StartDescriptor } from './start.js';

const NAME = 'hot-plug-agent';

export const hotPlugAgent: StartDescriptor = {
  ...ordinary,
  name: NAME,
  text: "the same as hot-plug, and the guest's agent gives the interface back the address, route and neighbours that it had",
  steps: [
    "before the guest is asked to let the device go, its agent tells what the device's interface has",
    'that travels with the migration, as the stream of the device',
    ...hotPlug.steps,
    "the agent is asked for the interface of the device's address, and sets address, default route and neighbours, in that order",
  ],
  use: 'After a hot-unplug, where the guest has an agent and a network core that keeps nothing; the address may be another.',
  limits:
    "Until the agent has done its work the interface has what the guest's own configuration gives it: four questions and their answers.",
  needs: ['slot', 'agent'],
  takes: hotPlug.takes,
  copesWith: hotPlug.copesWith,
  afterRun: true,
  problem: async ({ name, agent }) =>
    (await (agent as GuestAgent).listens()) ? undefined : `${name}: no agent in the guest listens`,
  remember: async (device, limits) => encodeInterface(await lookAt(device, limits)),
  make: (device) => {
    const plug = startByPlug(NAME, device);
    const pieces: Uint8Array[] = [];
    let kept: KeptInterface | undefined;
    const restore = (limits: RequestLimits): Promise<void> =>
      kept === undefined ? Promise.resolve() : giveBack(device, kept, limits);
    return {
      take: async (piece) => {
        pieces.push(piece);
      },
      // Nothing came of a guest whose agent did not tell.
      load: async () => {
        if (pieces.length === 0) return;
        if (pieces.length > 0)
          kept = decodeInterface(pieces, (problem) => malformed('device-data', 'data', problem));
      },
      afterRun: async (patience) => {
        await plug.afterRun!(patience);
        await restore({ patience, givenUp: NEVER });
      },
      restore: (patience) => restore({ patience, givenUp: NEVER }),
    };
  },
};

/** What an agent returns is of any kind; what is of no use is as if it had refused. */
const refusing =
  (device: AssignedDevice, command: string) =>
  (problem: string): Error =>
    migrationErrors.error('agent-refused', {
      device: device.name,
      command,
      answer: `what is of no use: ${problem}`,
    });

/** Has the agent tell what the device's interface has. */
async function lookAt(device: AssignedDevice, limits: RequestLimits): Promise<KeptInterface> {
  const { name, addresses } = await findInterface(device, limits);
  const tell = async <T>(
    command: string,
    read: (returned: unknown, iface: string, refuse: (problem: string) => Error) => T,
  ): Promise<T> => read(await askAgent(device, command, {}, limits), name, refusing(device, command));
  return {
    addresses,
    gateways: await tell('guest-network-get-route', gatewaysIn),
    neighbours: await tell('x-ferry-network-get-neighbours', neighboursIn),
  };
}

/** The interface of the device that is here now, under whatever name. */
async function findInterface(
  device: AssignedDevice,
  limits: RequestLimits,
): Promise<{ readonly name: string; readonly addresses: KeptInterface['addresses'] }> {
  const command = 'guest-network-get-interfaces';
  const { mac } = device.identity;
  const found = interfaceIn(await askAgent(device, command, {}, limits), mac, refusing(device, command));
  if (found === undefined) throw migrationErrors.error('no-interface', { device: device.name, mac });
  return found;
}

/** Routes need their address, and neighbours the link that it is on. What is there already is no error. */
async function giveBack(device: AssignedDevice, kept: KeptInterface, limits: RequestLimits): Promise<void> {
  const { name: iface } = await findInterface(device, limits);
  const set = (what: string, args: object): Promise<unknown> =>
    askAgent(device, `x-ferry-network-set-${what}`, { iface, ...args }, limits);
  for (const address of kept.addresses) await set('address', address);
  for (const gateway of kept.gateways)
    await set('route', { destination: '0.0.0.0', mask: '0.0.0.0', gateway });
  for (const neighbour of kept.neighbours) await set('neighbour', neighbour);
}
