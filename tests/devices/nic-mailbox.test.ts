import { describe, expect, it } from 'vitest';
import { microseconds, milliseconds } from '../../base/units.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { pfRegisters } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const ACK = 0x8000_0000;
const NACK = 0x4000_0000;
const CTS = 0x2000_0000;
const flags = (word: number | undefined): number => ((word ?? 0) & 0xe000_0000) >>> 0;
const GRANTED = (ACK | CTS) >>> 0;
const REFUSED = (NACK | CTS) >>> 0;

const [REQ_BIT, ACK_BIT, VFU, PFU, PFSTS, PFACK, RSTI, RSTD] = [1, 2, 4, 8, 0x10, 0x20, 0x40, 0x80];

function setUp(policy: Partial<VfPolicy> = { mac: vfMac(0) }, frameBytesMax?: number) {
  const machine = new TestMachine({
    vfs: [policy, { mac: vfMac(1) }],
    ...(frameBytesMax === undefined ? {} : { frameBytesMax }),
  });
  const guest = new GuestVf(machine, machine.vf(0), 0x10_0000);
  guest.enableDevice();
  return { machine, guest };
}

/** A VF that has had its RESET and agreed on a version. */
/** A request for the queues, of a VF that keeps the lock of its mailbox. */
function askAndHold(guest: GuestVf): void {
  guest.write(reg.MAILBOX, VFU);
  guest.write(reg.MBMEM, 9);
  guest.write(reg.MAILBOX, VFU | REQ_BIT);
}

function negotiated(version: number, policy?: Partial<VfPolicy>, frameBytesMax?: number) {
  const t = setUp(policy, frameBytesMax);
  t.guest.negotiate(version);
  return t;
}

describe('mailbox registers', () => {
  it('the lock goes to one side at a time', () => {
    const { machine, guest } = setUp();
    const pf = pfRegisters.MAILBOX.offset;
    guest.write(reg.MAILBOX, VFU);
    expect(guest.read(reg.MAILBOX) & (VFU | PFU)).toBe(VFU);
    machine.nic.pf.write(pf, 4, 8);
    expect(machine.nic.pf.read(pf, 4) & 8, 'the PF can’t take it').toBe(0);
    guest.write(reg.MAILBOX, 0);
    machine.nic.pf.write(pf, 4, 8);
    expect(machine.nic.pf.read(pf, 4) & 8).toBe(8);
    guest.write(reg.MAILBOX, VFU);
    expect(guest.read(reg.MAILBOX) & (VFU | PFU)).toBe(PFU);
    machine.nic.pf.write(pf, 4, 0);
    guest.write(reg.MAILBOX, VFU);
    machine.nic.pf.write(pf, 4, 0x10);
    expect(guest.read(reg.MAILBOX) & VFU, 'RVFU revokes').toBe(0);
  });

  it('RVFU also drops what the VF has sent, and of no other VF', () => {
    const { machine, guest } = setUp();
    const other = new GuestVf(machine, machine.vf(1), 0x20_0000);
    machine.memory.onMessage = () => {};
    for (const vf of [guest, other]) vf.write(reg.MAILBOX, REQ_BIT | ACK_BIT);
    expect(machine.pfRead(pfRegisters.MBICR)).toBe(0x3_0003);
    machine.nic.pf.write(pfRegisters.MAILBOX.offset, 4, 0x10);
    expect(machine.pfRead(pfRegisters.MBICR)).toBe(0x2_0002);
  });

  it('PFSTS, PFACK and RSTD are cleared by the read that shows them', () => {
    const { machine, guest } = setUp();
    guest.read(reg.MAILBOX);
    machine.nic.pf.write(pfRegisters.MAILBOX.offset, 4, 3);
    expect(guest.read(reg.MAILBOX) & (PFSTS | PFACK)).toBe(PFSTS | PFACK);
    expect(guest.read(reg.MAILBOX) & (PFSTS | PFACK)).toBe(0);
  });

  it('the memory is one, seen from both sides', () => {
    const { machine, guest } = setUp();
    guest.write(reg.MBMEM, 0xcafe_f00d, 5);
    expect(machine.nic.pf.read(0x1_3000 + 5 * 4, 4)).toBe(0xcafe_f00d);
    machine.nic.pf.write(0x1_3000 + 64 + 4, 4, 7);
    expect(machine.vf(1).pool.read(reg.MBMEM.offset + 4, 4)).toBe(7);
  });

  it('a reset of the physical function shows as RSTI until its driver is back, then once as RSTD', () => {
    const { machine, guest } = setUp();
    guest.read(reg.MAILBOX);
    machine.nic.pf.write(0, 4, 1 << 26);
    expect(guest.read(reg.MAILBOX) & (RSTI | RSTD)).toBe(RSTI);
    expect(guest.read(reg.MAILBOX) & RSTI, 'a level, not cleared by reading').toBe(RSTI);
    machine.driver.start();
    expect(guest.read(reg.MAILBOX) & (RSTI | RSTD)).toBe(RSTD);
    expect(guest.read(reg.MAILBOX) & (RSTI | RSTD)).toBe(0);
  });

  it('requests and acknowledgements are causes of the physical function, cleared by writing one', () => {
    const { machine, guest } = setUp();
    machine.memory.onMessage = () => {};
    guest.write(reg.MAILBOX, REQ_BIT | ACK_BIT);
    machine.vf(1).pool.write(reg.MAILBOX.offset, 4, REQ_BIT);
    const causes = machine.pfRead(pfRegisters.MBICR, 0);
    expect(causes).toBe(0x1_0003);
    expect(machine.pfRead(pfRegisters.EICR) & (1 << 19)).toBe(1 << 19);
    machine.nic.pf.write(pfRegisters.MBICR.offset, 4, 1);
    expect(machine.pfRead(pfRegisters.MBICR, 0)).toBe(0x1_0002);
  });
});

describe('the physical function’s driver', () => {
  it('answers RESET with the address and leave to work', () => {
    const { machine, guest } = setUp();
    const answer = guest.request(1);
    expect(answer[0]).toBe((ACK | 1) >>> 0);
    expect(answer.slice(1, 4)).toEqual([0x0000_5452, 0x0100, 0]);
    expect(machine.pfRead(pfRegisters.VFTE) & 1).toBe(1);
    expect(machine.pfRead(pfRegisters.VFRE) & 1).toBe(1);
  });

  it('refuses to name an address where none is assigned, and the VF works all the same', () => {
    const { machine, guest } = setUp({});
    expect(guest.request(1)[0]).toBe((NACK | 1) >>> 0);
    expect(machine.pfRead(pfRegisters.VFTE) & 1).toBe(1);
    expect(flags(guest.request(2, 0x0302_0152, 0x0504)[0])).toBe(GRANTED);
    const again = guest.request(1);
    expect([...again.slice(0, 3)], 'nor one that the VF chose itself').toEqual([(NACK | 1) >>> 0, 0, 0]);
  });

  it('refuses everything before RESET, in one word and without CTS', () => {
    const { guest } = setUp();
    for (const op of [2, 3, 4, 5, 8, 9, 0xc]) {
      expect(guest.request(op, 1)[0]).toBe((op | NACK) >>> 0);
    }
  });

  it('negotiates what Linux’s driver of the function does: 1.0 to 1.4, 1.6 and 1.7', () => {
    const { guest, machine } = setUp();
    guest.request(1);
    const agreed = Array.from(
      { length: 12 },
      (_, version) => flags(guest.request(8, version)[0]) === GRANTED,
    );
    // 1.0, not 2.0, 1.1, 1.2, 1.3, 1.4; not 1.5; 1.6, 1.7; nothing that comes later.
    expect(agreed).toEqual([
      ...[true, false, true, true, true, true],
      ...[false, true, true],
      ...[false, false, false],
    ]);
    expect(machine.driver.info(0).apiVersion).toBe(8);
  });

  it('understands each opcode from its version on', () => {
    const since: [number, number][] = [
      [0x09, 2],
      [0x0c, 3],
      [0x10, 3],
      [0x12, 8],
    ];
    for (const version of [0, 2, 3, 4, 5, 7, 8]) {
      const { guest } = negotiated(version);
      for (const [op, first] of since) {
        expect(flags(guest.request(op, 1)[0]), `opcode ${op} in version ${version}`).toBe(
          version >= first ? GRANTED : REFUSED,
        );
      }
    }
  });

  it('refuses opcodes that it does not know, IPsec among them', () => {
    const { guest } = negotiated(5);
    for (const op of [0x00, 0x07, 0x0d, 0x0e, 0x0f, 0x11, 0x12, 0x100, 0xffff]) {
      expect(flags(guest.request(op)[0]), `opcode ${op}`).toBe(REFUSED);
    }
  });

  it('has no features to tell of, and no link state by message, which this part lacks', () => {
    expect(negotiated(8).guest.request(0x12, 1).slice(0, 2)).toEqual([(0x12 | GRANTED) >>> 0, 0]);
    for (const version of [7, 8]) expect(flags(negotiated(version).guest.request(0x11)[0])).toBe(REFUSED);
  });

  it('ignores a message that is itself an answer', () => {
    const { guest } = negotiated(5);
    expect(guest.request((ACK | 9) >>> 0)).toEqual([]);
    expect(guest.request((NACK | 9) >>> 0)).toEqual([]);
  });

  it('lets an untrusted VF have no other address than the fixed one', () => {
    const { guest } = negotiated(5);
    expect(flags(guest.request(2, 0x0000_5452, 0x0100)[0])).toBe(GRANTED);
    expect(flags(guest.request(2, 0x0000_5452, 0x0200)[0])).toBe(REFUSED);
    const trusted = negotiated(5, { mac: vfMac(0), trusted: true });
    expect(flags(trusted.guest.request(2, 0x0000_5452, 0x0200)[0])).toBe(GRANTED);
    expect(flags(trusted.guest.request(2, 0, 0)[0]), 'all zero').toBe(REFUSED);
    expect(flags(trusted.guest.request(2, 1, 0)[0]), 'multicast').toBe(REFUSED);
  });

  it('programs multicast hashes and takes back those of a VF that was reset', () => {
    const { machine, guest } = negotiated(5);
    const mta = (hash: number) => (machine.pfRead(pfRegisters.MTA, hash >>> 5) >>> (hash & 31)) & 1;
    expect(flags(guest.request(3 | (3 << 16), 0x0123 | (0x0fff << 16), 0x0800)[0])).toBe(GRANTED);
    expect([mta(0x123), mta(0xfff), mta(0x800), mta(0x124)]).toEqual([1, 1, 1, 0]);
    expect(flags(guest.request(3 | (31 << 16))[0]), 'more than a message holds').toBe(REFUSED);
    guest.negotiate();
    expect(mta(0x123)).toBe(0);
  });

  it('adds and removes VLANs; a VF with a port VLAN has no say', () => {
    const { machine, guest } = negotiated(5);
    const filter = () =>
      Array.from({ length: 64 }, (_, i) => machine.pfRead(pfRegisters.VLVF, i)).filter((v) => v !== 0);
    const before = filter().length;
    expect(flags(guest.request(4 | (1 << 16), 100)[0])).toBe(GRANTED);
    expect(filter()).toContain(0x8000_0000 + 100);
    expect(machine.pfRead(pfRegisters.VFTA, 3) & 0x10).toBe(0x10);
    expect(flags(guest.request(4, 100)[0])).toBe(GRANTED);
    expect(filter()).toHaveLength(before);
    expect(machine.pfRead(pfRegisters.VFTA, 3) & 0x10).toBe(0);
    const port = negotiated(5, { mac: vfMac(0), portVlan: 5 });
    expect(flags(port.guest.request(4 | (1 << 16), 100)[0])).toBe(REFUSED);
    expect(port.guest.request(9, 0)[3], 'transparent VLAN').toBe(1);
  });

  it('says so when VLAN filters run out, and gives them back', () => {
    const { guest } = negotiated(5);
    let granted = 0;
    while (flags(guest.request(4 | (1 << 16), 200 + granted)[0]) === GRANTED) granted++;
    expect(granted).toBeGreaterThan(50);
    expect(granted).toBeLessThan(64);
    guest.request(4, 200);
    expect(flags(guest.request(4 | (1 << 16), 4000)[0])).toBe(GRANTED);
  });

  it('grants jumbo frames by API version where the host has them, and else stops the VF from receiving', () => {
    const enabled = (machine: TestMachine) => machine.pfRead(pfRegisters.VFRE) & 1;
    const standard = negotiated(5);
    expect(flags(standard.guest.request(5, 1518)[0])).toBe(GRANTED);
    expect(flags(standard.guest.request(5, 9018)[0])).toBe(REFUSED);
    expect(enabled(standard.machine)).toBe(0);
    expect(flags(standard.guest.request(5, 1518)[0])).toBe(GRANTED);
    expect(enabled(standard.machine)).toBe(1);
    const old = negotiated(0, { mac: vfMac(0) }, 9018);
    expect(flags(old.guest.request(5, 1518)[0]), 'API 1.0 beside jumbo frames').toBe(REFUSED);
    expect(enabled(old.machine)).toBe(0);
    const jumbo = negotiated(5, { mac: vfMac(0) }, 4018);
    expect(flags(jumbo.guest.request(5, 9018)[0])).toBe(GRANTED);
    expect(jumbo.machine.pfRead(pfRegisters.MAXFRS) >>> 16, 'the limit is raised for all').toBe(9018);
    expect(flags(jumbo.guest.request(5, 9729)[0]), 'more than the hardware takes').toBe(REFUSED);
    for (const least of [standard, jumbo]) {
      expect(flags(least.guest.request(5, 67)[0]), 'less than any MTU').toBe(REFUSED);
      expect(flags(least.guest.request(5, 0)[0])).toBe(REFUSED);
      expect(flags(least.guest.request(5, 68)[0])).toBe(GRANTED);
    }
  });

  it('keeps additional addresses: index 1 starts the list anew, 0 empties it', () => {
    const { machine, guest } = negotiated(5, { mac: vfMac(0), trusted: true });
    guest.request(6 | (1 << 16), 0x0302_0152, 0x0001);
    guest.request(6 | (2 << 16), 0x0302_0152, 0x0002);
    expect(machine.driver.info(0).macvlans).toHaveLength(2);
    guest.request(6 | (1 << 16), 0x0302_0152, 0x0003);
    expect(machine.driver.info(0).macvlans.map((mac) => mac[4])).toEqual([3]);
    guest.request(6);
    expect(machine.driver.info(0).macvlans).toEqual([]);
    const untrusted = negotiated(5);
    expect(flags(untrusted.guest.request(6 | (1 << 16), 0x0302_0152, 1)[0])).toBe(REFUSED);
  });

  it('tells queues, and RSS only where the host lets it', () => {
    const { guest } = negotiated(5);
    expect(guest.request(9).slice(1, 5)).toEqual([2, 2, 0, 0]);
    expect(flags(guest.request(0xa)[0])).toBe(REFUSED);
    expect(flags(guest.request(0xb)[0])).toBe(REFUSED);
    const open = negotiated(5, { mac: vfMac(0), rssQuery: true });
    const table = open.guest.request(0xa);
    expect(flags(table[0])).toBe(GRANTED);
    expect(table.slice(1, 9)).toEqual(Array(8).fill(0x4444_4444));
    expect(open.guest.request(0xb).slice(1, 11)).toEqual(
      Array.from({ length: 10 }, (_, i) => open.machine.pfRead(pfRegisters.RSSRK, i)),
    );
  });

  it('gives an untrusted VF less than it asks for, and nobody promiscuous mode', () => {
    const { guest } = negotiated(5);
    expect([0, 1, 2, 3].map((mode) => guest.request(0xc, mode)[1])).toEqual([0, 1, 1, 1]);
    expect(flags(guest.request(0xc, 4)[0])).toBe(REFUSED);
    const trusted = negotiated(5, { mac: vfMac(0), trusted: true });
    expect(trusted.guest.request(0xc, 2)[1]).toBe(2);
    expect(trusted.machine.pfRead(pfRegisters.VMOLR, 0) & (1 << 28)).toBe(1 << 28);
    expect(flags(trusted.guest.request(0xc, 3)[0])).toBe(REFUSED);
    const { BAM, ROMPE, MPE, UPE, VPE } = pfRegisters.VMOLR.fields;
    const all = BAM.mask | ROMPE.mask | MPE.mask | UPE.mask | VPE.mask;
    const modes = [0, 1, 2].map((mode) => {
      trusted.guest.request(0xc, 2);
      trusted.guest.request(0xc, mode);
      return trusted.machine.pfRead(pfRegisters.VMOLR, 0) & all;
    });
    expect(modes, 'broadcasts in every mode').toEqual([
      BAM.mask,
      BAM.mask | ROMPE.mask,
      BAM.mask | ROMPE.mask | MPE.mask,
    ]);
  });

  it('after RESET hears broadcasts, and multicasts only once it asks for them', () => {
    const { machine, guest } = negotiated(5);
    const { BAM, ROMPE, AUPE, MPE } = pfRegisters.VMOLR.fields;
    const mode = (): number =>
      machine.pfRead(pfRegisters.VMOLR, 0) & (BAM.mask | ROMPE.mask | AUPE.mask | MPE.mask);
    expect(mode()).toBe(BAM.mask | AUPE.mask);
    expect(flags(guest.request(3 | (1 << 16), 0x123)[0])).toBe(GRANTED);
    expect(mode()).toBe(BAM.mask | AUPE.mask | ROMPE.mask);
    guest.request(1);
    expect(mode()).toBe(BAM.mask | AUPE.mask);
  });

  it('tells the link state, pings on its change, and keeps a VF out while its link is off', () => {
    const { machine, guest } = negotiated(5);
    guest.open();
    expect(guest.request(0x10)[1]).toBe(1);
    guest.read(reg.EICR);
    guest.write(reg.EIMS, 3);
    machine.memory.messages = [];
    machine.driver.setPolicy(0, { linkEnabled: false });
    expect(guest.read(reg.MBMEM), 'a ping without CTS').toBe(0x100);
    expect(
      machine.memory.messages.map((m) => m.data),
      'the mailbox vector',
    ).toContain(0x51);
    expect(machine.pfRead(pfRegisters.VFTE) & 1).toBe(0);
    expect(guest.request(0x10)[0], 'it must reset first').toBe((0x10 | NACK) >>> 0);
    guest.negotiate();
    expect(guest.request(0x10)[1]).toBe(0);
    expect(machine.pfRead(pfRegisters.VFTE) & 1).toBe(0);
  });

  it('has a VF start over that is trusted from now on, or no longer, and then treats it so', () => {
    const { machine, guest } = negotiated(5);
    guest.open();
    expect(guest.request(0xc, 2)[1], 'hashed multicasts at most').toBe(1);
    for (const trusted of [true, false]) {
      machine.driver.setPolicy(0, { trusted });
      expect(guest.read(reg.MBMEM), 'a ping without CTS').toBe(0x100);
      expect(guest.request(0xc, 2)[0], 'it must reset first').toBe((0xc | NACK) >>> 0);
      guest.negotiate();
      expect(guest.request(0xc, 2)[1], `trusted: ${trusted}`).toBe(trusted ? 2 : 1);
    }
  });

  it('pings every VF that is clear to send when the wire’s link changes', () => {
    const { machine, guest } = negotiated(5);
    machine.nic.setLink(false);
    expect(guest.read(reg.MBMEM)).toBe((0x100 | CTS) >>> 0);
    expect(guest.read(reg.LINKS) & (1 << 30)).toBe(0);
    expect(guest.read(reg.MAILBOX) & PFSTS).toBe(PFSTS);
  });

  it('leaves the last answer in the memory, which is where Linux looks for CTS', () => {
    const { guest } = negotiated(5);
    guest.request(9);
    expect(guest.read(reg.MBMEM) & CTS).toBe(CTS);
  });
});

describe('a ping', () => {
  /** The guest holds the mailbox while it asks, so that the answer has to wait. */
  const asking = () => {
    const t = negotiated(5);
    t.guest.read(reg.MAILBOX);
    askAndHold(t.guest);
    return t;
  };
  /** What the guest finds, and that it has read it. */
  const taken = ({ guest }: ReturnType<typeof asking>): number => {
    const word = guest.read(reg.MBMEM);
    guest.write(reg.MAILBOX, ACK_BIT);
    return word;
  };

  it('comes after an answer that waits for the mailbox, and after one that was not read yet', () => {
    const t = asking();
    t.machine.nic.setLink(false);
    t.guest.write(reg.MAILBOX, 0);
    t.machine.time.advance(milliseconds(5));
    expect(taken(t) >>> 0, 'the answer first').toBe((9 | GRANTED) >>> 0);
    t.machine.time.advance(milliseconds(1));
    expect(taken(t) >>> 0).toBe((0x100 | CTS) >>> 0);
    expect(t.machine.time.waiting).toBe(0);
  });

  it('comes after the answer to a request that the driver sees together with the acknowledgement of the last', () => {
    const { machine, guest } = negotiated(5);
    const ask = (bits: number): void => {
      guest.write(reg.MAILBOX, VFU);
      guest.write(reg.MBMEM, 9);
      guest.write(reg.MAILBOX, bits);
    };
    ask(REQ_BIT);
    machine.vf(0).stop();
    ask(REQ_BIT | ACK_BIT);
    machine.vf(0).start();
    machine.nic.setLink(false);
    expect(taken({ machine, guest }) >>> 0, 'the answer first').toBe((9 | GRANTED) >>> 0);
    machine.time.advance(milliseconds(1));
    expect(taken({ machine, guest }) >>> 0).toBe((0x100 | CTS) >>> 0);
  });

  it('does not wait for ever for a guest that never reads its answers', () => {
    const t = asking();
    t.guest.write(reg.MAILBOX, 0);
    t.machine.time.advance(milliseconds(1));
    t.machine.nic.setLink(false);
    t.machine.time.advance(milliseconds(2000));
    expect(t.guest.read(reg.MBMEM) >>> 0).toBe((0x100 | CTS) >>> 0);
    expect(t.machine.time.waiting).toBe(0);
  });

  it('and an answer wait for a VF that stands still, however long that is', () => {
    const t = asking();
    const vf = t.machine.vf(0);
    vf.stop();
    t.machine.nic.setLink(false);
    const before = vf.save();
    t.machine.time.advance(milliseconds(60_000));
    expect(vf.save().state, 'its mailbox is left alone').toEqual(before.state);
    vf.start();
    t.guest.write(reg.MAILBOX, 0);
    t.machine.time.advance(milliseconds(5));
    expect(taken(t) >>> 0).toBe((9 | GRANTED) >>> 0);
    t.machine.time.advance(milliseconds(1));
    expect(taken(t) >>> 0).toBe((0x100 | CTS) >>> 0);
  });
});

describe('handshakes', () => {
  it('the newer one: acknowledged while the VF keeps the lock, answered when it lets go', () => {
    const { machine, guest } = negotiated(5);
    guest.read(reg.MAILBOX);
    askAndHold(guest);
    const seen = guest.read(reg.MAILBOX);
    expect(seen & (PFACK | PFSTS | VFU)).toBe(PFACK | VFU);
    machine.time.advance(milliseconds(1));
    expect(guest.read(reg.MAILBOX) & PFSTS, 'not while the VF holds it').toBe(0);
    expect(guest.read(reg.MBMEM), 'and its memory is left alone').toBe(9);
    guest.write(reg.MAILBOX, 0);
    machine.time.advance(microseconds(100));
    expect(guest.read(reg.MAILBOX) & PFSTS).toBe(PFSTS);
    expect(guest.read(reg.MBMEM, 1)).toBe(2);
  });

  it('a VF that never lets go loses its answer, not the host its time', () => {
    const { machine, guest } = negotiated(5);
    askAndHold(guest);
    machine.time.advance(milliseconds(2000));
    expect(machine.time.waiting).toBe(0);
    guest.write(reg.MAILBOX, 0);
    machine.time.advance(milliseconds(10));
    guest.read(reg.MAILBOX);
    expect(guest.request(9)[1], 'and it can go on').toBe(2);
  });

  it('a VF that resets itself gets no answer any more to what it asked before', () => {
    const { machine, guest } = negotiated(5);
    guest.read(reg.MAILBOX);
    askAndHold(guest);
    guest.read(reg.MAILBOX);
    guest.write(reg.CTRL, reg.CTRL.fields.RST.mask);
    guest.write(reg.MAILBOX, 0);
    machine.time.advance(milliseconds(5));
    expect(guest.read(reg.MAILBOX) & PFSTS).toBe(0);
    expect(guest.read(reg.MBMEM), 'the memory was cleared, and stays so').toBe(0);
    expect(guest.request(1)[0]! >>> 0).toBe((ACK | 1) >>> 0);
  });

  it('the older one: the answer is there when the request’s write returns', () => {
    const { guest } = negotiated(5);
    guest.read(reg.MAILBOX);
    guest.write(reg.MBMEM, 9);
    guest.write(reg.MAILBOX, REQ_BIT);
    expect(guest.read(reg.MAILBOX) & (PFSTS | PFACK)).toBe(PFSTS | PFACK);
  });

  it('a flood of requests leaves no timers, no growth, and a mailbox that works', () => {
    const { machine, guest } = negotiated(5);
    for (let i = 0; i < 5000; i++) {
      guest.write(reg.MAILBOX, i % 3 === 0 ? VFU | REQ_BIT : REQ_BIT | ACK_BIT);
      guest.write(reg.MBMEM, (i * 0x9e37_79b1) >>> 0, i % 16);
    }
    expect(machine.time.waiting).toBeLessThanOrEqual(2);
    guest.write(reg.MAILBOX, 0);
    machine.time.advance(milliseconds(1500));
    guest.negotiate();
    expect(guest.request(9)[1]).toBe(2);
  });
});
