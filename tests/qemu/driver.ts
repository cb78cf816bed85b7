/** What the driver is put through on its own machine: its settings, and all the ways in which it starts over. */
import { expect, it } from 'vitest';
import { answers, bringUp, type LinuxWorld, linked, pings, quiet, STATION } from './world.js';

/** Where the function is. */
const DEVICE = '$(basename $(readlink /sys/class/net/eth0/device))';

export function settings(world: () => LinuxWorld): void {
  it('is found by lspci, and its driver binds without a warning', async () => {
    for (const machine of [world().a, world().b]) {
      const { linux } = machine;
      await linux.kernelLog();
      await bringUp(machine);
      expect(await linux.sh('lspci -n')).toMatch(/0200: 8086:10ed/);
      expect(await linux.sh('ip -o link show eth0')).toContain(machine.mac);
      const log = (await quiet(linux)).join('\n');
      expect(log).toContain('Intel(R) 82599 Virtual Function');
      expect(log).toContain('NIC Link is Up 10 Gbps');
    }
    const { a, b } = world();
    await answers(a.linux, STATION);
    await answers(a.linux, b.ip);
  });

  it('tells ethtool what it is and can', async () => {
    const { linux } = world().a;
    const about = await linux.sh('ethtool -i eth0');
    expect(about).toMatch(/^driver: ixgbevf$/m);
    expect(about).toMatch(/^bus-info: 0000:01:00\.0$/m);
    const link = await linux.sh('ethtool eth0');
    expect(link).toMatch(/Speed: 10000Mb\/s/);
    expect(link).toMatch(/Link detected: yes/);
    const features = await linux.sh('ethtool -k eth0');
    for (const feature of [
      'rx-checksumming',
      'tx-checksumming',
      'tcp-segmentation-offload',
      'tx-gso-partial',
    ])
      expect(features).toMatch(new RegExp(`^${feature}: on`, 'm'));
    await linux.sh('ethtool -d eth0; ethtool -P eth0');
    const statistics = await linux.sh('ethtool -S eth0');
    expect(Number(/^ *rx_packets: (\d+)/m.exec(statistics)?.[1])).toBeGreaterThan(0);
    for (const wrong of ['rx_csum_offload_errors', 'tx_timeout_count', 'alloc_rx_page_failed'])
      expect(statistics).toMatch(new RegExp(`^ *${wrong}: 0$`, 'm'));
    await quiet(linux);
  });

  it.each(['offline', 'online'])('passes ethtool -t %s, and works afterwards', async (kind) => {
    const { linux } = world().a;
    expect(await linux.sh(`ethtool -t eth0 ${kind}`)).toMatch(/The test result is PASS/);
    await linked(linux);
    await answers(linux, STATION);
    // The driver itself says of its offline test that it begins, and that the link went.
    await quiet(linux);
  });

  it('works with rings of every size, the least and the largest as well', async () => {
    const { linux } = world().a;
    expect(await linux.sh('ethtool -g eth0')).toMatch(/RX:\s+4096/);
    for (const [rx, tx] of [
      [64, 64],
      [4096, 4096],
      [72, 1000],
      [512, 1024],
    ]) {
      await linux.sh(`ethtool -G eth0 rx ${rx} tx ${tx}`);
      await linked(linux);
      await answers(linux, STATION);
    }
    await quiet(linux);
  });

  it('works with every pace of interrupts', async () => {
    const { linux } = world().a;
    for (const microseconds of [0, 1000, 20, 1]) {
      await linux.sh(`ethtool -C eth0 rx-usecs ${microseconds}`);
      expect(await linux.sh('ethtool -c eth0')).toMatch(new RegExp(`^rx-usecs:\\s+${microseconds}`, 'm'));
      await answers(linux, STATION);
    }
    await quiet(linux);
  });

  it('has two queues with two processors, and spreads flows over both', async () => {
    const { a, b } = world();
    await a.nic.execute('set-vf', { query_rss: true });
    await a.linux.sh('ip link set eth0 down && ip link set eth0 up');
    await bringUp(a);
    expect(await a.linux.sh('ethtool -x eth0')).toMatch(/with 2 RX ring/);
    await a.linux.sh('iperf3 -s -D -1 -p 5300');
    await b.linux.until(`iperf3 -c ${a.ip} -p 5300 -P 8 -n 256K`);
    const statistics = await a.linux.sh('ethtool -S eth0');
    for (const queue of [0, 1]) {
      expect(Number(new RegExp(`rx_queue_${queue}_packets: (\\d+)`).exec(statistics)?.[1])).toBeGreaterThan(
        10,
      );
    }
    const interrupts = await a.linux.sh('grep eth0 /proc/interrupts');
    expect(interrupts).toMatch(/eth0-TxRx-0/);
    expect(interrupts).toMatch(/eth0-TxRx-1/);
    await quiet(a.linux);
  });
}

export function restarts(world: () => LinuxWorld): void {
  it('goes down and up fifty times', async () => {
    const { a } = world();
    await a.linux.sh(
      'for i in $(seq 50); do ip link set eth0 down && ip link set eth0 up || exit 1; done',
      1_800_000,
    );
    await bringUp(a);
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it('is taken from its driver and given back twenty times', async () => {
    const { a } = world();
    await a.linux.sh(
      `d=${DEVICE}; (cd /sys/bus/pci/drivers/ixgbevf; for i in $(seq 20); do echo $d >unbind; echo $d >bind; done)`,
      1_800_000,
    );
    await bringUp(a);
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it("works after its driver's module was removed and loaded", async () => {
    const { a } = world();
    await a.linux.sh('rmmod ixgbevf; ! [ -e /sys/class/net/eth0 ]');
    await bringUp(a);
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it('works after a reset of the function, once its driver has it anew', async () => {
    const { a } = world();
    await a.linux.sh(
      `d=${DEVICE}; ip link set eth0 down; (cd /sys/bus/pci/devices/$d; echo 1 >reset; cd /sys/bus/pci/drivers/ixgbevf; echo $d >unbind; echo $d >bind)`,
    );
    await bringUp(a);
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it('comes back after the physical function was reset, as soon as its driver asks for anything and is refused', async () => {
    const { a } = world();
    await a.nic.execute('reset-pf');
    await a.linux.until('[ "$(cat /sys/class/net/eth0/carrier)" = 0 ]');
    // It asks to hear one more group, hears that it has lost its right to send, and resets the function by itself.
    await a.linux.sh('ip maddr add 33:33:00:00:00:99 dev eth0');
    await linked(a.linux);
    await answers(a.linux, STATION);
    await a.linux.sh('ip maddr del 33:33:00:00:00:99 dev eth0');
    expect((await quiet(a.linux)).join('\n')).toContain('NIC Link is Down');
  });

  it('loses its link when the host takes it, and has it again when it goes down and up afterwards', async () => {
    const { a } = world();
    await a.nic.execute('set_link', { name: 'vf0', up: false });
    await a.linux.until('[ "$(cat /sys/class/net/eth0/carrier)" = 0 ]');
    expect((await quiet(a.linux)).join('\n')).toContain('NIC Link is Down');
    await a.nic.execute('set_link', { name: 'vf0', up: true });
    await a.linux.sh('ip link set eth0 down && ip link set eth0 up');
    await bringUp(a);
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it('loses none of ten thousand pings', async () => {
    const { a, b } = world();
    await pings(a.linux, b.ip, 10_000, '-i 0.002');
    await quiet(a.linux);
    await quiet(b.linux);
  });
}
