import { describe, expect, it } from 'vitest';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import type { GuestMessage } from '../../devices/pci/assigned-backend.js';
import { enumerate } from '../../devices/pci/enumerate.js';
import { hostBridge } from '../../devices/pci/host-bridge.js';
import { ecamOffset, RootComplex } from '../../devices/pci/topology.js';
import { RootPort } from '../../devices/root-port/device.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { BAR_RANGE, TestMachine, TestMemory } from './machine.js';
import { GuestVf } from './vf-guest.js';

/** A guest's own root complex with a VF of the host's NIC in its hot-plug slot. */
function setUp() {
  const host = new TestMachine({ vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }] });
  const vf = host.vf(1);
  const routes: [number, GuestMessage | undefined][] = [];
  const device = assignVf('vf0', vf, {
    route(vector, message) {
      routes.push([vector, message]);
      return message && { address: 0xfee0_0010 as never, data: 0x80 + vector };
    },
  });
  const nowhere = new TestMemory(0);
  const guest = new RootComplex(nowhere, nowhere);
  guest.addFunction(0, hostBridge());
  const port = new RootPort('root-port0', { number: 1, surprise: false });
  guest.addPort(8, port);
  port.populate(device);
  const found = enumerate(guest, BAR_RANGE);
  const config = (register: number) => ecamOffset(1, 0, register);
  const bar = (index: number) => found.at(-1)!.bars.find((b) => b.index === index)!.base;
  return { host, vf, device, guest, port, found, config, bar, routes };
}

type Ways = ReturnType<typeof setUp>;
/** Configuration space of the guest's root port. */
const PORT = ecamOffset(0, 8, 0);

describe('an assigned VF', () => {
  it('has ids, BARs and memory space like any endpoint, in place of the VF’s own', () => {
    const { guest, config, found, vf } = setUp();
    expect(found.map(({ bus, vendorId, deviceId }) => [bus, vendorId, deviceId])).toEqual([
      [0, 0x8086, 0x29c0],
      [0, 0x8086, 0x3420],
      [1, 0x8086, 0x10ed],
    ]);
    expect(found.at(-1)!.bars.map(({ index, bytes }) => [index, bytes])).toEqual([
      [0, 0x4000],
      [3, 0x4000],
    ]);
    expect(guest.configRead(config(4), 2)).toBe(6);
    expect(vf.fn.configRead(0, 4)).toBe(0xffff_ffff);
    expect(vf.fn.configRead(4, 2), 'bus mastering is the device’s own').toBe(4);
  });

  it('passes registers through at the guest’s addresses', () => {
    const { guest, vf, bar } = setUp();
    guest.memoryWrite(bar(0) + reg.MBMEM.offset, 4, 0x77);
    expect(vf.pool.read(reg.MBMEM.offset, 4)).toBe(0x77);
    expect(guest.memoryRead(bar(0) + reg.STATUS.offset, 4)).toBe(vf.pool.read(reg.STATUS.offset, 4));
  });

  it('keeps the guest’s MSI-X table apart from the device’s, and asks the host for a route', () => {
    const { guest, config, vf, bar, routes, host } = setUp();
    const table = bar(3);
    guest.memoryWrite(table + 16, 4, 0xfee0_0000);
    guest.memoryWrite(table + 24, 4, 0x41);
    guest.memoryWrite(table + 28, 4, 0);
    expect(
      routes.every(([, message]) => message === undefined),
      'not while MSI-X is off',
    ).toBe(true);
    guest.configWrite(config(0x72), 2, 0x8000);
    expect(routes.findLast(([vector]) => vector === 1)?.[1]).toEqual({ address: 0xfee0_0000, data: 0x41 });
    expect(guest.memoryRead(table + 24, 4), 'the guest reads what it wrote').toBe(0x41);
    host.memory.messages = [];
    vf.msix.trigger(1);
    expect(host.memory.messages).toEqual([{ requester: vf.fn.routingId, address: 0xfee0_0010, data: 0x81 }]);
  });

  it('holds messages back while the guest masks them, and shows them pending', () => {
    const { guest, config, vf, bar, host } = setUp();
    const table = bar(3);
    for (let vector = 0; vector < 3; vector++) guest.memoryWrite(table + vector * 16 + 12, 4, 0);
    guest.configWrite(config(0x72), 2, 0x8000);
    guest.memoryWrite(table + 12, 4, 1);
    host.memory.messages = [];
    vf.msix.trigger(0);
    expect(host.memory.messages).toEqual([]);
    expect(guest.memoryRead(table + 0x2000, 4)).toBe(1);
    guest.memoryWrite(table + 12, 4, 0);
    expect(host.memory.messages.map((m) => m.data)).toEqual([0x80]);
    guest.configWrite(config(0x72), 2, 0xc000);
    vf.msix.trigger(2);
    expect(guest.memoryRead(table + 0x2000, 4)).toBe(4);
    guest.configWrite(config(0x72), 2, 0x8000);
    expect(host.memory.messages.map((m) => m.data)).toEqual([0x80, 0x82]);
  });

  it('its requests carry the host’s requester id, whatever bus the guest gave it', () => {
    const { host, guest, config, vf } = setUp();
    guest.configWrite(ecamOffset(0, 8, 0x18), 4, 0x0009_0900);
    const driver = new GuestVf(host, vf, 0x20_0000);
    driver.negotiate();
    driver.open();
    guest.configWrite(config(4), 2, 6);
    host.memory.requesters.clear();
    driver.send(ethernet(PEER, vfMac(1), bytesOf(60)));
    expect(host.sent).toHaveLength(1);
    expect([...host.memory.requesters]).toEqual([host.vfIds[1]]);
  });

  it.each([
    ['its own bus mastering', (at: Ways) => at.guest.configWrite(at.config(4), 2, 2)],
    ['the port’s bus mastering', (at: Ways) => at.guest.configWrite(PORT + 4, 2, 2)],
    ['the port’s sleep', (at: Ways) => at.guest.configWrite(PORT + 0x44, 2, 3)],
    ['the link’s disable', (at: Ways) => at.guest.configWrite(PORT + 0xa0, 2, 0x10)],
    ['the slot’s power', (at: Ways) => at.guest.configWrite(PORT + 0xa8, 2, 0x7c0)],
    ['surprise removal', (at: Ways) => at.port.eject()],
  ])('sends nothing, packet or message, when %s forbids it', (_, forbid) => {
    const ways = setUp();
    const { host, guest, vf, bar, config } = ways;
    const driver = new GuestVf(host, vf, 0x20_0000);
    driver.negotiate();
    driver.open();
    guest.memoryWrite(bar(3) + 12, 4, 0);
    guest.configWrite(config(0x72), 2, 0x8000);
    const frame = ethernet(vfMac(1), PEER, bytesOf(100));
    const traffic = (): number => {
      const before = host.memory.writes + host.memory.messages.length;
      host.nic.receive({ bytes: frame, length: frame.length });
      vf.msix.trigger(0);
      return host.memory.writes + host.memory.messages.length - before;
    };
    expect(traffic()).toBeGreaterThan(1);
    forbid(ways);
    expect(traffic()).toBe(0);
  });

  it('goes on when its port forwards again', () => {
    const { host, guest, vf } = setUp();
    const driver = new GuestVf(host, vf, 0x20_0000);
    driver.negotiate();
    driver.open();
    const frame = ethernet(vfMac(1), PEER, bytesOf(100));
    for (const state of [3, 0]) guest.configWrite(PORT + 0x44, 2, state);
    guest.configWrite(PORT + 4, 2, 2);
    guest.configWrite(PORT + 4, 2, 6);
    const before = host.memory.writes;
    host.nic.receive({ bytes: frame, length: frame.length });
    expect(host.memory.writes).toBeGreaterThan(before);
  });

  it('is reset as a whole when the guest asks for FLR', () => {
    const { guest, config, vf, host } = setUp();
    guest.configWrite(config(0xa8), 2, 0x8000);
    expect(guest.configRead(config(4), 2)).toBe(0);
    expect(vf.fn.configRead(4, 2)).toBe(0);
    expect(host.driver.info(1).clearToSend).toBe(false);
    expect(guest.configRead(config(0), 4), 'it is still there').toBe(0x10ed_8086);
  });

  it('stops doing DMA when the guest’s slot loses power, and comes back as new', () => {
    const { guest, config, vf, port } = setUp();
    expect(vf.fn.mastering).toBe(true);
    guest.configWrite(ecamOffset(0, 8, 0x90 + 0x18), 2, 0x7c0);
    expect(vf.fn.mastering).toBe(false);
    expect(guest.configRead(config(0), 4)).toBe(0xffff_ffff);
    guest.configWrite(ecamOffset(0, 8, 0x90 + 0x18), 2, 0x1c0);
    expect(guest.configRead(config(0), 4)).toBe(0x10ed_8086);
    expect(guest.configRead(config(4), 2)).toBe(0);
    expect(port.occupant).toBeDefined();
  });

  it('after a restore is wired as the guest had it, by routes of the new host', () => {
    const source = setUp();
    const table = source.bar(3);
    source.guest.memoryWrite(table + 8, 4, 0x41);
    source.guest.memoryWrite(table + 12, 4, 0);
    source.guest.configWrite(source.config(0x72), 2, 0x8000);
    const target = setUp();
    target.device.restore(source.device.save());
    expect(target.device.save()).toEqual(source.device.save());
    expect(target.routes.findLast(([vector]) => vector === 0)?.[1]?.data).toBe(0x41);
    expect(target.vf.fn.configRead(4, 2)).toBe(4);
    target.host.memory.messages = [];
    target.vf.msix.trigger(0);
    expect(target.host.memory.messages.map((m) => m.data)).toEqual([0x80]);
  });
});
