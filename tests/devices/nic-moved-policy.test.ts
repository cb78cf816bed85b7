/** A VF that moves between hosts keeps what it was granted, gets nothing that it would not be granted, and knows it. */
import { describe, expect, it } from 'vitest';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { pfRegisters, RECEIVE_ADDRESSES, VLAN_FILTERS } from '../../devices/nic82599/pf-registers.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import type { TestMachine } from './machine.js';
import { type GuestVf, rxWriteBack } from './vf-guest.js';
import { guestAt, host, move } from './vf-host.js';

const CTS = 0x2000_0000;
const NACK = 0x4000_0000;

/** Everything that the host's registers hold for pool 0. */
function settingsOf(machine: TestMachine) {
  const at = (register: { offset: number; stride: number }, index = 0): number =>
    machine.nic.pf.read(register.offset + index * register.stride, 4);
  const ofPool = <T>(count: number, entry: (index: number) => T, isIts: (index: number) => boolean): T[] =>
    Array.from({ length: count }, (_, i) => i)
      .filter(isIts)
      .map(entry)
      .sort();
  return {
    addresses: ofPool(
      RECEIVE_ADDRESSES,
      (i) => `${at(pfRegisters.RAH, i).toString(16)} ${at(pfRegisters.RAL, i).toString(16)}`,
      (i) => (at(pfRegisters.MPSAR_LOW, i) & 1) !== 0,
    ),
    vlans: ofPool(
      VLAN_FILTERS,
      (i) => at(pfRegisters.VLVF, i),
      (i) => (at(pfRegisters.VLVFB, 2 * i) & 1) !== 0,
    ),
    vlanTable: Array.from({ length: pfRegisters.VFTA.count }, (_, i) => at(pfRegisters.VFTA, i)),
    groups: Array.from({ length: pfRegisters.MTA.count }, (_, i) => at(pfRegisters.MTA, i)),
    receiveMode: at(pfRegisters.VMOLR),
    insertedTag: at(pfRegisters.VMVIR),
    spoofCheck: at(pfRegisters.VFSPOOF) & 0x0101,
    receives: at(pfRegisters.VFRE) & 1,
    sends: at(pfRegisters.VFTE) & 1,
    frameBytesMax: at(pfRegisters.MAXFRS) >>> 16,
  };
}

/** One request of a driver, sensible or not; its words. */
function ask(guest: GuestVf, random: SeededRandom): string {
  const mac = (): [number, number] => [0x0000_0052 | (random.below(4) << 24), random.below(3)];
  const requests = [
    [2, ...mac()],
    [3 | (2 << 16), random.below(2 ** 28)],
    [3],
    [4 | (random.below(2) << 16), random.below(6) * 100],
    [5, random.pick([60, 600, 1518, 9018, 20_000])],
    [6 | (random.below(3) << 16), ...mac()],
    [8, random.pick([0, 2, 4, 5, 7, 8])],
    [0xc, random.below(5)],
  ];
  if (random.chance(0.1)) {
    guest.negotiate();
    return 'reset';
  }
  const words = random.pick(requests);
  guest.request(...words);
  return words.map((word) => word.toString(16)).join(' ');
}

describe('a VF that moves to a host of the same policy', () => {
  it.each<[string, Partial<VfPolicy>, number | undefined]>([
    ['by default', {}, undefined],
    ['trusted', { trusted: true }, undefined],
    ['with a VLAN of its port', { portVlan: 7 }, undefined],
    ['unchecked', { spoofCheck: false, trusted: true }, undefined],
    ['whose link is off', { linkEnabled: false }, undefined],
    ['with jumbo frames', { trusted: true }, 9018],
  ])('is set up as before, whatever its driver asked for: %s', (_name, policy, frameBytesMax) => {
    const random = seededRandom(41);
    let [here, there] = [host(policy, frameBytesMax), host(policy, frameBytesMax)];
    let guest = guestAt(here);
    // To and fro, so that it also comes to where it was before, and had asked for other things.
    for (let round = 0; round < 40; round++) {
      const asked: string[] = [];
      for (let i = random.below(8); i > 0; i--) asked.push(ask(guest, random));
      const before = settingsOf(here);
      const answer = guest.request(9).slice(0, 5);
      guest = move(here, guest, there);
      const after = `round ${round}, after requests ${asked.join(', ')}`;
      expect(settingsOf(there), after).toEqual(before);
      expect(guest.request(9).slice(0, 5), after).toEqual(answer);
      [here, there] = [there, here];
    }
  });
});

describe('a VF that wants no multicasts, and then names groups', () => {
  it('hears them, also at the host that it moves to', () => {
    let here = host({});
    let guest = guestAt(here);
    guest.request(0xc, 0);
    guest.request(3 | (1 << 16), 0x123);
    const group = [0x01, 0, 0x5e, 0, 0x30, 0x12];
    for (const at of ['here', 'there']) {
      const frame = ethernet(group, PEER, bytesOf(60));
      here.nic.receive({ bytes: frame, length: frame.length });
      expect(guest.receive()?.data, at).toEqual(frame);
      const there = host({});
      guest = move(here, guest, there);
      here = there;
    }
  });
});

describe('a VF that moves to a host of another policy', () => {
  it.each<[string, Partial<VfPolicy>, (guest: GuestVf) => unknown, Partial<VfPolicy>, RegExp]>([
    [
      'VLANs, where the host fixes one',
      {},
      (guest) => guest.request(4 | (1 << 16), 100),
      { portVlan: 7 },
      /it is in VLAN 100 there, and the policy here fixes VLAN 7/,
    ],
    [
      'a second address, where it is not trusted',
      { trusted: true },
      (guest) => guest.request(6 | (1 << 16), 0x0302_0152, 7),
      {},
      /it also receives for 52:01:02:03:07:00 there, and here it is not trusted to/,
    ],
    [
      'all multicasts, where it is not trusted',
      { trusted: true },
      (guest) => guest.request(0xc, 2),
      {},
      /it receives all multicasts there, and here it is not trusted to/,
    ],
  ])('is refused with %s, and nothing changes there', (_what, there, asks, here, words) => {
    const source = host(there);
    asks(guestAt(source));
    source.vf(0).stop();
    const target = host(here);
    const before = target.nic.save();
    expect(() => target.vf(0).restore(source.vf(0).save())).toThrow(words);
    expect(target.nic.save()).toEqual(before);
    const willing = host(there);
    willing.vf(0).restore(source.vf(0).save());
    expect(settingsOf(willing)).toEqual(settingsOf(source));
  });

  it('lives in the VLAN of the host it is at, and sees it only where it is in none', () => {
    let here = host({});
    let guest = guestAt(here);
    const frame = ethernet(PEER, vfMac(0), bytesOf(60));
    for (const portVlan of [7, 8, undefined, 8]) {
      const there = host(portVlan === undefined ? {} : { portVlan });
      guest = move(here, guest, there);
      here = there;
      // Tags 0 are priorities alone.
      for (const tag of [0, 7, 8]) {
        const tagged = ethernet(vfMac(0), PEER, bytesOf(60), { tag });
        here.nic.receive({ bytes: tagged, length: tagged.length });
        const got = guest.receive();
        const seen = got && {
          data: got.data,
          tagged: (rxWriteBack.STATUS.read(got.descriptor, 0) & 8) !== 0,
        };
        const expected = { data: ethernet(vfMac(0), PEER, bytesOf(60)), tagged: portVlan === undefined };
        expect(seen, `a frame of VLAN ${tag} at a port of VLAN ${portVlan}`).toEqual(
          tag === (portVlan ?? 0) ? expected : undefined,
        );
      }
      guest.send(frame);
      const tag = portVlan === undefined ? {} : { tag: portVlan };
      expect(here.sent).toEqual([ethernet(PEER, vfMac(0), bytesOf(60), tag)]);
    }
  });

  it('goes where jumbo frames are not granted once its driver has reset it, and with it what it asked for', () => {
    const source = host({}, 9018);
    const guest = guestAt(source);
    guest.request(5, 9018);
    guest.negotiate();
    const target = host({});
    const moved = move(source, guest, target);
    expect(settingsOf(target).frameBytesMax).toBe(1518);
    expect(moved.request(5, 1518)[0]! >>> 0).toBe((0x8000_0005 | CTS) >>> 0);
  });

  it('is told to start over where its link is on again, and has it then', () => {
    const source = host({ linkEnabled: false });
    const guest = guestAt(source);
    expect(guest.request(0x10)[1], 'the driver there has no link').toBe(0);
    const target = host({});
    const moved = move(source, guest, target);
    expect(moved.read(reg.MBMEM), 'a ping without CTS').toBe(0x100);
    expect(moved.request(0x10)[0]! >>> 0, 'it must reset first').toBe((0x10 | NACK) >>> 0);
    moved.negotiate();
    expect(
      moved
        .request(0x10)
        .map((word) => word >>> 0)
        .slice(0, 2),
    ).toEqual([(0x8000_0010 | CTS) >>> 0, 1]);
    expect(settingsOf(target)).toMatchObject({ receives: 1, sends: 1 });
  });
});
