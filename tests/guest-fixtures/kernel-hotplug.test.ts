import { beforeAll, describe, expect, it } from 'vitest';
import { compileKernel } from './kernel-source.js';
import { GUEST_IP, NicMachine, type NicMachineOptions } from './nic-machine.js';
import { MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel('kunit/main.ts');
});

/** Runs the suite and does the host's part when the guest asks for it, by the words that it prints. */
function run(options: NicMachineOptions = {}): { net: NicMachine; end: string } {
  const commandLine = 'kunit=hotplug pcie_ports=compat status_ms=60000';
  const net = new NicMachine(kernel, { ...options, commandLine });
  const [device, port] =
    net.virtio === undefined ? [net.assigned[0]!, net.port] : [net.virtio.transport, net.virtioPort];
  const flow = (rate: number, count: number): void => {
    net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate, payloadBytes: 400, count });
  };
  const actions: Record<string, () => void> = {
    traffic: () => flow(2000, 100_000),
    eject: () => port.eject(),
    populate: () => port.populate(device),
    count: () => flow(1000, 1000),
  };
  let heard = 0;
  const listen = (): void => {
    const words = net.machine.printed(/^host: /).map((line) => line.slice('host: '.length));
    for (; heard < words.length; heard++) actions[words[heard]!]!();
    net.machine.at(net.machine.now + 10 * MS, listen);
  };
  net.machine.at(0, listen);
  return { net, end: net.machine.run(120 * SECOND) };
}

describe('devices that come and go', () => {
  it('leave nothing behind, come back, and carry traffic again', () => {
    const { net, end } = run();
    const results = net.machine.printed(/^(not )?ok \d+ - /);
    expect(results.filter((line) => !line.startsWith('ok'))).toEqual([]);
    expect(results.length).toBeGreaterThan(15);
    expect(net.machine.printed(/^1\.\./)).toEqual([`1..${results.length}, 0 failed`]);
    expect(end).toBe('power-off');
    expect(net.machine.printed(/DMA-API: ixgbevf|BUG/)).toEqual([]);
    const last = net.peer.report().at(-1)!;
    expect(last.arrived).toMatchObject({ received: 1000, lost: 0, corrupt: 0 });
    expect(net.machine.printed(/AER/)).toEqual([
      'pcieport 0000:00:01.0: AER: device recovery successful',
      'pcieport 0000:00:01.0: AER: Root Port link has been reset (0)',
      'pcieport 0000:00:01.0: AER: device recovery successful',
      'pcieport 0000:00:01.0: AER: subordinate device reset failed',
      'pcieport 0000:00:01.0: AER: device recovery failed',
    ]);
  });

  it('do so as virtio-net devices as well, whose driver takes no part in recovery from errors', () => {
    const { net, end } = run({ vfs: 0, virtio: true });
    const results = net.machine.printed(/^(not )?ok \d+ - /);
    expect(results.filter((line) => !line.startsWith('ok'))).toEqual([]);
    expect(results.length).toBeGreaterThan(10);
    expect(end).toBe('power-off');
    expect(net.machine.printed(/DMA-API: virtio|BUG|AER/)).toEqual([]);
    expect(net.peer.report().at(-1)!.arrived).toMatchObject({ received: 1000, lost: 0, corrupt: 0 });
  });
});
