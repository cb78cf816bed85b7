import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { bytesOf, ethernet, ipv4, PEER, udp, vfMac } from './frames.js';
import { TestMachine, TestMemory } from './machine.js';
import { GuestVf, RX_COUNT, rxWriteBack, TX_COUNT } from './vf-guest.js';
import { hostWithGuest } from './vf-host.js';

const DD = 1;
const EOP = 2;
const VP = 8;

function setUp() {
  const { machine, guest } = hostWithGuest();
  const receive = (frame: Uint8Array) => machine.nic.receive({ bytes: frame, length: frame.length });
  const incoming = (size: number, seed = 0) => ethernet(vfMac(0), PEER, bytesOf(size - 14, seed));
  const outgoing = (size: number, seed = 0) => ethernet(PEER, vfMac(0), bytesOf(size - 14, seed));
  return { machine, guest, receive, incoming, outgoing };
}

describe('receiving', () => {
  it('delivers frames of every size whole and in order', () => {
    const { guest, receive, incoming } = setUp();
    for (let size = 60; size <= 1514; size += 13) {
      const frame = incoming(size, size);
      receive(frame);
      const got = guest.receive()!;
      expect(got.data).toEqual(frame);
      expect(rxWriteBack.STATUS.read(got.descriptor, 0) & 3).toBe(DD | EOP);
    }
  });

  it('pads short frames, drops what is no frame, and what is longer than MAXFRS', () => {
    const { machine, guest, receive, incoming } = setUp();
    receive(incoming(20));
    expect(guest.receive()!.data).toHaveLength(60);
    receive(new Uint8Array(13));
    receive(new Uint8Array(0));
    receive(incoming(1515));
    expect(guest.receive()).toBeUndefined();
    expect(machine.pfRead(pfRegisters.OVERSIZE)).toBe(1);
    receive(new Uint8Array(20_000));
    expect(guest.receive()).toBeUndefined();
  });

  it('makes the sixteen bytes of a write-back visible after the data, the length last', () => {
    const { machine, receive, incoming, guest } = setUp();
    const order: string[] = [];
    const { memory } = machine;
    const write = TestMemory.prototype.write.bind(memory);
    memory.write = (requester, address, source, at, length) => {
      order.push('data');
      write(requester, address, source, at, length);
    };
    const descriptor = TestMemory.prototype.writeDescriptor.bind(memory);
    memory.writeDescriptor = (requester, address, ...dwords) => {
      order.push('descriptor');
      expect(address % 16).toBe(0);
      descriptor(requester, address, ...dwords);
    };
    receive(incoming(300));
    expect(order).toEqual(['data', 'descriptor']);
    expect(guest.receive()?.data).toHaveLength(300);
  });

  it('spreads a frame over as many buffers as it needs, only the last with EOP', () => {
    const { machine, guest } = setUp();
    const { memory } = machine;
    machine.nic.pf.write(pfRegisters.MAXFRS.offset, 4, 9018 << 16);
    guest.write(reg.SRRCTL, 1 | (1 << 25) | (1 << 28));
    const frame = ethernet(vfMac(0), PEER, bytesOf(3000));
    machine.nic.receive({ bytes: frame, length: frame.length });
    const parts = [0, 1, 2].map((i) => guest.descriptor(guest.rxRing, i));
    expect(parts.map((words) => rxWriteBack.LENGTH.read(words, 0))).toEqual([1024, 1024, 3014 - 2048]);
    expect(parts.map((words) => rxWriteBack.STATUS.read(words, 0) & 3)).toEqual([DD, DD, DD | EOP]);
    const whole = parts.flatMap((words, i) => [
      ...memory.bytes.subarray(guest.rxBuffer(i), guest.rxBuffer(i) + rxWriteBack.LENGTH.read(words, 0)),
    ]);
    expect(Uint8Array.from(whole)).toEqual(frame);
    expect(guest.read(reg.RDH)).toBe(3);
  });

  it('drops a frame whole when descriptors run out, and counts it', () => {
    const { machine, guest, receive, incoming } = setUp();
    for (let i = 0; i < RX_COUNT - 1; i++) receive(incoming(64, i));
    expect(guest.read(reg.RDH)).toBe(guest.read(reg.RDT));
    const before = machine.memory.bytes.slice();
    receive(incoming(64, 200));
    expect(Buffer.compare(machine.memory.bytes, before)).toBe(0);
    expect(machine.pfRead(pfRegisters.QPRDC, 0)).toBe(1);
    for (let i = 0; i < RX_COUNT - 1; i++) expect(guest.receive()?.data).toEqual(incoming(64, i));
    receive(incoming(64, 201));
    expect(guest.receive()?.data).toEqual(incoming(64, 201));
  });

  it('stays where it is when a descriptor can’t be read, and goes on there once it can', () => {
    const { machine, guest, receive, incoming } = setUp();
    receive(incoming(64, 1));
    guest.receive();
    guest.write(reg.RDBAL, machine.memory.bytes.length);
    receive(incoming(64, 2));
    expect(machine.memory.blocked, 'reads of a descriptor beyond memory').toHaveLength(1);
    expect(guest.read(reg.RDH), 'head behind the frame that was dropped').toBe(1);
    expect(machine.pfRead(pfRegisters.QPRDC, 0), 'frames dropped').toBe(1);
    guest.write(reg.RDBAL, guest.rxRing);
    receive(incoming(64, 3));
    expect(guest.receive()?.data, 'the frame that came once it could be read').toEqual(incoming(64, 3));
  });

  it('goes around the ring for a long time without losing its place', () => {
    const { guest, receive, incoming } = setUp();
    const random = seededRandom(5);
    let sent = 0;
    let got = 0;
    for (let round = 0; round < 200; round++) {
      const burst = random.below(20);
      for (let i = 0; i < burst; i++) receive(incoming(64 + (sent++ % 100), sent & 0xff));
      for (let frame = guest.receive(); frame !== undefined; frame = guest.receive()) {
        got++;
        expect(frame.data).toEqual(incoming(64 + ((got - 1) % 100), got & 0xff));
      }
    }
    expect(got).toBe(sent);
    expect(got).toBeGreaterThan(1000);
  });

  it('strips VLAN tags into the descriptor where the queue asks for it', () => {
    const { guest, machine } = setUp();
    guest.request(4 | (1 << 16), 100);
    const frame = ethernet(vfMac(0), PEER, bytesOf(100), { tag: 0x6064 });
    machine.nic.receive({ bytes: frame, length: frame.length });
    const stripped = guest.receive()!;
    expect(stripped.data).toEqual(ethernet(vfMac(0), PEER, bytesOf(100)));
    expect(rxWriteBack.STATUS.read(stripped.descriptor, 0) & VP).toBe(VP);
    expect(rxWriteBack.VLAN.read(stripped.descriptor, 0)).toBe(0x6064);
    guest.write(reg.RXDCTL, reg.RXDCTL.fields.ENABLE.mask);
    machine.nic.receive({ bytes: frame, length: frame.length });
    const kept = guest.receive()!;
    expect(kept.data).toEqual(frame);
    expect(rxWriteBack.STATUS.read(kept.descriptor, 0) & VP).toBe(0);
  });

  it('splits headers where the queue and PSRTYPE ask for it', () => {
    const { guest, machine } = setUp();
    guest.write(reg.SRRCTL, 2 | (4 << 8) | (2 << 25) | (1 << 28));
    guest.write(reg.PSRTYPE, reg.PSRTYPE.fields.UDP.mask);
    const header = 0x3_0000 + guest.base;
    machine.memory.view.setUint32(guest.rxRing + 8, header, true);
    const frame = ethernet(vfMac(0), PEER, ipv4(17, udp(bytesOf(200))), { type: 0x0800 });
    machine.nic.receive({ bytes: frame, length: frame.length });
    const words = guest.descriptor(guest.rxRing, 0);
    expect(rxWriteBack.SPLIT_HEADER.read(words, 0)).toBe(1);
    expect(rxWriteBack.HEADER_BYTES.read(words, 0)).toBe(42);
    expect(rxWriteBack.LENGTH.read(words, 0)).toBe(200);
    expect(machine.memory.bytes.slice(header, header + 42)).toEqual(frame.slice(0, 42));
    expect(machine.memory.bytes.slice(guest.rxBuffer(0), guest.rxBuffer(0) + 200)).toEqual(frame.slice(42));
  });

  it('says no longer a header than the descriptor has room for, however large its buffer is', () => {
    const { guest, machine, receive, incoming } = setUp();
    const alwaysSplit = 5 << 25;
    guest.write(reg.SRRCTL, 2 | (32 << 8) | alwaysSplit | (1 << 28));
    const header = 0x3_0000 + guest.base;
    machine.memory.view.setUint32(guest.rxRing + 8, header, true);
    const frame = incoming(1400);
    receive(frame);
    const words = guest.descriptor(guest.rxRing, 0);
    expect(rxWriteBack.SPLIT_HEADER.read(words, 0)).toBe(1);
    expect(rxWriteBack.HEADER_BYTES.read(words, 0)).toBe(1023);
    expect(rxWriteBack.LENGTH.read(words, 0)).toBe(1400 - 1023);
    expect(machine.memory.bytes.slice(header, header + 1023)).toEqual(frame.slice(0, 1023));
  });

  it('keeps all seven bits of a buffer size', () => {
    const { guest } = setUp();
    guest.write(reg.SRRCTL, 0x7f | (1 << 25));
    expect(guest.read(reg.SRRCTL) & 0x7f).toBe(0x7f);
  });

  it('writes legacy descriptors where the queue asks for them', () => {
    const { guest, machine } = setUp();
    guest.write(reg.SRRCTL, 2 | (1 << 28));
    const frame = ethernet(vfMac(0), PEER, bytesOf(100));
    machine.nic.receive({ bytes: frame, length: frame.length });
    const words = guest.descriptor(guest.rxRing, 0);
    expect(words[0], 'the buffer address stays').toBe(guest.rxBuffer(0));
    expect(words[2]! & 0xffff).toBe(114);
    expect(words[3]! & 0xff).toBe(DD | EOP);
  });

  it('does nothing while the queue is off, the pool may not receive, or bus mastering is off', () => {
    const { machine, guest, receive, incoming } = setUp();
    const cases: [string, () => void, () => void][] = [
      ['queue', () => guest.write(reg.RXDCTL, 0), () => guest.write(reg.RXDCTL, 1 << 25)],
      [
        'pool',
        () => machine.nic.pf.write(pfRegisters.VFRE.offset, 4, 0),
        () => machine.nic.pf.write(pfRegisters.VFRE.offset, 4, 3),
      ],
      ['bus mastering', () => guest.vf.fn.configWrite(4, 2, 0), () => guest.vf.fn.configWrite(4, 2, 4)],
      ['stopped', () => guest.vf.stop(), () => guest.vf.start()],
      [
        'receiver of the NIC',
        () => machine.nic.pf.write(pfRegisters.RXCTRL.offset, 4, 0),
        () => machine.nic.pf.write(pfRegisters.RXCTRL.offset, 4, 1),
      ],
    ];
    for (const [name, off, on] of cases) {
      off();
      const writes = machine.memory.writes;
      receive(incoming(64));
      expect(machine.memory.writes, name).toBe(writes);
      on();
      receive(incoming(64));
      expect(guest.receive(), name).toBeDefined();
    }
  });

  it('counts packets, multicasts and octets, in 36 bits', () => {
    const { machine, guest, receive, incoming } = setUp();
    const { words } = guest.vf.pool;
    words[reg.GORC_LSB.word] = 0xffff_ffff;
    words[reg.GORC_MSB.word] = 0xf;
    receive(incoming(100));
    receive(ethernet([0xff, 0xff, 0xff, 0xff, 0xff, 0xff], PEER, bytesOf(86)));
    expect(guest.read(reg.GPRC)).toBe(2);
    expect(guest.read(reg.MPRC)).toBe(1);
    expect(guest.read(reg.GORC_LSB)).toBe(2 * 104 - 1);
    expect(guest.read(reg.GORC_MSB), 'wrapped').toBe(0);
    expect(machine.pfRead(pfRegisters.GPRC)).toBe(2);
    expect(machine.pfRead(pfRegisters.GPRC), 'the host’s counters are cleared by reading').toBe(0);
    expect(guest.read(reg.GPRC), 'the guest’s are not').toBe(2);
  });
});

describe('transmitting', () => {
  it('sends frames of every size whole and in order, and reports those that ask for it', () => {
    const { machine, guest, outgoing } = setUp();
    for (let size = 60; size <= 1514; size += 17) {
      const frame = outgoing(size, size);
      const slot = guest.send(frame, { REPORT_STATUS: size % 2 });
      expect(machine.sent.pop()).toEqual(frame);
      expect(guest.isDone(slot)).toBe(size % 2 === 1);
    }
    expect(guest.read(reg.TDH)).toBe(guest.read(reg.TDT));
  });

  it('pads short frames and does not send what is too short or too long to be one', () => {
    const { machine, guest, outgoing } = setUp();
    guest.send(outgoing(20));
    expect(machine.sent.pop()).toHaveLength(60);
    const slot = guest.send(new Uint8Array(16));
    expect(machine.sent).toEqual([]);
    expect(guest.isDone(slot), 'the descriptor comes back').toBe(true);
    guest.putData(outgoing(64), { LENGTH: 0xffff });
    guest.ring();
    machine.settle();
    expect(machine.sent).toEqual([]);
    guest.send(outgoing(64));
    expect(machine.sent).toHaveLength(1);
  });

  it('gathers a packet from several descriptors, also over the end of the ring', () => {
    const { machine, guest, outgoing } = setUp();
    for (let i = 0; i < TX_COUNT - 2; i++) guest.send(outgoing(60));
    machine.sent.length = 0;
    const frame = outgoing(600);
    const parts = [frame.slice(0, 14), frame.slice(14, 15), frame.slice(15, 300), frame.slice(300)];
    const slots = parts.map((part, i) =>
      guest.putData(part, { EOP: i === 3 ? 1 : 0, REPORT_STATUS: i === 3 ? 1 : 0, PAYLOAD: 600 }),
    );
    expect(slots[0]).toBeGreaterThan(slots[3]!);
    guest.ring();
    machine.settle();
    expect(machine.sent).toEqual([frame]);
    expect(slots.map((slot) => guest.isDone(slot))).toEqual([false, false, false, true]);
  });

  it('stands still while the wire takes nothing, and loses nothing by it', () => {
    const { machine, guest, outgoing } = setUp();
    machine.wireReady = false;
    const frame = outgoing(100);
    const slot = guest.putData(frame);
    guest.ring();
    expect(machine.nic.run(64), 'nothing to do until the wire is ready').toBe(false);
    expect(machine.sent).toEqual([]);
    expect(guest.isDone(slot)).toBe(false);
    machine.wireReady = true;
    machine.nic.run(64);
    expect(machine.sent).toEqual([frame]);
    expect(guest.isDone(slot)).toBe(true);
  });

  it('waits for the rest of a packet whose last descriptor is not there yet', () => {
    const { machine, guest, outgoing } = setUp();
    const frame = outgoing(100);
    guest.putData(frame.slice(0, 50), { EOP: 0, REPORT_STATUS: 0 });
    guest.ring();
    machine.settle();
    expect(machine.sent).toEqual([]);
    expect(guest.read(reg.TDH)).toBe(0);
    guest.putData(frame.slice(50));
    guest.ring();
    machine.settle();
    expect(machine.sent).toEqual([frame]);
  });

  it('writes the head back to memory instead of descriptors where the queue asks for it', () => {
    const { machine, guest, outgoing } = setUp();
    const at = guest.base + 0x3_0000;
    machine.memory.view.setUint32(at, 0xffff_ffff, true);
    guest.write(reg.TDWBAL, at | 1);
    const slot = guest.send(outgoing(64));
    expect(guest.isDone(slot)).toBe(false);
    expect(machine.memory.view.getUint32(at, true)).toBe(1);
    guest.send(outgoing(64));
    expect(machine.memory.view.getUint32(at, true)).toBe(2);
  });

  it('inserts VLAN tags from contexts; contexts stay loaded for later packets', () => {
    const { machine, guest } = setUp();
    guest.request(4 | (1 << 16), 100);
    const frame = ethernet(PEER, vfMac(0), bytesOf(80));
    guest.putContext({ MAC_BYTES: 14, VLAN: 0x4064, INDEX: 1 });
    guest.putContext({ MAC_BYTES: 14, VLAN: 0x0064, INDEX: 0 });
    guest.send(frame, { INSERT_VLAN: 1, USE_CONTEXT: 1, CONTEXT_INDEX: 1 });
    expect(machine.sent.pop()).toEqual(ethernet(PEER, vfMac(0), bytesOf(80), { tag: 0x4064 }));
    guest.send(frame, { INSERT_VLAN: 1, USE_CONTEXT: 1, CONTEXT_INDEX: 0 });
    expect(machine.sent.pop()).toEqual(ethernet(PEER, vfMac(0), bytesOf(80), { tag: 0x0064 }));
    guest.send(frame);
    expect(machine.sent.pop()).toEqual(frame);
  });

  it('sends legacy descriptors, with the one checksum that they can ask for', () => {
    const { machine, guest } = setUp();
    const body = ipv4(17, udp(bytesOf(50)), { checksum: 0 });
    const frame = ethernet(PEER, vfMac(0), body, { type: 0x0800 });
    const slot = guest.putData(frame, { EXTENDED: 0, TYPE: 0 });
    // The checksum from byte 14 to the end goes to offset 24.
    machine.memory.view.setUint32(
      guest.txRing + slot * 16 + 8,
      frame.length | (24 << 16) | (0xd << 24),
      true,
    );
    machine.memory.view.setUint32(guest.txRing + slot * 16 + 12, 14 << 8, true);
    guest.ring();
    machine.settle();
    const sent = machine.sent.pop()!;
    expect(sent.slice(0, 24)).toEqual(frame.slice(0, 24));
    expect((sent[24]! << 8) | sent[25]!).not.toBe(0);
  });

  it('does nothing while the queue is off, the pool may not send, or bus mastering is off; then goes on', () => {
    const { machine, guest, outgoing } = setUp();
    const cases: [string, () => void, () => void][] = [
      ['queue', () => guest.write(reg.TXDCTL, 0), () => guest.write(reg.TXDCTL, 1 << 25)],
      [
        'pool',
        () => machine.nic.pf.write(pfRegisters.VFTE.offset, 4, 0),
        () => machine.nic.pf.write(pfRegisters.VFTE.offset, 4, 3),
      ],
      ['bus mastering', () => guest.vf.fn.configWrite(4, 2, 0), () => guest.vf.fn.configWrite(4, 2, 4)],
      ['stopped', () => guest.vf.stop(), () => guest.vf.start()],
    ];
    for (const [name, off, on] of cases) {
      off();
      guest.send(outgoing(64));
      expect(machine.sent, name).toEqual([]);
      on();
      machine.settle();
      expect(machine.sent, name).toHaveLength(1);
      machine.sent.length = 0;
    }
  });

  it('gives queues their turns: a full one does not keep another waiting', () => {
    const machine = new TestMachine({ vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
    const first = new GuestVf(machine, machine.vf(0), 0x10_0000).start();
    const second = new GuestVf(machine, machine.vf(1), 0x20_0000).start();
    for (let i = 0; i < TX_COUNT - 1; i++) first.putData(ethernet(PEER, vfMac(0), bytesOf(50)));
    for (let i = 0; i < 10; i++) second.putData(ethernet(PEER, vfMac(1), bytesOf(50)));
    machine.nic.run(0);
    first.ring();
    second.ring();
    let steps = 0;
    while (!machine.sent.some((frame) => frame[11] === 2)) {
      machine.nic.run(16);
      if (++steps > 20) throw new Error('the second VF starves');
    }
    machine.settle();
    expect(machine.sent).toHaveLength(TX_COUNT - 1 + 10);
  });

  it('asks for a step when a doorbell brings work, and not for one without', () => {
    const { machine, guest, outgoing } = setUp();
    const before = machine.wakeups;
    guest.ring();
    guest.write(reg.TDT, 0);
    expect(machine.wakeups).toBe(before);
    guest.putData(outgoing(64));
    guest.ring();
    expect(machine.wakeups).toBe(before + 1);
    expect(machine.nic.run(64)).toBe(false);
  });
});
