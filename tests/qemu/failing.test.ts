/** What becomes of a guest whose function fails, or is taken out, where it is. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type FabricProcess, spawnFabric } from '../../lab/fabric/spawn.js';
import { FUNCTION, GUEST_IP } from '../../lab/qemu/guest.js';
import { Pair, type Side, VF } from '../../lab/qemu/pair.js';
import { findWorld, type QemuWorld } from '../../lab/qemu/world.js';
import { answers, linked, quiet, STATION } from './world.js';

const found = findWorld();
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';

describe.skipIf(typeof found === 'string')(`a function that fails under its guest${why}`, () => {
  let fabric: FabricProcess;
  let pair: Pair;
  let side: Side;

  beforeAll(async () => {
    fabric = await spawnFabric({ peers: [`ip=${STATION}`] });
    pair = new Pair(found as QemuWorld, fabric.address);
    side = await pair.side();
    const { linux } = side;
    await linux.booted();
    await linux.kernelLog();
    await linux.sh(`modprobe ixgbevf; ip link set eth0 up; ip addr add ${GUEST_IP}/24 dev eth0`);
    await answers(linux, STATION);
    await quiet(linux);
  });
  afterAll(async () => {
    await pair?.close();
    await fabric?.quit();
  });

  it('is refused frames that its host does not grant, hears nothing then, and goes on when it went down and up', async () => {
    const { linux } = side;
    const refused = await linux.run('ip link set eth0 mtu 9000');
    expect(refused.status).not.toBe(0);
    expect(refused.output).toContain('Invalid argument');
    expect(await linux.sh('cat /sys/class/net/eth0/mtu')).toBe('1500');
    // As Linux's physical function has it: of a function whose frames it refuses it lets in none.
    expect((await linux.run(`ping -q -c 3 -i 0.2 -W 2 ${STATION}`)).status).not.toBe(0);
    await linux.sh('ip link set eth0 down && ip link set eth0 up');
    await linked(linux);
    await answers(linux, STATION);
    await quiet(linux, /Failed to set MTU at 9000/);
  });

  it('error-recovery: its driver starts over with it, and goes on', async () => {
    const { linux } = side;
    expect(await linux.humanCommand('pcie_aer_inject_error rp0 COMP_TIME')).toMatch(/^OK id: rp0 /);
    await linux.until('dmesg | grep -q "AER: device recovery successful"');
    await linked(linux);
    await answers(linux, STATION);
    await quiet(
      linux,
      /pcieport .*(AER: Uncorrectable|PCIe Bus Error|error status|CmpltTO|recovery successful)/,
    );
  });

  it('an error of the function itself is one that no guest of QEMU hears of', async () => {
    const { linux } = side;
    expect(await linux.humanCommand(`pcie_aer_inject_error ${VF} COMP_TIME`)).toMatch(/^OK id: vf0 /);
    await answers(linux, STATION);
    expect((await quiet(linux)).join('\n')).not.toContain('AER');
  });

  it('surprise: its driver notices that it is gone, its slot says nothing of it, and the guest goes on', async () => {
    const { linux, nic } = side;
    process.kill(nic.pid, 'SIGKILL');
    await linux.until('[ "$(cat /sys/class/net/eth0/carrier)" = 0 ]');
    const log = (await quiet(linux, /Adapter removed/)).join('\n');
    expect(log).toContain('ixgbevf 0000:01:00.0: Adapter removed');
    expect(await linux.sh('cat /sys/bus/pci/slots/1/power')).toBe('1');
    await linux.sh(`echo 1 >${FUNCTION}/remove; ! [ -e /sys/class/net/eth0 ]`);
    await quiet(linux);
  });
});

/** By the button, and by ACPI. When this fails, QEMU has been mended, and docs/real-linux.md may say so. */
describe.skipIf(typeof found === 'string')(`QEMU 11.1 ends when such a device is taken out${why}`, () => {
  it.each([
    ['its guest', false],
    ['ACPI', true],
  ])('of a slot of %s', async (_whose, acpiSlots) => {
    const fabric = await spawnFabric({ peers: [`ip=${STATION}`] });
    const pair = new Pair(found as QemuWorld, fabric.address, { acpiSlots });
    try {
      const { linux } = await pair.side();
      await linux.booted();
      await linux.sh('modprobe ixgbevf; ip link set eth0 up');
      await linked(linux);
      await linux.command('device_del', { id: VF });
      const { message } = await linux.ended;
      expect(message).toContain('memory_region_del_subregion: Assertion `subregion->container == mr');
    } finally {
      await pair.close();
      await fabric.quit();
    }
  });
});
