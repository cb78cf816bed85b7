import { beforeAll, describe, expect, it } from 'vitest';
import { buildArpRequest } from '../../devices/ethernet/datagram.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { compileKernel } from './kernel-source.js';
import { numbers, ping, pongs } from './net-frames.js';
import { GUEST_IP, NicMachine, PEER_IP, PEER_MAC, vfMac } from './nic-machine.js';
import { MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const SETTLED = 500 * MS;
const VFS = 8;

const start = (words: string, vfs = VFS): NicMachine =>
  new NicMachine(kernel, { vfs, commandLine: `status_ms=500 ${words}` });

const run = (net: NicMachine, until: number): NicMachine => {
  expect(net.machine.run(until)).toBe('time');
  expect(net.machine.printed(/DMA-API: (ixgbevf|.*out of memory)|panic/)).toEqual([]);
  return net;
};

const each = <T>(make: (i: number) => T, vfs = VFS): T[] => Array.from({ length: vfs }, (_, i) => make(i));

describe('several interfaces', () => {
  it('come up one for each device, with addresses in a row', () => {
    const { machine } = run(start('workload=idle'), SECOND);
    expect(machine.printed(/NIC Link is Up/).map((line) => /eth\d/.exec(line)![0])).toEqual(
      each((i) => `eth${i}`),
    );
    expect(machine.printed(/ipaddr=/).map((line) => line.trim().replace(/ mask=.*/, ''))).toEqual(
      each((i) => `device=eth${i}, hwaddr=52:54:00:00:00:0${1 + i}, ipaddr=10.0.0.${2 + i},`),
    );
  });

  it('have each what an ip= of their own says, and of two for the same one the last counts', () => {
    const words =
      'peer=10.0.0.9 ip=10.0.0.50 ip=10.1.0.1:10.1.0.2::255.255.0.0:guest:eth2:off ip=10.9.9.9:::::eth1 ' +
      'ip=10.2.0.1::::host:eth1 ip=10.3.0.1:::::eth5';
    const { machine } = run(start(`workload=idle ${words}`, 3), SECOND);
    expect(machine.printed(/ipaddr=/).map((line) => line.replace(/^.*ipaddr=/, ''))).toEqual([
      '10.0.0.50, mask=255.255.255.0, peer=10.0.0.9',
      '10.2.0.1, mask=255.255.255.0, peer=10.0.0.9',
      '10.1.0.1, mask=255.255.0.0, peer=10.1.0.2',
    ]);
    expect(machine.printed(/not found/)).toEqual(["IP-Config: Device `eth5' not found"]);
  });

  it.each([
    '10.0.0.300',
    '10.0.0.2:10.0.0:::',
    '10.0.0.2:::::eth8',
    '10.0.0.2:::::wlan0',
    '10.0.0.2:::255.0.255.0',
    '10.0.0.2:::255.255.255.255',
    '10.0.0.0',
    '10.0.0.255',
  ])('ip=%s stops the machine with a reason', (value) => {
    const { machine } = start(`workload=idle ip=${value}`, 1);
    expect(machine.run(SECOND)).toBe('panic');
    expect(machine.printed(/^Kernel panic/)[0]).toMatch(/Malformed kernel parameter: ip/);
  });

  it('answer ARP each for its own address alone, and pings each with its own', () => {
    const net = start('workload=idle');
    net.keepFrames = true;
    each((i) => {
      const ask = new FrameBuffer();
      buildArpRequest(ask, { mac: PEER_MAC, ip: PEER_IP }, GUEST_IP + i);
      net.machine.at(SETTLED + i * MS, () => net.toGuest(ask.bytes.slice(0, ask.length)));
      net.machine.at(SETTLED + (20 + i) * MS, () =>
        net.toGuest(ping(i, new Uint8Array(64), GUEST_IP + i, vfMac(i))),
      );
      // The next interface's address, at this one: somebody else's.
      net.machine.at(SETTLED + (40 + i) * MS, () =>
        net.toGuest(ping(99, new Uint8Array(64), GUEST_IP + ((i + 1) % VFS), vfMac(i))),
      );
    });
    run(net, 2 * SECOND);
    const replies = net.fromGuest.filter((frame) => frame[12] === 8 && frame[13] === 6 && frame[21] === 2);
    expect(replies.map((frame) => [...frame.subarray(22, 32)])).toEqual(
      each((i) => [...vfMac(i), 10, 0, 0, 2 + i]),
    );
    expect(pongs(net).map((frame) => [...frame.subarray(6, 12), ...frame.subarray(26, 30)])).toEqual(
      each((i) => [...vfMac(i), 10, 0, 0, 2 + i]),
    );
  });

  it('all echo UDP at once, and the guest counts for each and for all', () => {
    const net = start('workload=udp-echo');
    const count = 500;
    net.machine.at(SETTLED, () => {
      each((i) =>
        net.peer.startFlow({ kind: 'echo', ip: GUEST_IP + i, port: 7, rate: 1000, payloadBytes: 300, count }),
      );
    });
    run(net, 2.2 * SECOND);
    for (const report of net.peer.report()) {
      expect(report.arrived, report.remote).toMatchObject({ received: count, lost: 0, corrupt: 0 });
    }
    expect(numbers(net, /^udp-echo: \d/)[1]).toBe(VFS * count);
    const last = net.machine.printed(/^udp-echo: eth/).slice(-VFS);
    expect(last.map((line) => line.replace(/: \d+ packets\/s/, ''))).toEqual(
      each((i) => `udp-echo: eth${i}, ${count} echoed, 0 not sent`),
    );
  });

  it('stream each its own flow, and judge what comes back on each', () => {
    const net = start('workload=udp-stream rate=500 payload=200 peer_port=7', 3);
    // What goes back to eth1 is lost, every tenth: the others are not to blame.
    let seen = 0;
    let lost = 0;
    net.toGuestRule = (frame) => {
      if (frame.length < 200 || frame[5] !== vfMac(1)[5] || ++seen % 10 !== 0) return frame;
      lost++;
      return undefined;
    };
    run(net, 3.2 * SECOND);
    const linesOf = (i: number): number[] =>
      numbers(net, new RegExp(`^udp-stream: eth${i}: returned \\d+ p`));
    expect(each(linesOf, 3).map(([name, rate]) => ({ name, steady: rate! > 430 }))).toEqual(
      each((name) => ({ name, steady: true }), 3),
    );
    expect(each(linesOf, 3).map((line) => line[3]! > 0)).toEqual([false, true, false]);
    expect(lost).toBeGreaterThan(100);
    expect(numbers(net, /^udp-stream: returned \d+ p/)[2]).toBe(linesOf(1)[3]);
    expect(numbers(net, /^udp-stream: sent/)[0]).toBeGreaterThan(1450);
  });

  it('lose each its own neighbours with its link', () => {
    const net = start('workload=udp-stream rate=100', 2);
    net.keepFrames = true;
    const requests = (): number[] =>
      net.fromGuest
        .filter((frame) => frame[12] === 8 && frame[13] === 6 && frame[21] === 1)
        .map((frame) => frame[11]! - 1);
    net.machine.at(SECOND, () => {
      net.fromGuest.length = 0;
      net.driver.setPolicy(1, { linkEnabled: false });
    });
    net.machine.at(30 * SECOND, () => net.driver.setPolicy(1, { linkEnabled: true }));
    run(net, 50 * SECOND);
    expect(net.machine.printed(/eth1: NIC Link is Down/)).toHaveLength(1);
    expect(requests().length).toBeGreaterThan(0);
    expect(new Set(requests())).toEqual(new Set([1]));
  });
});
