/** The conformance suite of saved devices: save, change, restore, equal; hostile records refused by name. */
import { describe, expect, it } from 'vitest';
import type { DeviceRecord, SaveableDevice } from '../../base/device-record.js';
import { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { microseconds } from '../../base/units.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { decodeSections } from '../../devices/pci/state.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const POLICIES = [
  { mac: vfMac(0), trusted: true },
  { mac: vfMac(1), trusted: true },
];

function busyMachine() {
  const machine = new TestMachine({ vfs: POLICIES });
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000).start();
  const assigned = assignVf('vf0', machine.vf(1), { route: (_vector, message) => message });
  return { machine, guest, assigned };
}

/** Leaves the VF in the middle of everything: a packet half sent, interrupts held back, a request unanswered. */
function inTheMiddle({ machine, guest }: ReturnType<typeof busyMachine>): void {
  guest.request(4 | (1 << 16), 100);
  guest.request(3 | (2 << 16), 0x0123_0456);
  guest.request(6 | (1 << 16), 0x0302_0152, 7);
  const at = guest.base + 0x9_0000;
  machine.memory.bytes.set(ethernet(PEER, vfMac(0), bytesOf(5000), { type: 0x0800 }), at);
  guest.putContext({ MAC_BYTES: 14, VLAN: 100, INDEX: 1 });
  guest.putContext({ MAC_BYTES: 14, IP_BYTES: 20, L4_TYPE: 1, L4_BYTES: 20, IPV4: 1, SEGMENT_BYTES: 40 });
  guest.putData(new Uint8Array(0), { ADDRESS_LOW: at, LENGTH: 4054, SEGMENT: 1, PAYLOAD: 4000 });
  guest.ring();
  machine.nic.run(20);
  guest.read(reg.EICR);
  guest.write(reg.EIAM, 0);
  guest.write(reg.EIMS, 7);
  guest.write(reg.EITR, 400);
  guest.write(reg.EICS, 1);
  guest.write(reg.EICS, 1);
  machine.time.advance(microseconds(30));
  guest.write(reg.MAILBOX, 4);
  guest.write(reg.MBMEM, 9);
  guest.write(reg.MAILBOX, 4 | 1);
}

const devices: [string, (m: ReturnType<typeof busyMachine>) => SaveableDevice][] = [
  ['a virtual function', ({ machine }) => machine.vf(0)],
  ['the physical function', ({ machine }) => machine.nic],
  ['the root port', ({ machine }) => machine.port],
  ['an assigned function', ({ assigned }) => assigned],
];

/** Random accesses to everything that a guest and its host can write. */
function scramble({ machine, guest, assigned }: ReturnType<typeof busyMachine>, seed: number): void {
  const random = seededRandom(seed);
  for (let i = 0; i < 300; i++) {
    guest.write({ offset: random.below(0x1000) * 4, stride: 0 }, random.u32());
    guest.vf.fn.configWrite(random.below(64) * 4, 4, random.u32() & ~0x8000);
    assigned.fn.configWrite(random.below(64) * 4, 4, random.u32() & ~0x8000);
    guest.vf.fn.behaviour.writeBar(3, random.below(12) * 4, 4, random.u32());
    assigned.fn.behaviour.writeBar(3, random.below(12) * 4, 4, random.u32());
    machine.port.requestUnplug();
  }
  machine.driver.setPolicy(0, { linkEnabled: false });
}

describe.each(devices)('the record of %s', (_name, pick) => {
  it('is the same after save, change, restore, save', () => {
    for (let seed = 1; seed <= 5; seed++) {
      const m = busyMachine();
      inTheMiddle(m);
      const device = pick(m);
      m.machine.vf(0).stop();
      const saved = device.save();
      scramble(m, seed);
      expect(device.save(), 'the changes reached it').not.toEqual(saved);
      device.restore(saved);
      expect(device.save()).toEqual(saved);
    }
  });

  it('is refused when damaged, and then nothing has changed', () => {
    const m = busyMachine();
    inTheMiddle(m);
    const device = pick(m);
    m.machine.vf(0).stop();
    const saved = device.save();
    const random = seededRandom(23);
    const unchanged = () => Buffer.compare(device.save().state, saved.state) === 0;
    let refused = 0;
    for (let i = 0; i < 150; i++) {
      const state = saved.state.slice(0, random.chance(0.5) ? random.below(saved.state.length) : undefined);
      for (let flips = random.below(4); flips >= 0 && state.length > 0; flips--) {
        state[random.below(state.length)] = random.below(256);
      }
      const record: DeviceRecord = { ...saved, state };
      try {
        device.restore(record);
        // Whatever is accepted is a state that the device can be in: it is what it saves.
        expect(device.save().state).toHaveLength(saved.state.length);
        device.restore(saved);
      } catch (error) {
        refused++;
        expect(error).toBeInstanceOf(FerryError);
        expect((error as FerryError).code).toBe('devices/recordRefused');
        expect((error as FerryError).message).toContain(device.name);
      }
      expect(unchanged()).toBe(true);
      expect(() => device.describe(record)).not.toThrow();
    }
    expect(refused).toBeGreaterThan(50);
  });

  it('of another version is refused', () => {
    const device = pick(busyMachine());
    expect(() => device.restore({ ...device.save(), version: device.version + 1 })).toThrowError(
      expect.objectContaining({ code: 'devices/recordVersion' }),
    );
  });

  it('is described in words, every section of it', () => {
    const m = busyMachine();
    inTheMiddle(m);
    const device = pick(m);
    const record = device.save();
    const lines = device.describe(record);
    for (const [section, bytes] of decodeSections(record.state).sections) {
      if (bytes.length > 0) {
        expect(
          lines.some(([key]) => key.startsWith(`${section}.`)),
          section,
        ).toBe(true);
      }
    }
    expect(lines.every(([key, value]) => key.length > 0 && typeof value === 'string')).toBe(true);
  });
});

describe('a virtual function that moves', () => {
  it('goes on as another VF of another NIC as if it had stayed', () => {
    const source = busyMachine();
    inTheMiddle(source);
    const stayed = busyMachine();
    inTheMiddle(stayed);
    source.machine.vf(0).stop();
    const record = source.machine.vf(0).save();

    // There it was VF 0; here VF 1, with the same memory.
    const target = new TestMachine({ vfs: [{ mac: vfMac(7) }, { trusted: true }] });
    target.memory.bytes.set(source.machine.memory.bytes);
    target.vf(1).restore(record);
    target.vf(1).start();
    const guest = new GuestVf(target, target.vf(1), 0x10_0000);
    const local = stayed.guest;

    const finish = (machine: TestMachine, vf: GuestVf) => {
      machine.memory.messages = [];
      machine.settle();
      machine.time.advance(microseconds(1000));
      const throttled = machine.memory.messages.filter((m) => m.requester !== machine.nic.pf.fn.routingId);
      vf.write(reg.MAILBOX, 0);
      machine.time.advance(microseconds(1000));
      return {
        frames: machine.sent.map((frame) => [...frame]),
        messages: throttled.map((m) => m.data),
        answer: [0, 1, 2].map((i) => vf.read(reg.MBMEM, i)),
        head: vf.read(reg.TDH),
        counters: [vf.read(reg.GPTC), vf.read(reg.GOTC_LSB)],
      };
    };
    stayed.machine.sent.length = 0;
    const there = finish(target, guest);
    const here = finish(stayed.machine, local);
    expect(there).toEqual(here);
    expect(there.frames.length, 'the packet was half sent').toBeGreaterThan(50);
    expect(there.messages).toContain(0x50);
    expect(there.answer[1], 'the unanswered request is answered here').toBe(2);

    // Filters came along: address, VLAN, additional address.
    for (const [mac, tag] of [
      [vfMac(0), 100],
      [[0x52, 1, 2, 3, 7, 0], undefined],
    ] as const) {
      const frame = ethernet(mac, PEER, bytesOf(60), tag === undefined ? {} : { tag });
      target.nic.receive({ bytes: frame, length: frame.length });
    }
    expect(guest.read(reg.GPRC)).toBe(2);
    expect(target.driver.info(1).apiVersion).toBe(5);
  });

  it('a ring index off by one is not the same (the check can fail)', () => {
    const m = busyMachine();
    m.machine.vf(0).stop();
    const record = m.machine.vf(0).save();
    const target = new TestMachine({ vfs: POLICIES });
    target.vf(0).restore(record);
    target.vf(0).pool.words[reg.RDH.word]!++;
    expect(target.vf(0).save()).not.toEqual(record);
  });

  it('a request that the driver had not seen yet is answered by the new one, which knows the VF by then', () => {
    const m = busyMachine();
    m.guest.request(4 | (1 << 16), 100);
    m.machine.memory.onMessage = () => {};
    m.guest.read(reg.MAILBOX);
    m.guest.write(reg.MBMEM, 9);
    m.guest.write(reg.MAILBOX, 1);
    m.machine.vf(0).stop();
    const record = m.machine.vf(0).save();
    const target = new TestMachine({ vfs: POLICIES });
    target.vf(0).stop();
    target.vf(0).restore(record);
    const guest = new GuestVf(target, target.vf(0), 0x10_0000);
    expect(guest.read(reg.MAILBOX) & 0x10, 'not while it is stopped').toBe(0);
    target.vf(0).start();
    expect(guest.read(reg.MAILBOX) & 0x10).toBe(0x10);
    expect(guest.read(reg.MBMEM, 0)).toBe(0xa000_0009);
    expect([...target.driver.info(0).vlans]).toEqual([100]);
  });

  it('an interrupt is neither lost nor doubled by the move', () => {
    for (const waiting of [false, true]) {
      const m = busyMachine();
      m.guest.read(reg.EICR);
      m.guest.write(reg.EIAM, 0);
      m.guest.write(reg.EIAC, 0);
      m.guest.write(reg.EITR, 400);
      m.guest.write(reg.EIMS, 1);
      m.guest.write(reg.EICS, 1);
      // The first message has left; a second event waits for the interval to end, or there is none.
      if (waiting) m.guest.write(reg.EICS, 1);
      m.machine.vf(0).stop();
      const target = new TestMachine({ vfs: POLICIES });
      target.vf(0).stop();
      target.vf(0).restore(m.machine.vf(0).save());
      target.vf(0).start();
      target.time.advance(microseconds(1000));
      expect(target.memory.messages.map((message) => message.data)).toEqual(waiting ? [0x50] : []);
    }
  });

  it('is refused where the policy fixes another address, by name', () => {
    const { machine } = busyMachine();
    machine.vf(0).stop();
    const target = new TestMachine({ vfs: [{ mac: vfMac(9) }] });
    const before = target.vf(0).save();
    expect(() => target.vf(0).restore(machine.vf(0).save())).toThrow(
      /driver: its address is [0-9a-f:]{17} there, and the policy here fixes [0-9a-f:]{17}/,
    );
    expect(target.vf(0).save()).toEqual(before);
  });

  it('that takes jumbo frames is refused where the host grants none, with both sizes, and nothing changes there', () => {
    const source = new TestMachine({ vfs: [{ mac: vfMac(0) }], frameBytesMax: 9018 });
    const guest = new GuestVf(source, source.vf(0), 0x10_0000).start();
    guest.request(5, 9018);
    source.vf(0).stop();
    const target = new TestMachine({ vfs: [{ mac: vfMac(0) }] });
    const before = target.nic.save();
    expect(() => target.vf(0).restore(source.vf(0).save())).toThrow(
      /driver: it takes frames of 9018 bytes there, and this host grants 1518 at most/,
    );
    expect(target.nic.save()).toEqual(before);
    const willing = new TestMachine({ vfs: [{ mac: vfMac(0) }], frameBytesMax: 4018 });
    willing.vf(0).restore(source.vf(0).save());
    expect(willing.pfRead(pfRegisters.MAXFRS) >>> 16).toBe(9018);
  });

  it.each([
    ['where the link is down', { up: false, linkEnabled: true }, (0x100 | 0x2000_0000) >>> 0],
    ['whose policy keeps its link down', { up: true, linkEnabled: false }, 0x100],
    ['that is like the one before', { up: true, linkEnabled: true }, undefined],
  ] as const)('at a host %s is told by its mailbox after the start', (_name, { up, linkEnabled }, told) => {
    const source = new TestMachine({ vfs: [{ mac: vfMac(0) }] });
    new GuestVf(source, source.vf(0), 0x10_0000).start();
    source.vf(0).stop();
    const target = new TestMachine({ vfs: [{ mac: vfMac(0), linkEnabled }] });
    target.nic.setLink(up);
    const vf = target.vf(0);
    vf.stop();
    vf.restore(source.vf(0).save());
    const guest = new GuestVf(target, vf, 0x10_0000);
    const before = guest.read(reg.MBMEM) >>> 0;
    vf.start();
    target.driver.arrived(0);
    target.time.advance(microseconds(5000));
    expect(guest.read(reg.MBMEM) >>> 0).toBe(told ?? before);
    expect(target.pfRead(pfRegisters.VFTE) & 1).toBe(linkEnabled ? 1 : 0);
  });

  it('while it is stopped neither sends, receives nor interrupts, and its state stays', () => {
    const m = busyMachine();
    const vf = m.machine.vf(0);
    for (let i = 0; i < 5; i++) m.guest.putData(ethernet(PEER, vfMac(0), bytesOf(50)));
    vf.stop();
    m.guest.ring();
    const before = vf.save();
    m.machine.settle();
    m.machine.nic.receive({ bytes: ethernet(vfMac(0), PEER, bytesOf(50)), length: 64 });
    m.machine.time.advance(microseconds(5000));
    expect(vf.save()).toEqual(before);
    expect(m.machine.sent).toEqual([]);
    vf.start();
    m.machine.settle();
    expect(m.machine.sent).toHaveLength(5);
  });
});
