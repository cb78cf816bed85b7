/** The start that asks the guest's agent: what it makes of answers, whatever these are, and in which order it sets what was kept. */
import { describe, expect, it } from 'vitest';
import { milliseconds } from '../../base/units.js';
import { NEVER, type RequestLimits } from '../../migration/patience.js';
import type { AgentReply, AssignedDevice } from '../../migration/ports.js';
import { hotPlugAgent } from '../../migration/start/hot-plug-agent.js';

const OURS = '52:54:00:12:34:56';
const OTHER = '52:54:00:00:00:01';
const patience = { duration: milliseconds(100), over: NEVER };
const LIMITS: RequestLimits = { patience, givenUp: NEVER };

const address = { 'ip-address-type': 'ipv4', 'ip-address': '10.0.0.7', prefix: 24 };
const GUEST: Readonly<Record<string, unknown>> = {
  'guest-network-get-interfaces': [
    { name: 'lo' },
    { name: 'eth1', 'hardware-address': OURS },
    {
      name: 'eth0',
      'hardware-address': OURS.toUpperCase(),
      'ip-addresses': [{ 'ip-address-type': 'ipv6', 'ip-address': 'fe80::1', prefix: 64 }, address],
      statistics: {},
    },
    { name: 'eth3', 'hardware-address': OURS },
    { name: 'eth2', 'hardware-address': OTHER, 'ip-addresses': [address] },
  ],
  'guest-network-get-route': [
    { iface: 'eth0', destination: '10.0.0.0', gateway: '0.0.0.0', mask: '255.255.255.0' },
    { iface: 'eth0', destination: '0.0.0.0', gateway: '10.0.0.1' },
    { iface: 'eth2', destination: '0.0.0.0', gateway: '10.9.0.1' },
    { iface: 'eth0', destination: '::', version: 6 },
  ],
  'x-ferry-network-get-neighbours': [
    { iface: 'eth0', 'ip-address': '10.0.0.1', 'hardware-address': '02:00:00:00:00:99' },
    { iface: 'eth2', 'ip-address': '10.9.0.1', 'hardware-address': '02:00:00:00:00:98' },
  ],
};

/** A device whose guest has an agent that answers by `answers`, and with `{}` where that says nothing. */
function deviceOf(answers: Readonly<Record<string, unknown>>, mac = OURS) {
  const asked: (readonly [command: string, args: object])[] = [];
  const device: AssignedDevice = {
    name: 'vf0',
    identity: { kind: '8086:10ed', revision: 1, vectors: 3, queues: 2, mac },
    agent: {
      listens: async () => true,
      execute: async (command, args): Promise<AgentReply> => {
        asked.push([command, args]);
        const answer = answers[command];
        return answer instanceof Error
          ? { error: { class: 'GenericError', desc: answer.message } }
          : { return: answer ?? {} };
      },
    },
  };
  return { device, asked };
}

const remember = (answers: Readonly<Record<string, unknown>>) =>
  hotPlugAgent.remember!(deviceOf(answers).device, LIMITS);

/** What is set at a device with that address, of what was remembered of another. */
async function given(pieces: readonly Uint8Array[], mac = OTHER, answers = GUEST) {
  const { device, asked } = deviceOf(answers, mac);
  const start = hotPlugAgent.make({ ...device, slot: {} as never });
  for (const piece of pieces) await start.take!(piece);
  await start.load!();
  await start.restore!(patience);
  return asked.slice(1);
}

describe('what the interface of a device has', () => {
  it('is told by the agent, and set at the interface that the other device has: address, route, neighbours', async () => {
    const known = await remember(GUEST);
    const iface = 'eth2';
    expect(await given([known.subarray(0, 10), known.subarray(10)])).toEqual([
      ['x-ferry-network-set-address', { iface, 'ip-address': '10.0.0.7', prefix: 24 }],
      ['x-ferry-network-set-route', { iface, destination: '0.0.0.0', mask: '0.0.0.0', gateway: '10.0.0.1' }],
      [
        'x-ferry-network-set-neighbour',
        { iface, 'ip-address': '10.0.0.1', 'hardware-address': '02:00:00:00:00:99' },
      ],
    ]);
  });

  it('is nothing where it has nothing', async () => {
    const nothing = { 'guest-network-get-route': [], 'x-ferry-network-get-neighbours': [] };
    const bare = [{ name: 'eth0', 'hardware-address': OURS }];
    expect(await given([await remember({ ...nothing, 'guest-network-get-interfaces': bare })])).toEqual([]);
  });

  it.each<[what: string, answers: Record<string, unknown>, code: string, words: RegExp]>([
    [
      'an error',
      { 'guest-network-get-route': new Error('frozen') },
      'agent-refused',
      /get-route .*error: frozen/,
    ],
    ['no list', { 'guest-network-get-interfaces': 7 }, 'agent-refused', /get-interfaces .*: Expected Array/],
    [
      'names of any kind',
      { 'guest-network-get-interfaces': [{ name: '\u001b[2J', 'hardware-address': OURS }] },
      'agent-refused',
      /0\.name: /,
    ],
    [
      'no such interface',
      { 'guest-network-get-interfaces': [] },
      'no-interface',
      /no interface of vf0, .*:34:56/,
    ],
    [
      'more than anybody has',
      { 'x-ferry-network-get-neighbours': Array.from({ length: 300 }, () => ({})) },
      'agent-refused',
      /neighbours/,
    ],
  ])('is not known where the agent returns %s', async (_, answers, code, words) => {
    await expect(remember({ ...GUEST, ...answers })).rejects.toMatchObject({
      code: `migration/${code}`,
      message: expect.stringMatching(words),
    });
  });

  it('is left as it is where the guest was asked in vain, and the stream is empty', async () => {
    expect(await given([])).toEqual([]);
  });

  it('is waited for as long as there is patience, and no longer', async () => {
    const { device } = deviceOf({});
    const silent = {
      ...device,
      agent: {
        ...device.agent!,
        execute: async (_c: string, _a: object, end: Promise<void>) => end.then(() => undefined),
      },
    };
    const over = { patience: { ...patience, over: Promise.resolve() }, givenUp: NEVER };
    await expect(hotPlugAgent.remember!(silent, over)).rejects.toMatchObject({
      code: 'migration/agent-silent',
      message: expect.stringMatching(/did not answer guest-network-get-interfaces within 100 ms/),
    });
  });

  it.each([
    ['{"addresses": []}'],
    ['{"addresses": [], "gateways": [], "neighbours": [{"ip-address": "10.0.0.1"}]}'],
    ['{"addresses": [], "gateways": [5], "neighbours": []}'],
    ['[]'],
    ['null'],
    ['{'],
  ])('is refused of a peer that sends %j', async (text) => {
    const piece = Uint8Array.from(text, (character) => character.charCodeAt(0));
    await expect(given([piece])).rejects.toMatchObject({ code: 'migration/malformed-message' });
  });

  it('is noted as not given back where the agent refuses it', async () => {
    const answers = { ...GUEST, 'x-ferry-network-set-route': new Error('Gateway is not on the link') };
    await expect(given([await remember(GUEST)], OTHER, answers)).rejects.toMatchObject({
      code: 'migration/agent-refused',
      message: expect.stringMatching(/set-route with an error: Gateway is not on the link/),
    });
  });
});
