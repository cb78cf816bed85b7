/** The guest agent: QEMU's protocol, whatever comes and however it is cut, and what it changes in the guest. */
import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { parseIpv4, parseMac } from '../../devices/ethernet/addresses.js';
import { SERIAL_PORTS } from '../../devices/serial/registers.js';
import { compileKernel } from './kernel-source.js';
import { GUEST_IP, NicMachine, PEER_IP } from './nic-machine.js';
import { MS, PlainMachine, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const BOOTED = 50 * MS;
const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
const textOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes);
const call = (execute: string, args?: object, id?: unknown): string =>
  `${JSON.stringify({ execute, ...(args && { arguments: args }), ...(id !== undefined && { id }) })}\n`;

/** The host's end of a port of a machine: sends in turn, as fast as the guest takes it, and hears all that comes. */
class Client {
  heard = '';
  readonly #port;
  #waiting = new Uint8Array(0);

  constructor(machine: PlainMachine, port = 0) {
    const name = SERIAL_PORTS[port]!;
    this.#port = machine.serial!.calls.get(name)!;
    const before = machine.serialChanged;
    machine.serialChanged = (changed) => {
      before(changed);
      if (changed === name) this.#turn();
    };
  }

  send(text: string): void {
    this.#waiting = Uint8Array.of(...this.#waiting, ...bytesOf(text));
    this.#turn();
  }

  #turn(): void {
    this.heard += textOf(this.#port.read());
    this.#waiting = this.#waiting.subarray(this.#port.write(this.#waiting));
  }

  get replies(): unknown[] {
    return this.heard
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line.replace(/^\xff/, '')));
  }
}

/** A guest without network is sent these, each when what came before has been dealt with. */
function converse(...sent: readonly string[]): Client {
  const machine = new PlainMachine(kernel, { serial: true });
  const client = new Client(machine);
  for (const [i, text] of sent.entries()) machine.at(BOOTED + i * MS, () => client.send(text));
  expect(machine.run(BOOTED + (sent.length + 20) * MS)).toBe('time');
  return client;
}

const failed = (desc: string, id?: unknown) => ({
  error: { class: 'GenericError', desc },
  ...(id !== undefined && { id }),
});

describe('the guest agent', () => {
  it('answers in the order in which it was asked, with the id that it was given', () => {
    const { replies } = converse(
      call('guest-ping'),
      call('guest-sync', { id: 17 }, 'a'),
      call('guest-sync', { id: -3 }, { deep: [1, null, 'x"y'] }),
      call('guest-get-time'),
    );
    expect(replies.slice(0, 3)).toEqual([
      { return: {} },
      { return: 17, id: 'a' },
      { return: -3, id: { deep: [1, null, 'x"y'] } },
    ]);
    const { return: time } = replies[3] as { return: number };
    expect(time / 1e18).toBeCloseTo(1.7);
  });

  it('tells all its commands, which are those that the documentation has', () => {
    const { replies } = converse(call('guest-info'));
    const { version, supported_commands: commands } = (
      replies[0] as { return: { version: string; supported_commands: { name: string }[] } }
    ).return;
    expect(version).toMatch(/^\d+\.\d+\.\d+$/);
    expect(commands).toContainEqual({ name: 'guest-ping', enabled: true, 'success-response': true });
    expect(commands).toContainEqual({ name: 'guest-shutdown', enabled: true, 'success-response': false });
    const names = commands.map(({ name }) => name);
    const page = readFileSync(new URL('../../docs/guest-agent.md', import.meta.url), 'utf8');
    expect([...page.matchAll(/^\| `(\S+)` \|/gm)].map(([, name]) => name)).toEqual(names);
    const others = names.filter((name) => name !== 'guest-shutdown');
    const asked = converse(...others.map((name) => call(name))).replies;
    expect(asked).toHaveLength(others.length);
    expect(asked.filter((reply) => JSON.stringify(reply).includes('CommandNotFound'))).toEqual([]);
  });

  it('answers the same however what it is sent is cut, and whatever stands between', () => {
    const sent = ` \r\n${call('guest-sync', { id: 1 })}\t{"execute"\n:\n"guest-\\u0070ing" }${call('guest-ping')}`;
    const whole = converse(sent).heard;
    expect(whole).toBe('{"return": 1}\n{"return": {}}\n{"return": {}}\n');
    expect(converse(...sent).heard).toBe(whole);
  });

  it('forgets with a byte FF whatever came before, and marks the reply to a delimited sync with one', () => {
    const half = '{"execute": "guest-ping", "arguments": {"left';
    const { heard } = converse(
      half,
      `\xff${call('guest-sync-delimited', { id: 12345678901 })}`,
      'stray',
      '\xff',
      call('guest-ping'),
    );
    expect(heard).toBe('\xff{"return": 12345678901}\n{"return": {}}\n');
  });

  it.each<[sent: string, desc: string]>([
    ['hello {"execute": "guest-ping"}\n', 'JSON parse error, no value begins here'],
    ['{"execute": "guest-ping\n', 'JSON parse error, no value begins here'],
    ['{"execute": guest-ping}\n', 'JSON parse error, malformed'],
    ['{"execute": "guest-ping",}\n', 'JSON parse error, malformed'],
    ['{"a": "\\x"}\n', 'JSON parse error, malformed'],
    ['{"a": 01}\n', 'JSON parse error, malformed'],
    ['{]\n', 'JSON parse error, malformed'],
    [`${'['.repeat(40)}${']'.repeat(40)}\n`, 'JSON parse error, malformed'],
    [`{"execute": "guest-ping", "id": "${'x'.repeat(9000)}{["}\n`, 'JSON parse error, more than 4096 bytes'],
    ['[1]\n', 'QMP input must be a JSON object'],
    ['{}\n', "QMP input lacks member 'execute'"],
    ['{"execute": 1}\n', "QMP input member 'execute' must be a string"],
    ['{"execute": "guest-ping", "arguments": 1}\n', "QMP input member 'arguments' must be an object"],
    ['{"execute": "guest-ping", "what": 1}\n', "QMP input member 'what' is unexpected"],
    [call('guest-ping', { now: true }), "Parameter 'now' is unexpected"],
    [call('guest-sync'), "Parameter 'id' is missing"],
    [call('guest-sync', { id: 'x' }), "Invalid parameter type for 'id', expected: integer"],
    [call('guest-sync', { id: 1.5 }), "Invalid parameter type for 'id', expected: integer"],
    [call('guest-sync-delimited', { id: null }), "Invalid parameter type for 'id', expected: integer"],
    [
      call('x-ferry-network-set-address', { iface: 3 }),
      "Invalid parameter type for 'iface', expected: string",
    ],
    [call('x-ferry-network-set-address', { iface: 'et"h' }), "Interface 'et\"h' has not been found"],
  ])('says what is wrong with %j, and goes on', (sent, desc) => {
    expect(converse(sent, call('guest-ping')).replies).toEqual([failed(desc), { return: {} }]);
  });

  it('says which command there is not, as printable text', () => {
    expect(converse(call('guest-f\u0001sfreeze\u00e9', undefined, 4)).replies).toEqual([
      { error: { class: 'CommandNotFound', desc: 'The command guest-f?sfreeze? has not been found' }, id: 4 },
    ]);
  });

  it('takes in whatever bytes there are, and answers what comes after them', () => {
    const random = seededRandom(4);
    const alphabet = '{}[]":,\\ \n0a\x00\x7f\xfe\xff';
    const noise = Array.from({ length: 20_000 }, () => alphabet[random.below(alphabet.length)]).join('');
    const { heard } = converse(noise, `\xff${call('guest-sync-delimited', { id: 99 })}`);
    expect(heard.endsWith('\xff{"return": 99}\n')).toBe(true);
  });

  it('loses nothing of its replies to a host that does not read, and reads no further meanwhile', () => {
    const machine = new PlainMachine(kernel, { serial: true });
    const port = machine.serial!.calls.get(SERIAL_PORTS[0])!;
    const asked = call('guest-info', undefined, 7);
    const count = 40;
    machine.at(BOOTED, () => expect(port.write(bytesOf(asked.repeat(count)))).toBe(asked.length * count));
    let heard = '';
    let most = 0;
    // So seldom that it always finds the port full.
    for (let i = 1; i < 100; i++) {
      machine.at(BOOTED + i * 10 * MS, () => {
        const bytes = port.read();
        most = Math.max(most, bytes.length);
        heard += textOf(bytes);
      });
    }
    machine.run(2 * SECOND);
    expect(most).toBe(4096);
    const lines = heard.split('\n').slice(0, -1);
    expect(lines).toHaveLength(count);
    expect(new Set(lines).size).toBe(1);
    expect(lines[0]!.length * count).toBeGreaterThan(2 * 4096);
  });

  it('serves its two ports each for itself', () => {
    const machine = new PlainMachine(kernel, { serial: true });
    const [one, other] = [new Client(machine, 0), new Client(machine, 1)];
    machine.at(BOOTED, () => {
      one.send('{"execute": "guest-sync", "argu');
      other.send(call('guest-sync', { id: 2 }));
    });
    machine.at(BOOTED + 5 * MS, () => one.send('ments": {"id": 1}}'));
    machine.run(BOOTED + 20 * MS);
    expect([one.heard, other.heard]).toEqual(['{"return": 1}\n', '{"return": 2}\n']);
  });

  it.each([
    [undefined, 'power-off'],
    ['powerdown', 'power-off'],
    ['halt', 'power-off'],
    ['reboot', 'reset'],
    ['dance', 'time'],
  ] as const)('shuts the guest down, which answers nothing (mode %s)', (mode, end) => {
    const machine = new PlainMachine(kernel, { serial: true });
    const client = new Client(machine);
    machine.at(BOOTED, () => client.send(call('guest-shutdown', mode && { mode })));
    expect(machine.run(BOOTED + 10 * MS)).toBe(end);
    expect(client.replies).toEqual(
      end === 'time' ? [failed("Parameter 'mode' does not accept value 'dance'")] : [],
    );
  });

  it('is not there with agent=off, nor without serial ports', () => {
    const off = new PlainMachine(kernel, { serial: true, commandLine: 'agent=off' });
    off.run(BOOTED);
    expect(off.serial!.calls.get(SERIAL_PORTS[0])!.isOpen()).toBe(false);
    expect(off.printed(/qga|Unknown kernel/)).toEqual([]);
    const none = new PlainMachine(kernel);
    expect(none.run(BOOTED)).toBe('time');
    expect(none.printed(/qga/)).toEqual([]);
  });
});

describe('of the network the agent', () => {
  const LINK = 200 * MS;
  const IP = '10.0.0.77';
  const MAC = '02:00:00:00:00:55';

  it('tells interfaces, routes and neighbours, and sets them', () => {
    const net = new NicMachine(kernel, {
      serial: true,
      commandLine: 'workload=udp-echo status_ms=60000 ip=10.0.0.2::10.0.0.9',
    });
    const { machine } = net;
    const client = new Client(machine);
    const ask = (at: number, ...calls: string[]) => machine.at(at, () => client.send(calls.join('')));
    const echo = (at: number, ip: number) =>
      machine.at(at, () => {
        net.peer.startFlow({ kind: 'echo', ip, port: 7, rate: 1000, payloadBytes: 100, count: 20 });
      });
    const look = [
      'guest-network-get-interfaces',
      'guest-network-get-route',
      'x-ferry-network-get-neighbours',
    ].map((name) => call(name));
    echo(LINK, GUEST_IP);
    ask(LINK + 100 * MS, ...look);
    ask(
      LINK + 110 * MS,
      call('x-ferry-network-set-address', { iface: 'eth0', 'ip-address': IP, prefix: 16 }),
      call('x-ferry-network-set-route', { iface: 'eth0', destination: '0.0.0.0', gateway: '10.0.1.1' }),
      call('x-ferry-network-set-neighbour', {
        iface: 'eth0',
        'ip-address': '10.0.2.2',
        'hardware-address': MAC,
      }),
      ...look,
    );
    echo(LINK + 120 * MS, parseIpv4(IP)!);
    ask(
      LINK + 200 * MS,
      call('x-ferry-network-set-address', { iface: 'eth0', 'ip-address': '10.0.0.300', prefix: 16 }),
      call('x-ferry-network-set-address', { iface: 'eth0', 'ip-address': '10.0.0.0', prefix: 24 }),
      call('x-ferry-network-set-address', { iface: 'eth0', 'ip-address': IP, prefix: 31 }),
      call('x-ferry-network-set-route', { iface: 'eth0', destination: '0.0.0.0', gateway: '11.0.0.1' }),
      call('x-ferry-network-set-route', { iface: 'eth0', destination: '11.0.0.0', gateway: '10.0.0.1' }),
      call('x-ferry-network-set-neighbour', {
        iface: 'eth0',
        'ip-address': '10.0.2.2',
        'hardware-address': 'ff:ff:ff:ff:ff:ff',
      }),
      call('x-ferry-network-set-neighbour', {
        iface: 'eth7',
        'ip-address': '10.0.2.2',
        'hardware-address': MAC,
      }),
    );
    machine.run(LINK + 300 * MS);

    const [before, routes, neighbours, ...rest] = client.replies as { return: Record<string, unknown>[] }[];
    const [eth0] = before!.return;
    expect(eth0).toMatchObject({
      name: 'eth0',
      'hardware-address': '52:54:00:00:00:01',
      'ip-addresses': [{ 'ip-address-type': 'ipv4', 'ip-address': '10.0.0.2', prefix: 24 }],
    });
    const counters = eth0!.statistics as Record<string, number>;
    expect(counters['rx-packets']).toBeGreaterThanOrEqual(20);
    expect(counters['tx-bytes']).toBeGreaterThan(2000);
    const route = { iface: 'eth0', metric: 0, mtu: 1500, version: 4 };
    const toLink = { ...route, destination: '10.0.0.0', mask: '255.255.255.0', gateway: '0.0.0.0', flags: 1 };
    const beyond = { ...route, destination: '0.0.0.0', mask: '0.0.0.0', gateway: '10.0.0.9', flags: 3 };
    expect(routes!.return).toEqual([beyond, toLink]);
    const peer = { iface: 'eth0', 'ip-address': '10.0.0.1', 'hardware-address': '02:00:00:00:00:99' };
    expect(neighbours!.return).toEqual([peer]);

    expect(rest.slice(0, 3)).toEqual([{ return: {} }, { return: {} }, { return: {} }]);
    expect(rest[3]!.return[0]).toMatchObject({ 'ip-addresses': [{ 'ip-address': IP, prefix: 16 }] });
    expect(rest[4]!.return).toEqual([
      { ...beyond, gateway: '10.0.1.1' },
      { ...toLink, mask: '255.255.0.0' },
    ]);
    expect(rest[5]!.return).toEqual([
      peer,
      { iface: 'eth0', 'ip-address': '10.0.2.2', 'hardware-address': MAC },
    ]);
    expect(rest.slice(6)).toEqual([
      failed("'10.0.0.300' is no IPv4 address"),
      failed('No host can have this address'),
      failed("Invalid parameter type for 'prefix', expected: integer"),
      failed('Gateway is not on the link'),
      failed('Only default routes are supported'),
      failed("'ff:ff:ff:ff:ff:ff' is no hardware address"),
      failed("Interface 'eth7' has not been found"),
    ]);
    // The guest answers at its new address, of which its link was told.
    expect(net.peer.report().map(({ arrived }) => arrived?.received)).toEqual([20, 20]);
  });

  it('sends what is for hosts beyond the link to the gateway', () => {
    const net = new NicMachine(kernel, {
      serial: true,
      commandLine: 'workload=udp-echo status_ms=60000',
    });
    const { machine } = net;
    const client = new Client(machine);
    net.keepFrames = true;
    const set = (execute: string, args: object) =>
      machine.at(LINK, () => client.send(call(execute, { iface: 'eth0', ...args })));
    // The peer is beyond a link that has the guest and its gateway alone.
    set('x-ferry-network-set-address', { 'ip-address': '10.0.0.6', prefix: 30 });
    set('x-ferry-network-set-neighbour', { 'ip-address': '10.0.0.5', 'hardware-address': MAC });
    set('x-ferry-network-set-route', { destination: '0.0.0.0', mask: '0.0.0.0', gateway: '10.0.0.5' });
    machine.at(LINK + 10 * MS, () => {
      net.peer.startFlow({
        kind: 'echo',
        ip: parseIpv4('10.0.0.6')!,
        port: 7,
        rate: 1000,
        payloadBytes: 100,
        count: 5,
      });
    });
    machine.run(LINK + 100 * MS);
    expect(client.replies).toEqual([{ return: {} }, { return: {} }, { return: {} }]);
    const toPeer = net.fromGuest.filter(
      (frame) =>
        frame[12] === 8 &&
        frame[13] === 0 &&
        new DataView(frame.buffer, frame.byteOffset).getUint32(30) === PEER_IP,
    );
    expect(toPeer).toHaveLength(5);
    for (const frame of toPeer) expect(Uint8Array.from(frame.subarray(0, 6))).toEqual(parseMac(MAC));
  });
});
