/** The guest's virtio_net over a virtio-net device, alone and beside a virtual function. */
import { beforeAll, describe, expect, it } from 'vitest';
import { compileKernel } from './kernel-source.js';
import { ping, pongs } from './net-frames.js';
import { GUEST_IP, NicMachine, type NicMachineOptions } from './nic-machine.js';
import { MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const start = (words: string, options: NicMachineOptions = {}): NicMachine =>
  new NicMachine(kernel, { vfs: 0, virtio: true, ...options, commandLine: words });

const run = (net: NicMachine, until: number): NicMachine => {
  expect(net.machine.run(until)).toBe('time');
  expect(net.machine.printed(/DMA-API: (virtio|.*out of memory)|needs a reset|Failed/)).toEqual([]);
  return net;
};

describe('virtio_net', () => {
  it('finds its device, takes its address, and carries an echo both ways without losing a frame', () => {
    const net = start('workload=udp-echo status_ms=500');
    net.machine.at(100 * MS, () => {
      net.peer.startFlow({
        kind: 'echo',
        ip: GUEST_IP,
        port: 7,
        rate: 20_000,
        payloadBytes: 512,
        count: 20_000,
      });
    });
    run(net, 2 * SECOND);
    expect(net.machine.printed(/device=eth0/)).toEqual([
      expect.stringContaining('device=eth0, hwaddr=52:54:00:00:00:01, ipaddr=10.0.0.2'),
    ]);
    expect(net.peer.report().at(-1)!.arrived).toMatchObject({
      received: 20_000,
      lost: 0,
      corrupt: 0,
      reordered: 0,
    });
    expect(net.virtio!.drops).toEqual({ stopped: 0, noDescriptor: 0, malformed: 0 });
    expect(net.virtio!.transport.needsReset).toBe(false);
  });
});

describe.each(['asked for', 'a surprise'])('a virtio-net device whose removal is %s', (how) => {
  it('leaves nothing behind, and carries traffic again when it is back', () => {
    const net = start('workload=udp-echo status_ms=60000');
    const { virtioPort: port, virtio } = net;
    const echoes = (count: number) => () =>
      net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 300, count });
    const asked = how === 'asked for';
    const [gone, back] = asked ? [7.5 * SECOND, 8 * SECOND] : [SECOND, 3 * SECOND];
    net.machine.at(200 * MS, echoes(asked ? 9000 : 3000));
    if (asked) net.machine.at(SECOND, () => port.requestUnplug());
    net.machine.at(gone, () => {
      if (asked) expect(port.slotState.released).toBe(true);
      port.eject();
    });
    net.machine.at(back, () => port.plug(virtio!.transport, 'link'));
    net.machine.at(back + SECOND, echoes(500));
    run(net, back + 3 * SECOND);
    const [first, second] = net.peer.report();
    expect(first!.arrived!.received).toBeGreaterThan(700);
    expect(second!.arrived).toMatchObject({ received: 500, lost: 0, corrupt: 0 });
    expect(net.machine.printed(/device=eth0/)).toHaveLength(2);
    expect(net.machine.printed(/BUG|DMA-API: device driver has pending|No irq handler/)).toEqual([]);
    expect(virtio!.transport.needsReset).toBe(false);
  });
});

describe('net_failover', () => {
  /** A guest with a function and its standby, to which its slot's button is pressed, and which gets the function back. */
  function pair(until: number, acts: readonly (readonly [at: number, act: (net: NicMachine) => void])[]) {
    const net = start('workload=udp-echo status_ms=60000', { vfs: 1 });
    for (const [at, act] of acts) net.machine.at(at, () => act(net));
    return run(net, until);
  }
  const echoes = (count: number) => (net: NicMachine) =>
    net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 300, count });
  const lines = (net: NicMachine): string[] =>
    net.machine.printed(/failover/).map((line) => line.slice(line.indexOf('failover')));

  it('makes one interface of two with the same address, and that alone has an IP address', () => {
    const net = pair(SECOND, [[200 * MS, echoes(500)]]);
    expect(lines(net)).toEqual([
      'failover master:eth0 registered',
      'failover standby slave:eth1 registered',
      'failover primary slave:eth2 registered',
    ]);
    expect(net.machine.printed(/device=eth/)).toEqual([
      expect.stringContaining('device=eth0, hwaddr=52:54:00:00:00:01, ipaddr=10.0.0.2'),
    ]);
    expect(net.peer.report().at(-1)!.arrived).toMatchObject({ received: 500, lost: 0, duplicated: 0 });
    // The primary has carried all of it, and what both heard was taken once.
    expect(net.virtio!.counts.sent).toBe(0);
  });

  it('goes on by the standby when the primary is unplugged, and by the primary again when it is back, without a gap', () => {
    const net = pair(10 * SECOND, [
      [200 * MS, echoes(9500)],
      [SECOND, ({ port }) => port.requestUnplug()],
      [
        7.3 * SECOND,
        ({ port, virtio }) => {
          expect(port.slotState.released).toBe(true);
          port.eject();
          expect(virtio!.counts.sent).toBeGreaterThan(1000);
        },
      ],
      [8 * SECOND, ({ port, assigned }) => port.plug(assigned[0]!, 'link')],
    ]);
    expect(lines(net).slice(3)).toEqual([
      'failover primary slave:eth2 unregistered',
      'failover primary slave:eth2 registered',
    ]);
    const sent = net.virtio!.counts.sent;
    const { received, lost, duplicated, reordered, longestGapNs } = net.peer.report().at(-1)!.arrived!;
    expect({ duplicated, reordered }).toEqual({ duplicated: 0, reordered: 0 });
    expect(received + lost).toBe(9500);
    expect(lost).toBeLessThan(20);
    expect(longestGapNs).toBeLessThan(20 * MS);
    expect(sent).toBeLessThan(3000);
    // An address is kept, and nobody was asked for it again.
    expect(net.machine.printed(/device=eth/)).toHaveLength(1);
  });

  it('hears nothing on the standby while there is a primary, and everything when there is none', () => {
    const heard: number[] = [];
    const pingStandby = (net: NicMachine): void => {
      heard.push(pongs(net).length);
      const frame = ping(heard.length, new Uint8Array(20));
      net.virtio!.receive(frame, 0, frame.length);
    };
    const net = start('workload=idle', { vfs: 1 });
    net.keepFrames = true;
    // Once the peer is known.
    net.machine.at(200 * MS, () => net.toGuest(ping(0, new Uint8Array(20))));
    net.machine.at(300 * MS, () => pingStandby(net));
    net.machine.at(400 * MS, () => net.port.eject());
    net.machine.at(2 * SECOND, () => pingStandby(net));
    run(net, 3 * SECOND);
    expect([...heard, pongs(net).length]).toEqual([1, 1, 2]);
    expect(net.machine.printed(/primary slave:eth2 unregistered/)).toHaveLength(1);
  });

  it('leaves the standby alone where the primary has another address', () => {
    const net = start('workload=udp-echo status_ms=60000', { vfs: 1, vf: { mac: [0x52, 0x54, 0, 0, 0, 9] } });
    run(net, SECOND);
    expect(lines(net)).toEqual(['failover master:eth0 registered', 'failover standby slave:eth1 registered']);
    expect(net.machine.printed(/device=eth/)).toHaveLength(2);
  });
});
