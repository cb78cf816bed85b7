/** Which frames the function lets in: sizes, VLANs, groups, addresses. What the driver asks for is looked at on the host as well. */
import { expect, it } from 'vitest';
import { answers, bringUp, type LinuxWorld, pings, quiet, STATION } from './world.js';

interface Filter {
  readonly promiscuous: boolean;
  readonly multicast: string;
  readonly 'vlan-table': readonly number[];
  readonly 'unicast-table': readonly string[];
  readonly 'x-ferry-multicast-hashes': readonly number[];
  readonly 'main-mac': string;
}

const filterOf = async (world: LinuxWorld): Promise<Filter> =>
  ((await world.a.nic.execute('query-rx-filter')) as Filter[])[0]!;

export function filters(world: () => LinuxWorld): void {
  it('carries frames of 9000 bytes, and then of 1500 again', async () => {
    const { a, b } = world();
    for (const { linux } of [a, b]) await linux.sh('ip link set eth0 mtu 9000');
    await bringUp(a);
    await bringUp(b);
    await answers(a.linux, b.ip);
    await pings(a.linux, b.ip, 20, '-i 0.05 -s 8972 -M do');
    for (const { linux } of [a, b]) await linux.sh('ip link set eth0 mtu 1500');
    await bringUp(a);
    await bringUp(b);
    await answers(a.linux, b.ip);
    await quiet(a.linux);
  });

  it('hears a VLAN that it has joined, and no other', async () => {
    const { a, b } = world();
    for (const { linux } of [a, b]) await linux.sh('modprobe 8021q');
    for (const [n, { linux }] of [
      [2, a],
      [3, b],
    ] as const) {
      await linux.sh(
        `ip link add link eth0 name eth0.7 type vlan id 7; ip link set eth0.7 up; ip addr add 10.7.0.${n}/24 dev eth0.7`,
      );
    }
    await answers(a.linux, '10.7.0.3');
    await pings(a.linux, '10.7.0.3', 20, '-i 0.05 -s 1472');
    expect((await filterOf(world()))['vlan-table']).toEqual([0, 7]);
    await a.linux.sh('ip link del eth0.7');
    expect((await filterOf(world()))['vlan-table']).toEqual([0]);
    expect((await b.linux.run('ping -q -c 3 -W 1 10.7.0.2')).status).not.toBe(0);
    await b.linux.sh('ip link del eth0.7');
    await quiet(a.linux);
  });

  it('hears a group that it has joined, and leaves it', async () => {
    const { a, b } = world();
    await a.linux.sh('echo 0 >/proc/sys/net/ipv4/icmp_echo_ignore_broadcasts');
    const before = (await filterOf(world()))['x-ferry-multicast-hashes'];
    await a.linux.sh('ip addr add 239.1.1.1/32 dev eth0 autojoin');
    await b.linux.until('ping -q -c 1 -W 5 -I eth0 239.1.1.1');
    expect((await filterOf(world()))['x-ferry-multicast-hashes'].length).toBe(before.length + 1);
    await a.linux.sh('ip addr del 239.1.1.1/32 dev eth0 autojoin');
    expect((await filterOf(world()))['x-ferry-multicast-hashes']).toEqual(before);
    await quiet(a.linux);
  });

  it('is denied all groups and promiscuous mode until its host trusts it, and goes on', async () => {
    const { a } = world();
    await a.linux.sh('ip link set eth0 allmulticast on');
    expect((await filterOf(world())).multicast).toBe('normal');
    await a.linux.sh('ip link set eth0 promisc on');
    expect((await filterOf(world())).promiscuous).toBe(false);
    await answers(a.linux, STATION);
    await a.linux.sh('ip link set eth0 promisc off; ip link set eth0 allmulticast off');
    await a.nic.execute('set-vf', { trust: true });
    await a.linux.sh('ip link set eth0 down && ip link set eth0 up');
    await bringUp(a);
    await a.linux.sh('ip link set eth0 allmulticast on');
    expect((await filterOf(world())).multicast).toBe('all');
    await a.linux.sh('ip link set eth0 allmulticast off');
    expect((await filterOf(world())).multicast).toBe('normal');
    await answers(a.linux, STATION);
    await quiet(a.linux);
  });

  it('takes another address where it is trusted, and more beside it, and none where it is not', async () => {
    const { a, b } = world();
    const other = '52:54:00:00:00:99';
    await a.linux.sh(`ip link set eth0 address ${other}`);
    expect((await filterOf(world()))['main-mac']).toBe(other);
    await answers(b.linux, a.ip);
    await a.linux.sh(
      'modprobe macvlan; ip link add mv0 link eth0 type macvlan mode bridge; ip link set mv0 address 52:54:00:00:00:77 up',
    );
    await a.linux.sh('ip addr add 10.9.0.2/24 dev mv0');
    await b.linux.sh('ip addr add 10.9.0.3/24 dev eth0');
    expect((await filterOf(world()))['unicast-table']).toContain('52:54:00:00:00:77');
    await answers(b.linux, '10.9.0.2');
    await a.linux.sh(`ip link del mv0; ip link set eth0 address ${a.mac}`);
    await b.linux.sh('ip addr del 10.9.0.3/24 dev eth0');
    await a.nic.execute('set-vf', { trust: false });
    await a.linux.sh('ip link set eth0 down && ip link set eth0 up');
    await bringUp(a);
    const refused = await a.linux.run(`ip link set eth0 address ${other}`);
    expect(refused.status).not.toBe(0);
    expect(refused.output).toContain('Operation not permitted');
    expect((await filterOf(world()))['main-mac']).toBe(a.mac);
    await answers(b.linux, a.ip);
    await quiet(a.linux);
  });
}
