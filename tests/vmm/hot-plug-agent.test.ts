/**
 * A guest that is moved without its device, whose agent is asked what the interface has and gives it that again: the kernel with
 * its agent, the serial port, the slot, the NIC and both flows of the migration, all of it real but time.
 */
import { describe, expect, it } from 'vitest';
import { NEVER } from '../../migration/patience.js';
import type { GuestAgent, GuestChannel } from '../../migration/ports.js';
import type { Machine } from '../../vmm/machine/machine.js';
import { moveUnderTraffic, type TrafficScene } from './passthrough-world.js';

const MAC = '02:00:00:00:00:55';

async function ask(machine: Machine, command: string, args = {}): Promise<Record<string, unknown>[]> {
  const reply = await machine.devices[0]!.agent!.execute(command, args, NEVER);
  if (reply === undefined || !('return' in reply)) throw new Error(`${command}: ${JSON.stringify(reply)}`);
  return reply.return as Record<string, unknown>[];
}

/** Another address than the command line has, a gateway and a neighbour that nobody has heard of. */
async function configure(machine: Machine): Promise<void> {
  const set = (what: string, args: object) =>
    ask(machine, `x-ferry-network-set-${what}`, { iface: 'eth0', ...args });
  await set('address', { 'ip-address': '10.0.0.77', prefix: 16 });
  await set('route', { destination: '0.0.0.0', gateway: '10.0.1.1' });
  await set('neighbour', { 'ip-address': '10.0.2.2', 'hardware-address': MAC });
}

const CONFIGURED = { address: '10.0.0.77/16', gateways: ['10.0.1.1'], knows: true };
const AS_BOOTED = { address: '10.0.0.2/24', gateways: [], knows: false };

async function look(machine: Machine): Promise<unknown> {
  const [eth0] = await ask(machine, 'guest-network-get-interfaces');
  const [address] = eth0!['ip-addresses'] as Record<string, unknown>[];
  const routes = await ask(machine, 'guest-network-get-route');
  const neighbours = await ask(machine, 'x-ferry-network-get-neighbours');
  return {
    address: `${address!['ip-address']}/${address!.prefix}`,
    gateways: routes.map(({ gateway }) => gateway).filter((gateway) => gateway !== '0.0.0.0'),
    knows: neighbours.some((one) => one['hardware-address'] === MAC),
  };
}

async function move(scene: TrafficScene) {
  let found: unknown;
  const result = await moveUnderTraffic({
    rate: 500,
    afterwardsMs: 200,
    nic: { slot: 'quick' },
    before: configure,
    after: async (machine) => {
      found = await look(machine);
    },
    ...scene,
    commandLine: `status_ms=1000 ${scene.commandLine ?? ''}`,
  });
  return { ...result, found };
}

describe('an interface whose device comes back', () => {
  it.each([
    ['hot-unplug-quick', 'hot-plug-agent', CONFIGURED],
    ['surprise', 'hot-plug-agent', CONFIGURED],
    // The interface is the standby's as well, and does not go: it is found by its address all the same.
    ['failover', 'hot-plug-agent', CONFIGURED],
    // The same by the network core, and what is left without either.
    ['surprise', 'hot-plug-restore', CONFIGURED],
    ['hot-unplug-quick', 'hot-plug', AS_BOOTED],
  ] as const)('after %s has with %s what it should', async (stop, start, expected) => {
    const { source, destination, found, console } = await move({
      parameters: { stop, start },
      ...(stop === 'failover' && { virtio: 'standby' }),
    });
    expect(source.error).toBeUndefined();
    expect([source.afterwards, destination.afterwards]).toEqual([undefined, undefined]);
    expect(source.approaches).toMatchObject({ stop, start });
    const asked = source.timeline.filter(({ what }) => what === 'execute');
    expect(asked).toHaveLength(start === 'hot-plug-agent' ? 3 : 0);
    expect(found).toEqual(expected);
    expect(console.filter((line) => /DMA-API: ixgbevf|BUG/.test(line))).toEqual([]);
  });

  it.each([
    ['hot-plug-agent', CONFIGURED],
    ['hot-plug', AS_BOOTED],
  ] as const)(
    'at a source that has taken its guest back has with %s what it should',
    async (start, expected) => {
      const { source, found } = await move({
        destinationNic: { slot: 'ordinary' },
        parameters: { stop: 'hot-unplug-quick', start },
      });
      expect([source.status, source.guest, source.afterwards]).toEqual(['failed', 'here', undefined]);
      expect(source.devices[0]!.takenBack).toBe('was unplugged, and is plugged in again');
      expect(found).toEqual(expected);
    },
  );

  const withoutAnswer = (stop: string, start = 'hot-plug-agent') =>
    moveUnderTraffic({
      rate: 500,
      nic: { slot: 'quick' },
      before: async ({ devices }) => {
        const execute: GuestAgent['execute'] = async (_command, _args, end) => end.then(() => undefined);
        const { guest } = devices[0]!;
        // Nor does its network core keep anything.
        const features = async (): Promise<readonly string[]> =>
          (await guest!.features()).filter((feature) => feature !== 'keep');
        const channel: GuestChannel = {
          features,
          request: (word, args) => guest!.request(word, args),
          onMessage: (listener) => guest!.onMessage(listener),
        };
        Object.assign(devices[0]!, { agent: { listens: async () => true, execute }, guest: channel });
      },
      afterwardsMs: 200,
      parameters: { stop, start, requestTimeoutMs: 600 },
    });

  it('is left as it is where an agent listens and does not answer: the migration ends when there is no patience left', async () => {
    const { source, destination, console } = await withoutAnswer('hot-unplug-quick');
    expect(source.error).toMatchObject({ code: 'migration/agent-silent', facts: { waitedMs: 600 } });
    expect([source.guest, destination.status]).toEqual(['here', 'failed']);
    expect(source.timeline.filter(({ what }) => what === 'takeOutWhenOff')).toEqual([]);
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(1);
  });

  it.each([
    ['and the stop needs nobody', 'surprise', 'hot-plug-agent'],
    ['and the start was left to choose', 'hot-unplug-quick', 'auto'],
  ])('is as the guest sets it up where no agent answered, %s: the record says so', async (_, stop, start) => {
    const { source, destination, console } = await withoutAnswer(stop, start);
    expect(source.approaches).toMatchObject({ stop, start: 'hot-plug-agent' });
    expect([source.error, destination.afterwards]).toEqual([undefined, undefined]);
    expect([source.guest, destination.status]).toEqual(['there', 'completed']);
    expect(source.devices[0]!.unprepared).toMatch(/agent, asked about vf0, did not answer/);
    expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(2);
  });

  it('is asked about only where an agent listens; a migration is refused before anything is sent elsewhere', async () => {
    const { source } = await moveUnderTraffic({
      rate: 500,
      commandLine: 'agent=off',
      parameters: { stop: 'hot-unplug-quick', start: 'hot-plug-agent' },
    });
    expect(source.error).toMatchObject({
      code: 'migration/approach',
      message: expect.stringMatching(/vf0: no agent in the guest listens; .*start = .*hot-plug/),
    });
    expect([source.guest, source.transferred.pages]).toEqual(['here', 0]);
  });
});
