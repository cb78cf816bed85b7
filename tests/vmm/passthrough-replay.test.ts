/**
 * A device that was never saved by VFIO, put back from what its host had read out: with its registers it goes on at once, as
 * after a reset its driver finds it, and sets it up by itself.
 */
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { milliseconds } from '../../base/units.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { enumerate } from '../../devices/pci/enumerate.js';
import { RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { FunctionReplay } from '../../vmm/passthrough/replay.js';
import { bytesOf, ethernet, PEER, vfMac } from '../devices/frames.js';
import { BAR_RANGE } from '../devices/machine.js';
import { guestAt, host } from '../devices/vf-host.js';
import { moveUnderTraffic, RATE } from './passthrough-world.js';

const move = (start: string, scene: Parameters<typeof moveUnderTraffic>[0] = {}) =>
  moveUnderTraffic({ ...scene, parameters: { stop: 'surprise', start, ...scene.parameters } });

const FRAME = ethernet(vfMac(0), PEER, bytesOf(100));
const LAST_PASS_SKIPPED = [{ site: 'migration/last-pass-skipped' }] as const;

describe('registers that are written into another device', () => {
  it('have it go on at once: no packet twice, those lost are as many as came while it was away', async () => {
    const { source, destination, flow, nic, console } = await move('state-replay');
    expect([source.error, destination.afterwards, source.afterwards]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(source.devices[0]).toMatchObject({ preCopyBytes: 0, problem: undefined });
    expect(source.devices[0]!.blackoutBytes).toBeGreaterThan(0);
    const { arrived } = flow;
    expect(arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(arrived!.longestGapNs).toBeLessThan(milliseconds(25));
    expect(arrived!.lost).toBeLessThanOrEqual((arrived!.longestGapNs / 1e9) * RATE + 40);
    // And flows to the end.
    expect(flow.sent - arrived!.received).toBeLessThan(25 * (RATE / 1000) + 40);
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    // The driver has noticed nothing: its link never went.
    expect(console.filter((line) => /NIC Link is/.test(line))).toHaveLength(1);
    expect(console.filter((line) => /Adapter removed|Reset adapter|AER: Unc/.test(line))).toEqual([]);
  });

  it('have it go on at the source, too, when the move comes to nothing', async () => {
    const { source, flow, nic, console } = await move('state-replay', {
      faults: new FaultPlan(LAST_PASS_SKIPPED),
    });
    expect(source).toMatchObject({ status: 'failed', guest: 'here' });
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(flow.sent - flow.arrived!.received).toBeLessThan(40 * (RATE / 1000));
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    expect(console.filter((line) => /NIC Link is/.test(line))).toHaveLength(1);
  });
});

/** A function with its driver at work, in a port of its guest's. */
function assignedFunction() {
  const machine = host();
  const vf = machine.vf(0);
  const assigned = assignVf('vf0', vf, { route: (_vector, message) => message });
  const complex = new RootComplex(machine.memory, machine.memory);
  const port = new RootPort('port', { number: 1, surprise: true });
  complex.addPort(8, port);
  port.populate(assigned);
  enumerate(complex, BAR_RANGE);
  const driver = guestAt(machine);
  // The function's own bus master follows what its guest sees.
  assigned.fn.refresh();
  const arrive = (): void => machine.nic.receiveBytes(FRAME, 0, FRAME.length);
  return { vf, assigned, driver, arrive, replay: new FunctionReplay(vf, assigned, () => undefined) };
}

describe('a function that is put back', () => {
  it('writes nothing before it is released, and then where the other would have', () => {
    const { vf, assigned, driver, arrive, replay } = assignedFunction();
    arrive();
    expect(driver.receive()!.data).toEqual(FRAME);
    replay.remember();
    assigned.fn.reset('function');
    replay.putBack('registers');
    arrive();
    expect([driver.read(reg.RDH), driver.peek()]).toEqual([1, undefined]);
    expect(vf.pool.drops.noDescriptor).toBe(1);
    replay.release();
    arrive();
    expect([driver.read(reg.RDH), driver.receive()?.data]).toEqual([2, FRAME]);
  });

  it('is refused by name when what was read out is not whole, or of another version', () => {
    const { replay } = assignedFunction();
    replay.remember();
    const record = replay.readOut();
    const putBack = (bytes: Uint8Array) => () => {
      replay.take(bytes);
      replay.putBack('registers');
    };
    for (const other of [Uint8Array.of(9, ...record.subarray(1)), record.subarray(0, 0)]) {
      expect(putBack(other)).toThrow(
        /^the saved state of vf0 has version [90]; this release reads version 1$/,
      );
    }
    for (const length of [1, 2, 100, record.length - 1]) {
      expect(putBack(record.subarray(0, length)), `${length} bytes`).toThrow(
        /^the saved state of .* does not fit this machine: /,
      );
    }
    expect(putBack(record)).not.toThrow();
  });
});

describe('a device at its place, as after reset', () => {
  it('is found so by its driver, which sets it up again: the same interface and address', async () => {
    const { source, destination, flow, nic, console } = await move('reset', {
      rate: 100,
      afterwardsMs: 10_500,
    });
    expect([source.error, destination.afterwards, source.afterwards]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
    expect(source.devices[0]).toMatchObject({ preCopyBytes: 0, problem: undefined });
    expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
    expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
    expect(console.filter((line) => /NIC Link is|Reset adapter|Adapter removed|AER: Unc/.test(line))).toEqual(
      [
        expect.stringMatching(/eth0: NIC Link is Up 10 Gbps$/),
        // By the interrupts that it is sent, long before it would look by itself, after two seconds.
        expect.stringMatching(/^\[ +0\..*eth0: NIC Link is Down$/),
        expect.stringMatching(/Reset adapter$/),
        expect.stringMatching(/eth0: NIC Link is Up 10 Gbps$/),
      ],
    );
    // As soon as it may reset again, and to the end.
    expect(flow.arrived!.longestGapNs).toBeLessThan(milliseconds(10_100));
    expect(flow.arrived!.received).toBeGreaterThan(40);
    expect(flow.sent - flow.arrived!.received).toBeLessThan(10.1 * 100);
  });
});
