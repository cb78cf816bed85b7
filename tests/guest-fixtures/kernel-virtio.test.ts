/** The guest's virtio_net over a virtio-net device, alone and beside a virtual function. */
import { beforeAll, describe, expect, it } from 'vitest';
import { compileKernel } from './kernel-source.js';
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
