/** A real VMM whose guest loses its device at the monitor's word and gets it back. */
import { afterEach, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { QmpPciBus } from '../../vmm/monitor/query-pci.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const TIMES = 3;
const PROBED = /Intel\(R\) 82599 Virtual Function/;

/** As a client does it: a guest that still blinks, because it has just turned its slot on, is asked again. */
async function deviceDel(vmm: Vmm): Promise<void> {
  for (;;) {
    const refusal = await vmm.execute('device_del', { id: 'vf0' }).then(
      () => undefined,
      (error: Error) => error,
    );
    if (refusal === undefined) return;
    if (!/guest is busy \(power indicator blinking\)/.test(refusal.message)) throw refusal;
  }
}

/** Devices that `query-pci` has behind the first port. */
async function behindThePort(vmm: Vmm): Promise<unknown> {
  const [bus] = (await vmm.execute('query-pci')) as QmpPciBus[];
  const port = bus!.devices.find(({ qdev_id }) => qdev_id === 'root-port0');
  return port!.pci_bridge!.devices!.map(({ qdev_id }) => qdev_id);
}

describe('the device of a running VMM', () => {
  it('is taken out and put back at its monitor, three times over', async () => {
    const vmm = await spawnVmm({
      nic: 'vf,slot=quick',
      guest: KERNEL_IMAGE,
      memoryBytes: 64 * MIB,
      append: 'workload=idle',
    });
    cleanups.push(() => vmm.quit());
    await vmm.waitForConsole(/Run idle as workload/);
    for (let i = 0; i < TIMES; i++) {
      const deleted = vmm.waitFor('DEVICE_DELETED');
      deleted.catch(() => undefined);
      await deviceDel(vmm);
      expect((await deleted).data).toEqual({ device: 'vf0', path: '/machine/peripheral/vf0' });
      await expect(vmm.execute('device_del', { id: 'vf0' })).rejects.toThrow(/Device 'vf0' not found/);
      expect(await behindThePort(vmm)).toEqual([]);
      const after = vmm.console.length;
      await vmm.execute('device_add', { driver: 'vfio-pci', id: 'vf0' });
      await vmm.waitForConsole(PROBED, { after });
    }
    expect(vmm.console.filter(({ text }) => PROBED.test(text))).toHaveLength(1 + TIMES);
    expect(await behindThePort(vmm)).toEqual(['vf0']);
    const after = vmm.console.length;
    const error = { id: 'vf0', error: 'COMP_TIME' };
    expect(await vmm.execute('x-ferry-aer-inject', error)).toEqual({
      bus: 1,
      slot: 0,
      function: 0,
      severity: 'nonfatal',
      reported: true,
    });
    await vmm.waitForConsole(/AER: device recovery successful/, { after });
    expect(await vmm.runState()).toBe('running');
  }, 60_000);
});
