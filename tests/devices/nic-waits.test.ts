/** Memory that is not there yet: queues wait for it, go on in order when it has come, and touch nothing before. */
import { beforeEach, describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { PACKET_BUFFER_BYTES } from '../../devices/nic82599/packet-buffer.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { BROADCAST, bytesOf, ethernet, IPV4, ipv4, PEER, pseudoSum, tcp, vfMac } from './frames.js';
import { LateMemory, PAGE, pagesOf } from './late-memory.js';
import { TestMachine } from './machine.js';
import { GuestVf, RX_COUNT } from './vf-guest.js';
import { guestAt, host, move } from './vf-host.js';

const incoming = (size: number, seed = 0): Uint8Array => ethernet(vfMac(0), PEER, bytesOf(size - 14, seed));
const outgoing = (size: number, seed = 0): Uint8Array => ethernet(PEER, vfMac(0), bytesOf(size - 14, seed));

let memory: LateMemory;
let machine: TestMachine;
let guest: GuestVf;
const lateHost = (vfs = 1): TestMachine => {
  memory = new LateMemory(0x40_0000);
  const made = new TestMachine({ memory, vfs: Array.from({ length: vfs }, (_, n) => ({ mac: vfMac(n) })) });
  made.nic.presence = memory;
  memory.arrived = (address, length) => made.nic.memoryArrived(address, length);
  return made;
};
const receive = (frame: Uint8Array): void => {
  machine.nic.receive({ bytes: frame, length: frame.length });
  machine.settle();
};
const arrive = (address: number): void => {
  memory.arrive(address);
  machine.settle();
};

beforeEach(() => {
  machine = lateHost();
  guest = guestAt(machine);
  return () => expect(memory.touched).toEqual([]);
});

describe('a frame that comes', () => {
  it('waits for its ring and then for its buffer, each asked for by what it is', () => {
    memory.withhold(guest.rxRing);
    memory.withhold(guest.rxBuffer(0));
    receive(incoming(100));
    expect([...memory.asked]).toEqual([guest.rxRing / PAGE]);
    expect(guest.read(reg.RDH)).toBe(0);
    arrive(guest.rxRing);
    expect([...memory.asked]).toEqual([guest.rxRing / PAGE, guest.rxBuffer(0) / PAGE]);
    expect(guest.receive()).toBeUndefined();
    arrive(guest.rxBuffer(0));
    expect(guest.receive()?.data).toEqual(incoming(100));
  });

  it('is not overtaken', () => {
    memory.withhold(guest.rxBuffer(0));
    for (let i = 0; i < 4; i++) receive(incoming(100 + i, i));
    expect(guest.read(reg.RDH)).toBe(0);
    const wakeups = machine.wakeups;
    memory.arrive(guest.rxBuffer(0));
    expect(machine.wakeups).toBeGreaterThan(wakeups);
    // One that comes before the NIC has its turn.
    machine.nic.receive({ bytes: incoming(104, 4), length: 104 });
    machine.settle();
    for (let i = 0; i < 5; i++) expect(guest.receive()?.data).toEqual(incoming(100 + i, i));
    expect(guest.read(reg.GPRC)).toBe(5);
  });

  it('asks at once for all that it needs, and has no part of it written before', () => {
    machine.nic.pf.write(pfRegisters.MAXFRS.offset, 4, 9018 << 16);
    memory.withhold(guest.rxBuffer(0), 4 * 2048);
    receive(incoming(6000));
    expect([...memory.asked]).toEqual(pagesOf(guest.rxBuffer(0), 6000));
    arrive(guest.rxBuffer(2));
    arrive(guest.rxBuffer(0));
    const data = [0, 1, 2].map(() => guest.receive()!.data);
    expect(Uint8Array.from(Buffer.concat(data))).toEqual(incoming(6000));
  });

  it('from another function of the NIC waits like any other', () => {
    machine = lateHost(2);
    guest = guestAt(machine);
    const second = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
    memory.withhold(guest.rxBuffer(0));
    receive(incoming(80));
    second.send(ethernet(vfMac(0), vfMac(1), bytesOf(90)));
    receive(incoming(81));
    arrive(guest.rxBuffer(0));
    expect([80, 104, 81].map(() => guest.receive()?.data.length)).toEqual([80, 104, 81]);
  });

  it('for several functions is given to each of them once, whichever of them waits', () => {
    machine = lateHost(2);
    guest = guestAt(machine);
    const second = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
    memory.withhold(guest.rxRing);
    receive(ethernet(BROADCAST, PEER, bytesOf(80)));
    expect(second.receive()?.data.length).toBe(94);
    arrive(guest.rxRing);
    expect(guest.receive()?.data.length).toBe(94);
    expect([guest, second].map((one) => one.read(reg.RDH))).toEqual([1, 1]);
  });

  it('that finds the packet buffer full is lost, counted, and nothing else is', () => {
    const size = 1000;
    const fit = Math.floor(PACKET_BUFFER_BYTES / size);
    memory.withhold(guest.rxRing);
    guest.write(reg.SRRCTL, 2 | (1 << 25));
    machine.nic.pf.queueFlags.fill(0);
    for (let i = 0; i < fit + 7; i++) receive(incoming(size, i));
    expect(machine.pfRead(pfRegisters.MISSED_PACKETS)).toBe(7);
    expect(guest.vf.pool.drops.noDescriptor).toBe(7);
    arrive(guest.rxRing);
    for (let i = 0; i < fit; i++) {
      expect(guest.receive()?.data, `frame ${i}`).toEqual(incoming(size, i));
      machine.settle();
    }
    expect(guest.receive()).toBeUndefined();
    // There is room again.
    receive(incoming(size, 9));
    expect(guest.receive()?.data).toEqual(incoming(size, 9));
  });

  it('is seen in RXMEMWRAP, by the function and by its host: that something waits, and how often the buffer went round', () => {
    const wrap = reg.RXMEMWRAP;
    const size = 1400;
    const turn = Math.ceil(PACKET_BUFFER_BYTES / size);
    expect([guest.read(wrap), machine.pfRead(pfRegisters.RXMEMWRAP)]).toEqual([0x8888_8888, 0x8888_8888]);
    memory.withhold(guest.rxRing);
    for (let i = 0; i < turn - 1; i++) receive(incoming(size, i));
    expect([guest.read(wrap), machine.pfRead(pfRegisters.RXMEMWRAP)]).toEqual([0x8888_8880, 0x8888_8880]);
    arrive(guest.rxRing);
    while (guest.receive() !== undefined) machine.settle();
    expect(guest.read(wrap)).toBe(0x8888_8888);
    memory.withhold(guest.rxRing);
    receive(incoming(size));
    expect(guest.read(wrap)).toBe(0x8888_8881);
    guest.write(wrap, 0);
    expect(guest.read(wrap)).toBe(0x8888_8881);
  });

  it.each([
    ['is to wait', false, false, true],
    ['is to be dropped by its driver', true, false, false],
    ['is to be dropped by the switch', false, true, false],
  ])('without a descriptor %s', (_what, driver, byTheSwitch, waits) => {
    guest.write(reg.SRRCTL, 2 | (1 << 25) | (driver ? reg.SRRCTL.fields.DROP.mask : 0));
    machine.nic.pf.queueFlags.fill(byTheSwitch ? 1 : 0);
    for (let i = 0; i < RX_COUNT; i++) receive(incoming(64, i));
    expect(guest.vf.pool.drops.noDescriptor).toBe(waits ? 0 : 1);
    const wakeups = machine.wakeups;
    for (let i = 0; i < RX_COUNT - 1; i++) expect(guest.receive()?.data).toEqual(incoming(64, i));
    // Its buffers were given back: a reason to wake up for who holds something for them alone.
    expect(machine.wakeups > wakeups).toBe(waits);
    machine.settle();
    expect(guest.receive()?.data).toEqual(waits ? incoming(64, RX_COUNT - 1) : undefined);
  });

  it('that its ring could never hold keeps nobody waiting', () => {
    machine.nic.pf.write(pfRegisters.MAXFRS.offset, 4, 9728 << 16);
    machine.nic.pf.queueFlags.fill(0);
    guest.write(reg.SRRCTL, 1 | (1 << 25));
    guest.write(reg.RDLEN, 128);
    guest.write(reg.RDT, 7);
    receive(incoming(9000));
    receive(incoming(70));
    expect(guest.receive()?.data).toEqual(incoming(70));
  });
});

describe('a packet that goes', () => {
  it('waits with its head where it is, for ring, buffers and where its head is to be written', () => {
    const headAt = guest.base + 0x1_f000;
    guest.write(reg.TDWBAL, headAt | 1);
    memory.withhold(guest.txRing);
    memory.withhold(guest.txBuffer(0));
    memory.withhold(headAt);
    const slot = guest.send(outgoing(200));
    arrive(guest.txRing);
    expect(memory.asked.has(guest.txBuffer(0) / PAGE)).toBe(false);
    arrive(headAt);
    expect(memory.asked.has(guest.txBuffer(0) / PAGE)).toBe(true);
    expect([machine.sent.length, guest.read(reg.TDH), guest.isDone(slot)]).toEqual([0, 0, false]);
    arrive(guest.txBuffer(0));
    expect([machine.sent.length, guest.read(reg.TDH)]).toEqual([1, 1]);
    expect(machine.sent[0]).toEqual(outgoing(200));
    expect(memory.view.getUint32(headAt, true)).toBe(1);
  });

  it('of many descriptors and segments is sent once, whatever of it is missing when', () => {
    memory.withhold(guest.txBuffer(1), 8 * 2048);
    const payload = bytesOf(4 * 1400, 3);
    const segment = tcp(payload, { checksum: pseudoSum(6, 0) });
    const packet = ethernet(PEER, vfMac(0), ipv4(6, segment, { checksum: 0 }), IPV4);
    guest.putContext({ MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 1, L4_BYTES: 20, IPV4: 1, SEGMENT_BYTES: 1400 });
    for (let from = 0; from < packet.length; from += 1500) {
      guest.putData(packet.subarray(from, from + 1500), {
        EOP: from + 1500 >= packet.length ? 1 : 0,
        REPORT_STATUS: from + 1500 >= packet.length ? 1 : 0,
        SEGMENT: 1,
        USE_CONTEXT: 1,
        L4_CHECKSUM: 1,
        IP_CHECKSUM: 1,
        PAYLOAD: payload.length,
      });
    }
    guest.ring();
    machine.settle(1);
    expect(machine.sent.length).toBe(0);
    for (const page of [...memory.missing].reverse()) {
      memory.arrive(page * PAGE);
      machine.settle(1);
    }
    expect(machine.sent.length).toBe(4);
    const data = machine.sent.map((frame) => frame.subarray(54));
    expect(Uint8Array.from(Buffer.concat(data))).toEqual(payload);
  });

  it('of one queue does not hold up another', () => {
    machine = lateHost(2);
    guest = guestAt(machine);
    const second = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
    memory.withhold(guest.txBuffer(0));
    guest.send(outgoing(100));
    second.send(ethernet(PEER, vfMac(1), bytesOf(90)));
    expect(machine.sent.map(({ length }) => length)).toEqual([104]);
    arrive(guest.txBuffer(0));
    expect(machine.sent.map(({ length }) => length)).toEqual([104, 100]);
  });
});

describe('a function with queues that wait', () => {
  beforeEach(() => {
    memory.withhold(guest.rxBuffer(0));
    memory.withhold(guest.txBuffer(0));
    receive(incoming(100));
    guest.send(outgoing(100));
  });
  const release = (): void => {
    arrive(guest.rxBuffer(0));
    arrive(guest.txBuffer(0));
  };

  it('does nothing while it is stopped, and sends when it goes on', () => {
    guest.vf.stop();
    release();
    expect([machine.sent.length, guest.read(reg.RDH)]).toEqual([0, 0]);
    guest.vf.start();
    machine.settle();
    expect(machine.sent.length).toBe(1);
    // What came for it is lost, as what comes while it stands still, and counted there.
    expect(guest.vf.pool.drops.stopped).toBe(1);
    receive(incoming(60));
    expect(guest.receive()?.data).toEqual(incoming(60));
  });

  it('moves: what it had to send is sent at the other host alone, once', () => {
    const target = host();
    const moved = move(machine, guest, target);
    target.settle();
    release();
    expect([machine.sent.length, target.sent.length]).toEqual([0, 1]);
    expect(target.sent[0]).toEqual(outgoing(100));
    target.nic.receive({ bytes: incoming(60), length: 60 });
    expect(moved.receive()?.data).toEqual(incoming(60));
  });

  it('forgets all when it is reset, and starts anew', () => {
    guest.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    expect(guest.vf.pool.drops.stopped).toBe(1);
    guest.negotiate();
    guest.open();
    release();
    expect([machine.sent.length, guest.receive()]).toEqual([0, undefined]);
    receive(incoming(70));
    expect(guest.receive()?.data).toEqual(incoming(70));
    guest.send(outgoing(71));
    expect(machine.sent.map(({ length }) => length)).toEqual([71]);
  });

  it('and that no longer masters the bus does not hold up others', () => {
    guest.vf.fn.configWrite(4, 2, 0);
    machine.settle();
    expect(guest.vf.pool.drops.noDescriptor).toBe(1);
    release();
    expect(machine.sent.length).toBe(0);
  });

  it('goes on when all memory is there for good', () => {
    memory.missing.clear();
    machine.nic.presence = undefined;
    machine.settle();
    expect(machine.sent.length).toBe(1);
    expect(guest.receive()?.data).toEqual(incoming(100));
  });
});

describe('whatever is missing, and in whatever order it comes', () => {
  it.each(Array.from({ length: 20 }, (_, i) => i))(
    'nothing is lost, doubled or out of order (seed %i)',
    (seed) => {
      const random = seededRandom(seed).fork('waits');
      const sent: number[] = [];
      const came: number[] = [];
      const got: number[] = [];
      const take = (): void => {
        for (let one = guest.receive(); one !== undefined; one = guest.receive()) got.push(one.data[20]!);
      };
      const marked = (frame: Uint8Array, mark: number): Uint8Array => {
        frame[20] = mark;
        return frame;
      };
      const flying = (): number => came.length - got.length;
      for (let i = 0; i < 400; i++) {
        const step = random.below(5);
        if (step === 0) {
          const area = random.pick([
            guest.rxRing,
            guest.txRing,
            guest.rxBuffer(random.below(64)),
            guest.txBuffer(random.below(64)),
          ]);
          memory.withhold(area);
        } else if (step === 1 && memory.missing.size > 0) {
          arrive(random.pick([...memory.missing]) * PAGE);
        } else if (step === 2 && flying() < 40) {
          came.push(i & 0xff);
          receive(marked(incoming(64 + random.below(1400)), i & 0xff));
        } else if (step === 3 && sent.length - machine.sent.length < 40) {
          sent.push(i & 0xff);
          guest.putData(marked(outgoing(64 + random.below(1400)), i & 0xff));
          guest.ring();
          machine.settle(1 + random.below(8));
        } else take();
      }
      for (const page of [...memory.missing]) arrive(page * PAGE);
      take();
      expect(got).toEqual(came);
      expect(machine.sent.map((frame) => frame[20])).toEqual(sent);
      expect(sent.length + got.length).toBeGreaterThan(60);
    },
  );
});
