import { beforeAll, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { buildArpRequest } from '../../devices/ethernet/datagram.js';
import { FrameBuffer } from '../../devices/ethernet/frame.js';
import { L4_AT, UDP_PAYLOAD_AT } from '../../devices/ethernet/protocols.js';
import { compileKernel } from './kernel-source.js';
import { numbers, ping, pongs } from './net-frames.js';
import {
  GUEST_IP,
  GUEST_MAC,
  NicMachine,
  type NicMachineOptions,
  PEER_IP,
  PEER_MAC,
  type WireRule,
} from './nic-machine.js';
import { DATA_END, MS, PlainMachine, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

/** The link is up well before this. */
const SETTLED = 100 * MS;
/** The first went to the root port's services. */
const QUEUE_VECTOR = 0x21;
const FLOW_PORT = 9;
const ECHO_PORT = 7;

const start = (words: string, options: NicMachineOptions = {}): NicMachine =>
  new NicMachine(kernel, { ...options, commandLine: words });

const run = (net: NicMachine, until: number): NicMachine => {
  expect(net.machine.run(until)).toBe('time');
  expect(net.machine.printed(/DMA-API: (ixgbevf|.*out of memory)/)).toEqual([]);
  return net;
};

/** Starts a flow of the peer once the link is up. */
function flow(net: NicMachine, port: number, rate: number, count: number, payloadBytes = 512): void {
  net.machine.at(SETTLED, () => {
    net.peer.startFlow({
      kind: port === ECHO_PORT ? 'echo' : 'out',
      ip: GUEST_IP,
      port,
      rate,
      payloadBytes,
      count,
    });
  });
}

/** One in `n` frames with `payload` bytes or more is treated by `rule`. */
function everyNth(n: number, rule: WireRule): WireRule {
  let count = 0;
  return (frame) => (frame.length >= 200 && ++count % n === 0 ? rule(frame) : frame);
}

describe('PCI', () => {
  it('costs a machine without it one register read, and nothing on the console', () => {
    const machine = new PlainMachine(kernel, { commandLine: 'workload=idle' });
    machine.devices = { read: () => 0xffff_ffff, write: () => {}, run: () => false };
    machine.run(2 * SECOND);
    expect(machine.mmioReads).toBe(1);
    expect(machine.printed(/pci|PCI|eth|DMA/)).toEqual([]);
    expect(machine.printed(/^idle:/)).toHaveLength(1);
  });

  it('keeps what firmware set up', () => {
    const { machine } = run(start('workload=idle'), SECOND);
    expect(machine.printed(/assigned$/)).toEqual([]);
    expect(machine.printed(/^pci 0000:01:00.0: \[/)).toEqual([
      'pci 0000:01:00.0: [8086:10ed] type 00 class 0x020000 PCIe Endpoint',
    ]);
  });

  it('numbers buses and places BARs that firmware did not', () => {
    const net = run(start('workload=idle', { firmware: false }), SECOND);
    expect(net.machine.printed(/assigned$/)).toHaveLength(2);
    expect(net.machine.printed(/bridge window/)).toEqual([
      'pci 0000:00:01.0:   bridge window [mem 0xf0000000-0xf00fffff 64bit pref]',
    ]);
    expect(net.machine.printed(/NIC Link is Up/)).toHaveLength(1);
    expect(net.port.secondaryBus).toBe(1);
  });
});

describe('ixgbevf', () => {
  it('comes from probe to link, with the address that the PF gives', () => {
    const { machine, driver } = run(start('workload=idle'), SECOND);
    expect(machine.printed(/ixgbevf/)).toEqual([
      'ixgbevf: Intel(R) 10 Gigabit PCI Express Virtual Function Network Driver',
      'ixgbevf 0000:01:00.0: Multiqueue Disabled: Rx Queue count = 1, Tx Queue count = 1',
      'ixgbevf 0000:01:00.0: 52:54:00:00:00:01',
      'ixgbevf 0000:01:00.0: MAC: 1',
      'ixgbevf 0000:01:00.0: Intel(R) 82599 Virtual Function',
      'ixgbevf 0000:01:00.0 eth0: NIC Link is Up 10 Gbps',
    ]);
    expect(driver.info(0)).toMatchObject({ apiVersion: 5, clearToSend: true });
  });

  it('makes up an address where the PF gives none', () => {
    const { machine } = run(start('workload=idle', { vf: {} }), SECOND);
    expect(machine.printed(/Assigning random MAC address/)).toHaveLength(1);
    expect(machine.printed(/ixgbevf .* ([0-9a-f]{2}:){5}/)[0]).toMatch(/: [0-9a-f][26ae](:[0-9a-f]{2}){5}$/);
    expect(machine.printed(/NIC Link is Up/)).toHaveLength(1);
  });

  it('follows the link', () => {
    const net = start('workload=idle');
    net.machine.at(SECOND, () => {
      net.nic.setLink(false);
      net.driver.pingAll();
    });
    net.machine.at(3 * SECOND, () => {
      net.nic.setLink(true);
      net.driver.pingAll();
    });
    run(net, 6 * SECOND);
    const links = net.machine.printed(/NIC Link/).map((line) => line.replace(/^.*NIC /, ''));
    expect(links).toEqual(['Link is Up 10 Gbps', 'Link is Down', 'Link is Up 10 Gbps']);
  });

  it('resets itself when the PF has forgotten it, and traffic goes on', () => {
    const net = start('workload=udp-stream rate=1000 peer_port=7');
    net.machine.at(15 * SECOND, () => net.driver.start());
    net.machine.at(15 * SECOND, () => net.nic.setLink(true));
    run(net, 40 * SECOND);
    expect(net.machine.printed(/NIC Link is Down/).length).toBeGreaterThan(0);
    expect(net.machine.printed(/Link/).at(-1)).toMatch(/NIC Link is Up/);
    const [rate] = numbers(net, /^udp-stream: returned \d+ packets\/s/);
    expect(rate).toBeGreaterThan(990);
  });

  it('tries again until a PF that does not answer is back', () => {
    const net = start('workload=udp-stream rate=100 peer_port=7');
    net.machine.at(15 * SECOND, () => {
      net.pfDeaf = true;
      net.driver.start();
      net.nic.setLink(true);
    });
    net.machine.at(45 * SECOND, () => {
      net.pfDeaf = false;
      net.driver.interrupt();
    });
    run(net, 75 * SECOND);
    expect(net.machine.printed(/PF still resetting/).length).toBeGreaterThan(1);
    expect(net.machine.printed(/PF still resetting/).length).toBeLessThan(5);
    expect(net.machine.printed(/NIC Link/).at(-1)).toMatch(/NIC Link is Up/);
    const [rate] = numbers(net, /^udp-stream: returned \d+ packets\/s/);
    expect(rate, 'datagrams that come back in a second').toBeGreaterThan(98);
  });

  it('has no link while the administrator denies it one', () => {
    const net = start('workload=idle');
    net.machine.at(20 * SECOND, () => net.driver.setPolicy(0, { linkEnabled: false }));
    net.machine.at(60 * SECOND, () => net.driver.setPolicy(0, { linkEnabled: true }));
    run(net, 80 * SECOND);
    const links = net.machine.printed(/NIC Link/).map((line) => line.replace(/^.*NIC /, ''));
    expect(links).toEqual(['Link is Up 10 Gbps', 'Link is Down', 'Link is Up 10 Gbps']);
    expect(net.machine.printed(/Reset adapter/)).toHaveLength(2);
  });

  it('survives the loss of its device: no more accesses, everything else goes on', () => {
    // Nobody tells the driver: it finds out by itself.
    const net = start('workload=udp-stream rate=20000 peer_port=7 pcie_ports=compat');
    let accesses = 0;
    net.machine.at(3.3 * SECOND, () => net.port.eject());
    net.machine.at(6 * SECOND, () => {
      accesses = net.barAccesses;
    });
    run(net, 20 * SECOND);
    expect(net.machine.printed(/Adapter removed|Link/)).toEqual([
      'ixgbevf 0000:01:00.0 eth0: NIC Link is Up 10 Gbps',
      'ixgbevf 0000:01:00.0: Adapter removed',
    ]);
    expect(net.barAccesses).toBe(accesses);
    expect(net.machine.printed(/^udp-stream: sent 0 packets/).length).toBeGreaterThan(10);
  });

  it('gives way under load: interrupts are far fewer than packets, and not so when there are few', () => {
    const busy = start('workload=udp-echo');
    flow(busy, FLOW_PORT, 100_000, 50_000);
    run(busy, SECOND);
    expect(busy.messages.get(QUEUE_VECTOR)!).toBeLessThan(13_000);
    const calm = start('workload=udp-echo');
    flow(calm, FLOW_PORT, 500, 300);
    run(calm, SECOND);
    expect(calm.messages.get(QUEUE_VECTOR)!).toBeGreaterThanOrEqual(300);
  });
});

describe('protocols', () => {
  it('answers echo requests of every length that fits a frame, odd ones too', () => {
    const net = start('workload=idle');
    net.keepFrames = true;
    const lengths = [0, 1, 55, 56, 57, 999, 1471, 1472];
    lengths.forEach((length, i) => {
      const data = Uint8Array.from({ length }, (_, at) => at * 7);
      net.machine.at(SETTLED + i * MS, () => net.toGuest(ping(i, data)));
    });
    run(net, SECOND);
    expect(pongs(net)).toHaveLength(lengths.length);
    pongs(net).forEach((frame, i) => {
      const request = ping(
        i,
        Uint8Array.from({ length: lengths[i]! }, (_, at) => at * 7),
      );
      expect([...frame.subarray(L4_AT + 4, L4_AT + 8 + lengths[i]!)]).toEqual([
        ...request.subarray(L4_AT + 4, L4_AT + 8 + lengths[i]!),
      ]);
      expect(frame.subarray(0, 6)).toEqual(PEER_MAC);
    });
  });

  it('does not answer a damaged echo request, nor one for somebody else, and counts them', () => {
    const net = start('workload=udp-echo');
    net.keepFrames = true;
    const damaged = ping(1, new Uint8Array(64));
    damaged[L4_AT + 20]! ^= 1;
    const header = ping(2, new Uint8Array(64));
    header[22]! ^= 1;
    const other = ping(3, new Uint8Array(64), GUEST_IP + 1);
    for (const frame of [damaged, header, other, ping(4, new Uint8Array(64))]) {
      net.machine.at(SETTLED, () => net.toGuest(frame));
    }
    run(net, 1.2 * SECOND);
    expect(pongs(net).map((frame) => frame[L4_AT + 7])).toEqual([4]);
    expect(net.machine.printed(/^(ip|icmp):/)).toEqual([
      'ip: 4 in, 1 bad headers, 1 other addresses, 0 discarded, 0 unknown protocols, 0 not sent',
      'icmp: 1 echo requests, 1 replies, 1 bad checksums, 0 errors',
    ]);
  });

  it('answers ARP requests for its own address alone', () => {
    const net = start('workload=idle');
    net.keepFrames = true;
    const ask = (ip: number): void => {
      const frame = new FrameBuffer();
      buildArpRequest(frame, { mac: PEER_MAC, ip: PEER_IP }, ip);
      net.machine.at(SETTLED, () => net.toGuest(frame.bytes.slice(0, frame.length)));
    };
    ask(GUEST_IP);
    ask(GUEST_IP + 1);
    run(net, SECOND);
    const replies = net.fromGuest.filter((frame) => frame[12] === 8 && frame[13] === 6);
    expect(replies).toHaveLength(1);
    expect([...replies[0]!.subarray(20, 32)]).toEqual([0, 2, ...GUEST_MAC, 10, 0, 0, 2]);
  });

  it('has the addresses of the command line', () => {
    const net = start('workload=idle ip=10.0.0.77 peer=10.0.0.78');
    run(net, SECOND);
    expect(net.machine.printed(/ipaddr=/)[0]).toMatch(
      /ipaddr=10\.0\.0\.77, mask=255\.255\.255\.0, peer=10\.0\.0\.78$/,
    );
  });

  it('echoes UDP, every byte as it came, while the rings wrap many times', () => {
    const net = start('workload=udp-echo');
    flow(net, ECHO_PORT, 20_000, 20_000, 700);
    run(net, 2 * SECOND);
    const [report] = net.peer.report();
    expect(report).toMatchObject({ sent: 20_000, outstanding: 0 });
    expect(report!.arrived).toMatchObject({ received: 20_000, lost: 0, corrupt: 0, duplicated: 0 });
    expect(net.peer.statistics.checksumErrors).toBe(0);
    // Rings and buffers take 1.4 MiB; what packets needed is used again.
    expect(net.machine.nonZeroPages().filter((page) => page >= DATA_END / 4096).length).toBeLessThan(600);
  });

  it('drops and counts what was damaged on the wire, and answers the rest', () => {
    const net = start('workload=udp-echo');
    net.toGuestRule = everyNth(100, (frame) => {
      const damaged = frame.slice();
      damaged[UDP_PAYLOAD_AT + 50]! ^= 0x04;
      return damaged;
    });
    flow(net, ECHO_PORT, 5000, 5000);
    run(net, 2.5 * SECOND);
    const [, echoed, , bad] = numbers(net, /^udp-echo:/);
    expect({ echoed, bad }).toEqual({ echoed: 4950, bad: 50 });
    expect(net.machine.printed(/^eth0: .*, 50 bad checksums$/)).not.toEqual([]);
    expect(net.peer.report()[0]!.arrived).toMatchObject({ received: 4950, corrupt: 0 });
  });

  it('is not disturbed by frames of any content', () => {
    const net = start('workload=udp-echo');
    const random = seededRandom(7);
    const good = ping(1, new Uint8Array(300));
    for (let i = 0; i < 3000; i++) {
      const frame = i % 3 === 0 ? new Uint8Array(14 + random.below(1500)) : good.slice();
      if (i % 3 === 0) for (let at = 0; at < frame.length; at++) frame[at] = random.below(256);
      for (let k = random.below(6); k >= 0; k--) frame[12 + random.below(40)] = random.below(256);
      if (i % 3 === 2) frame[23] = 17;
      frame.set(GUEST_MAC, 0);
      net.machine.at(SETTLED + i * 1e5, () => net.toGuest(frame));
    }
    flow(net, ECHO_PORT, 1000, 800);
    run(net, 2 * SECOND);
    expect(net.peer.report()[0]!.arrived).toMatchObject({ received: 800, lost: 0, corrupt: 0 });
  });
});

describe('udp-stream', () => {
  it('sends numbered datagrams at its rate, none lost, none damaged', () => {
    const net = run(start('workload=udp-stream rate=5000 payload=1000'), 4.5 * SECOND);
    const [report] = net.peer.report();
    expect(report!.kind).toBe('in');
    expect(report!.arrived).toMatchObject({ lost: 0, corrupt: 0, duplicated: 0, reordered: 0 });
    expect(Math.abs(report!.arrived!.received / (5000 * 4.5) - 1)).toBeLessThan(0.03);
    const [rate] = numbers(net, /^udp-stream: sent/);
    expect(Math.abs(rate! - 5000)).toBeLessThan(50);
  });

  it('counts what is lost on the way back, exactly', () => {
    const net = start('workload=udp-stream rate=2000 peer_port=7');
    let lost = 0;
    net.toGuestRule = everyNth(20, () => {
      lost++;
      return undefined;
    });
    run(net, 3.011 * SECOND);
    const [, received, seen] = numbers(net, /^udp-stream: returned \d+ packets/);
    expect(received).toBeGreaterThan(5000);
    expect(lost).toBeGreaterThan(250);
    expect(Math.abs(seen! - lost)).toBeLessThan(3);
  });

  it("judges the peer's own flow: lost, repeated", () => {
    const net = start('workload=udp-stream rate=100');
    let count = 0;
    net.toGuestRule = (frame) => {
      if (frame.length < 200) return frame;
      count++;
      if (count === 100) return undefined;
      if (count === 200) net.machine.at(net.machine.now, () => net.toGuest(frame));
      return frame;
    };
    flow(net, FLOW_PORT, 1000, 1000);
    run(net, 3.5 * SECOND);
    const [, received, lost, duplicated] = numbers(net, /^udp-stream: incoming \d+ packets/);
    expect({ received, lost, duplicated }).toEqual({ received: 999, lost: 1, duplicated: 1 });
  });

  it('finds every wrong byte, wherever it is', () => {
    const net = start('workload=udp-stream rate=0');
    const payloadBytes = 333;
    let damaged = 0;
    net.toGuestRule = (frame) => {
      if (frame.length < payloadBytes) return frame;
      const harmed = frame.slice();
      // No UDP checksum, so that neither the NIC nor the stack below looks.
      harmed.fill(0, L4_AT + 6, L4_AT + 8);
      harmed[UDP_PAYLOAD_AT + damaged]! ^= 1 << (damaged & 7);
      damaged++;
      return harmed;
    };
    flow(net, FLOW_PORT, 1000, payloadBytes, payloadBytes);
    run(net, 3.5 * SECOND);
    expect(damaged).toBe(payloadBytes);
    const [, corrupt] = numbers(net, /^udp-stream: incoming longest gap/);
    expect(corrupt).toBe(payloadBytes);
  });

  it('at a rate of 0 sends nothing and judges what comes', () => {
    const net = start('workload=udp-stream rate=0');
    flow(net, FLOW_PORT, 1000, 1000);
    run(net, 3.5 * SECOND);
    const [, received, lost] = numbers(net, /^udp-stream: incoming \d+ packets/);
    expect({ received, lost }).toEqual({ received: 1000, lost: 0 });
    expect(numbers(net, /^udp-stream: sent/)).toEqual([0, 0, 0, 0]);
    expect(net.peer.report().filter(({ kind }) => kind === 'in')).toEqual([]);
  });

  it('loses nothing of its own when its device has no room', () => {
    const net = start('workload=udp-stream rate=20000 payload=1400');
    net.machine.at(500 * MS, () => {
      net.paused = true;
    });
    net.machine.at(600 * MS, () => {
      net.paused = false;
    });
    run(net, 1.2 * SECOND);
    const [, sent, busy] = numbers(net, /^udp-stream: sent/);
    expect(busy).toBeGreaterThan(0);
    expect(sent).toBeGreaterThan(17_000);
    expect(net.peer.report()[0]!.arrived).toMatchObject({ lost: 0, corrupt: 0 });
  });
});

describe('workloads on the network', () => {
  it('several at once are named with commas', () => {
    const net = start('workload=ledger,udp-echo');
    flow(net, ECHO_PORT, 1000, 500);
    run(net, 2.2 * SECOND);
    expect(net.machine.printed(/as workload$/)).toEqual([
      'Run ledger as workload',
      'Run udp-echo as workload',
    ]);
    expect(net.machine.printed(/^ledger: .*clean$/).length).toBe(2);
    expect(net.machine.printed(/^(stress|udp-stream):/)).toEqual([]);
    expect(numbers(net, /^udp-echo:/)[1]).toBe(500);
  });

  it('one of which does not exist stop the machine with a reason', () => {
    for (const words of ['workload=ledger,none', 'workload=ledger,', 'workload=', 'workload=ledger,,idle']) {
      const machine = new PlainMachine(kernel, { commandLine: words });
      expect(machine.run(SECOND), words).toBe('panic');
      expect(machine.printed(/^Kernel panic/)[0]).toMatch(/No working workload found/);
    }
  });

  it('mixed runs traffic beside ledger and stress', () => {
    const net = start(
      'workload=mixed rate=1000 peer_port=7 dirty_rate=4M working_set=4M ledger_working_set=4M',
    );
    flow(net, ECHO_PORT, 1000, 1500);
    run(net, 3.2 * SECOND);
    expect(net.machine.printed(/^ledger: .*clean$/).length).toBeGreaterThan(1);
    expect(net.machine.printed(/^stress: .*clean$/).length).toBeGreaterThan(1);
    expect(net.peer.report().find(({ kind }) => kind === 'echo')!.arrived).toMatchObject({
      received: 1500,
      lost: 0,
    });
    expect(numbers(net, /^udp-stream: returned \d+ packets/)[2]).toBe(0);
  });

  it.each([
    ['workload=udp-stream', /udp-stream: no network device/],
    ['workload=udp-echo', /udp-echo: no network device/],
  ])('%s without a device stops the machine with a reason', (words, reason) => {
    const machine = new PlainMachine(kernel, { commandLine: words });
    expect(machine.run(SECOND)).toBe('panic');
    expect(machine.printed(/^Kernel panic/)[0]).toMatch(reason);
  });

  it.each([
    ['ip=10.0.0', /Malformed kernel parameter: ip/],
    ['ip=10.0.0.256', /Malformed kernel parameter: ip/],
    ['peer=10.0.0.1.2', /Malformed kernel parameter: peer/],
    ['payload=23', /payload=23 is not between/],
  ])('%s stops the machine with a reason', (words, reason) => {
    const { machine } = start(`workload=udp-stream ${words}`);
    expect(machine.run(SECOND)).toBe('panic');
    expect(machine.printed(/^Kernel panic/)[0]).toMatch(reason);
  });
});
