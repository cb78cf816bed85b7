/** Devices that leave a guest which never moves, and come back, on a person's word. */
import { describe, expect, it } from 'vitest';
import { MIB, milliseconds, seconds } from '../../base/units.js';
import { awaitSlot, isOn } from '../../migration/await-slot.js';
import { HotPlug } from '../../vmm/process/hot-plug.js';
import { type Alone, echoingAlone } from './passthrough-world.js';

const RATE = 500;

/** A guest that echoes, and its devices in a person's hands. `left` resolves when the next device has left. */
function plugging(
  slot: 'ordinary' | 'quick',
  body: (world: Alone & { readonly hotPlug: HotPlug; left(): Promise<string> }) => Promise<void>,
  edus = 0,
): Promise<void> {
  return echoingAlone(
    (alone) => {
      let heard: (device: string) => void = () => undefined;
      const hotPlug = new HotPlug(alone.machine.devices, alone.scheduler, { deleted: (id) => heard(id) });
      const left = (): Promise<string> =>
        new Promise((resolve) => {
          heard = resolve;
        });
      return body({ ...alone, hotPlug, left });
    },
    64 * MIB,
    { nic: { slot, edus }, rate: RATE },
  );
}

describe('the device of a guest that never moves', () => {
  it('leaves and comes back a hundred times under traffic, and nothing of it is left behind', () =>
    plugging('quick', async ({ machine, scheduler, network, console, hotPlug, left }) => {
      const slot = machine.devices[0]!.slot!;
      const arrived = (): number => network.peer.report()[0]!.arrived!.received;
      // A neighbour that is asked for while the link is down is asked for again only after a second.
      while (arrived() === 0) await scheduler.sleep(milliseconds(1));
      for (let i = 0; i < 100; i++) {
        const leaving = left();
        await hotPlug.remove('vf0');
        expect(await leaving).toBe('vf0');
        await awaitSlot(slot, isOn, () => hotPlug.add('vf0', 'root-port0'));
        await scheduler.sleep(milliseconds(10));
      }
      await scheduler.sleep(milliseconds(1100));
      const flow = network.peer.report()[0]!.arrived!;
      expect(flow).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      expect(flow.received).toBeGreaterThan(100);
      expect(flow.silentNs / 1e6).toBeLessThan(50);
      expect(console.filter((line) => /NIC Link is Up/.test(line))).toHaveLength(101);
      expect(console.filter((line) => /DMA-API: (ixgbevf|.*memory)|BUG|out of/.test(line))).toEqual([]);
      const [nic] = await machine.nicReports();
      expect(nic!.faults.count).toBe(0);
      // Every packet that was lost was counted: by the host while it was away, and by the guest what was in its rings when it
      // went, under the name of an interface that has had a hundred devices since.
      network.peer.stopFlows();
      await scheduler.sleep(milliseconds(50));
      const line = console.findLast((text) => /eth0: \d+ received/.test(text))!;
      const dropped = Number(/(\d+) dropped/.exec(line)![1]);
      const byHost = nic!.drops.stopped + nic!.drops.noDescriptor;
      expect(byHost + dropped).toBeGreaterThanOrEqual(flow.lost);
      expect(byHost, 'some were in its rings').toBeLessThan(flow.lost);
      expect(nic!.drops.stopped).toBeGreaterThan(flow.received);
    }));

  it("is refused in QEMU's words what can not be", () =>
    plugging(
      'ordinary',
      async ({ machine, scheduler, hotPlug, left }) => {
        const slot = machine.devices[0]!.slot!;
        const notFound = { message: "Device 'vf0' not found", class: 'DeviceNotFound' };
        await expect(hotPlug.remove('vf7')).rejects.toMatchObject({
          message: "Device 'vf7' not found",
          class: 'DeviceNotFound',
        });
        await expect(hotPlug.add('vf7')).rejects.toThrow(/no device 'vf7' to add; its devices: vf0, edu0/);
        await expect(hotPlug.add('vf0')).rejects.toThrow("Duplicate device ID 'vf0'");
        const leaving = left();
        await hotPlug.remove('vf0');
        await expect(hotPlug.remove('vf0')).rejects.toThrow('Device vf0 is already in the process of unplug');
        await scheduler.sleep(seconds(5));
        await expect(hotPlug.remove('vf0')).rejects.toThrow('guest is busy (power indicator blinking)');
        expect(await leaving).toBe('vf0');
        await expect(hotPlug.remove('vf0')).rejects.toMatchObject(notFound);
        await expect(hotPlug.add('vf0', 'root-port7')).rejects.toThrow("Bus 'root-port7' not found");
        await awaitSlot(slot, isOn, () => hotPlug.add('vf0'));
        // One of another kind is where its own port is.
        await expect(hotPlug.add('edu0', 'root-port0')).rejects.toThrow("Bus 'root-port0' not found");
        await expect(hotPlug.add('edu0', 'edu-port0')).rejects.toThrow("Duplicate device ID 'edu0'");
      },
      1,
    ));
});
