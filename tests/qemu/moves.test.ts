/** What becomes of the function and its guest when QEMU moves a Linux, or the function fails: rows of the table in docs/real-linux.md. */
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { findWorld, type QemuWorld } from '../../lab/qemu/world.js';
import { echoes, GUEST_IP, Pair, type Side } from './pair.js';
import { answers, linked, quiet, STATION } from './world.js';

const found = findWorld();
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';
const world = found as QemuWorld;

const MASTER =
  "$(for d in /sys/class/net/*; do d=$(basename $d); ethtool -i $d 2>/dev/null | grep -q '^driver: net_failover' && echo $d; done)";
const FUNCTION = '/sys/bus/pci/devices/0000:01:00.0';
/** The interface behind the function is at work. */
const PRIMARY = `[ "$(cat ${FUNCTION}/net/*/operstate)" = up ]`;
const MOVE_MS = 1_200_000;

describe.skipIf(typeof found === 'string')(`a function with a standby, moved by QEMU${why}`, () => {
  let pair: Pair | undefined;
  afterAll(() => pair?.close());

  it('failover: the standby carries the traffic while the function changes, and the guest has one again', async () => {
    pair = await Pair.make(world, true);
    const source = await pair.side();
    await source.linux.booted();
    // What the boot itself says is not the function's.
    await source.linux.kernelLog();
    await source.linux.sh('modprobe ixgbevf; modprobe virtio_net');
    await source.linux.until(`[ -n "${MASTER}" ]`);
    await source.linux.sh(`m=${MASTER}; ip link set $m up; ip addr add ${GUEST_IP}/24 dev $m`);
    await source.linux.until(PRIMARY);
    await answers(source.linux, STATION);
    await echoes(pair, source, 20);
    const destination = await pair.side({ incoming: true });
    const asked = source.linux.qmp.waitFor('UNPLUG_PRIMARY', { timeoutMs: MOVE_MS });
    expect(await pair.move(source, destination)).toMatchObject({
      status: 'completed',
      vfio: { transferred: 0 },
    });
    expect((await asked).data).toEqual({ 'device-id': 'vf0' });
    const { linux, nic } = destination;
    await linux.until(PRIMARY);
    await answers(linux, STATION);
    // By the function again.
    const { counters } = await nic.report();
    await answers(linux, STATION);
    const report = await nic.report();
    expect(report).toMatchObject({ link: true, 'clear-to-send': true, dmaBlocked: 0 });
    expect(report.counters['frames-sent']).toBeGreaterThan(counters['frames-sent']!);
    const [flow] = (await pair.fabric.nextPhase()).flows;
    expect(flow!.arrived).toMatchObject({ duplicated: 0, corrupt: 0 });
    await quiet(linux, /slave dev when primary already present/);
  });
});

describe.skipIf(typeof found === 'string')(`a function that fails under its guest${why}`, () => {
  let pair: Pair;
  let side: Side;

  beforeAll(async () => {
    pair = await Pair.make(world, false);
    side = await pair.side();
    const { linux } = side;
    await linux.booted();
    await linux.kernelLog();
    await linux.sh(`modprobe ixgbevf; ip link set eth0 up; ip addr add ${GUEST_IP}/24 dev eth0`);
    await answers(linux, STATION);
    await quiet(linux);
  });
  afterAll(() => pair?.close());

  it('error-recovery: its driver starts over with it, and goes on', async () => {
    const { linux } = side;
    const command = { 'command-line': 'pcie_aer_inject_error rp0 COMP_TIME' };
    expect(await linux.qmp.execute('human-monitor-command', command)).toMatch(/^OK id: rp0 /);
    await linux.until('dmesg | grep -q "AER: device recovery successful"');
    await linked(linux);
    await answers(linux, STATION);
    await quiet(
      linux,
      /pcieport .*(AER: Uncorrectable|PCIe Bus Error|error status|CmpltTO|recovery successful)/,
    );
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
