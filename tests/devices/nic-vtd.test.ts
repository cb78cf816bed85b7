/** The NIC behind VT-d: its requests are translated, tracked, blocked and recorded by its VF's requester id. */
import { describe, expect, it } from 'vitest';
import { AtomicBitmap } from '../../base/bitmap.js';
import { requesterOf } from '../../base/dma.js';
import { iova } from '../../base/units.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { Hwpt } from '../../iommu/host/hwpt.js';
import { InterruptTable } from '../../iommu/host/interrupt-table.js';
import { Ioas } from '../../iommu/host/ioas.js';
import { HostWorld, RAM_BASE } from '../iommu/host-world.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { OPEN_UPSTREAM, TestMachine, TestMemory } from './machine.js';
import { GuestVf } from './vf-guest.js';

const MIB = 1 << 20;
const MAPPED = 4 * MIB;
const PF = requesterOf(0x0100);

/** Guest memory is mapped one to one from I/O virtual address 0; the physical function's messages stay on the host. */
class VtdMemory extends TestMemory {
  readonly world: HostWorld;

  constructor(world: HostWorld) {
    super(world.ram.bytes);
    this.world = world;
  }

  override read(requester: number, address: number, target: Uint8Array, at: number, length: number): boolean {
    return this.world.bus.read(requesterOf(requester), iova(address), target, at, length);
  }

  override write(requester: number, address: number, source: Uint8Array, at: number, length: number): void {
    this.world.bus.write(requesterOf(requester), iova(address), source, at, length);
  }

  override writeDescriptor(requester: number, address: number, ...dwords: number[]): void {
    const [d0, d1, d2, d3] = dwords as [number, number, number, number];
    this.world.bus.writeDescriptor(requesterOf(requester), iova(address), d0, d1, d2, d3);
  }

  override send(requester: number, address: number, data: number): void {
    if (requester === PF) super.send(requester, address, data);
    else this.world.bus.send(requesterOf(requester), iova(address), data);
  }
}

function setUp() {
  const world = new HostWorld();
  const machine = new TestMachine({
    memory: new VtdMemory(world),
    vfs: [{ mac: vfMac(0) }, { mac: vfMac(1) }],
  });
  const ioas = new Ioas(world.driver, { hugePages: false });
  ioas.map(0, RAM_BASE, MAPPED, { read: true, write: true });
  const hwpt = new Hwpt(world.driver, ioas, { dirtyTracking: true });
  hwpt.attach(machine.vfIds[0]!);
  const guest = new GuestVf(machine, machine.vf(0), MIB);
  const pages = () => {
    const bitmap = new AtomicBitmap(MAPPED / 4096);
    hwpt.readDirty({ iova: 0, bytes: MAPPED, noClear: false }, bitmap);
    const found: number[] = [];
    for (let page = bitmap.next(0); page >= 0; page = bitmap.next(page + 1)) found.push(page);
    return found;
  };
  const receive = (n: number, size = 100) => {
    const frame = ethernet(vfMac(n), PEER, bytesOf(size));
    machine.nic.receive({ bytes: frame, length: frame.length });
    return frame;
  };
  return { world, machine, hwpt, guest, pages, receive };
}

describe('a VF behind VT-d', () => {
  it('carries traffic through its own translation', () => {
    const { machine, guest, receive } = setUp();
    guest.start();
    const frame = receive(0);
    expect(guest.receive()?.data).toEqual(frame);
    guest.send(ethernet(PEER, vfMac(0), bytesOf(200)));
    expect(machine.sent).toHaveLength(1);
  });

  it('dirties exactly the pages it writes: buffer and ring for what it receives, the ring for what it sends', () => {
    const { guest, hwpt, pages, receive } = setUp();
    guest.start();
    hwpt.setDirtyTracking(true);
    receive(0);
    expect(pages()).toEqual([guest.rxRing >>> 12, guest.rxBuffer(0) >>> 12]);
    receive(0);
    receive(0);
    expect(pages(), 'the next two buffers').toEqual([
      guest.rxRing >>> 12,
      guest.rxBuffer(1) >>> 12,
      guest.rxBuffer(2) >>> 12,
    ]);
    guest.send(ethernet(PEER, vfMac(0), bytesOf(200)));
    expect(pages()).toEqual([guest.txRing >>> 12]);
    guest.send(ethernet(PEER, vfMac(0), bytesOf(200)), { REPORT_STATUS: 0 });
    expect(pages(), 'reading dirties nothing').toEqual([]);
  });

  it('programmed to write outside its mapping is blocked and recorded; guest and NIC go on', () => {
    const { world, machine, guest, receive } = setUp();
    guest.start();
    machine.memory.view.setUint32(guest.rxRing, 2 * MAPPED, true);
    const before = machine.memory.bytes.slice(2 * MAPPED, 2 * MAPPED + 4096);
    receive(0);
    expect(Buffer.compare(machine.memory.bytes.slice(2 * MAPPED, 2 * MAPPED + 4096), before)).toBe(0);
    expect(world.driver.takeFaults()).toMatchObject([
      { source: machine.vfIds[0], address: 2 * MAPPED, write: true },
    ]);
    guest.receive();
    expect(guest.read(reg.STATUS)).not.toBe(0xffff_ffff);
    const frame = receive(0);
    expect(guest.receive()?.data).toEqual(frame);
  });

  it('that nobody attached reaches nothing', () => {
    const { world, machine } = setUp();
    const other = new GuestVf(machine, machine.vf(1), 2 * MIB).start();
    const frame = ethernet(vfMac(1), PEER, bytesOf(50));
    machine.nic.receive({ bytes: frame, length: frame.length });
    expect(other.receive()).toBeUndefined();
    expect(world.driver.takeFaults()).toMatchObject([{ source: machine.vfIds[1], write: false }]);
    expect(machine.vf(1).fn.configRead(6, 2) & 0x2000, 'received master abort').toBe(0x2000);
  });

  it('its interrupts go through the remapping entry of its requester id, and no other', () => {
    const { world, machine, guest, receive } = setUp();
    const table = new InterruptTable(world.driver);
    const source = machine.vfIds[0]!;
    const entries = new Map<number, number>();
    const device = assignVf('vf0', machine.vf(0), {
      route(vector, message) {
        if (message === undefined) return undefined;
        const target = { kind: 'remapped', destination: 0, vector: message.data & 0xff } as const;
        const known = entries.get(vector);
        const index = known ?? table.allocate(source, target);
        if (known !== undefined) table.retarget(index, source, target);
        entries.set(vector, index);
        const { address, data } = table.message(index);
        return { address: iova(address), data };
      },
    });
    device.attach(OPEN_UPSTREAM);
    const { fn } = device;
    for (let vector = 0; vector < 3; vector++) {
      fn.behaviour.writeBar(3, vector * 16, 4, 0xfee0_0000);
      fn.behaviour.writeBar(3, vector * 16 + 8, 4, 0x41 + vector);
      fn.behaviour.writeBar(3, vector * 16 + 12, 4, 0);
    }
    fn.configWrite(4, 2, 4);
    fn.configWrite(0x72, 2, 0x8000);
    guest.negotiate();
    guest.open();
    world.interrupts.length = 0;
    receive(0);
    expect(world.interrupts.map(([kind, , vector]) => [kind, vector])).toEqual([['remapped', 0x41]]);
    // The same message from another VF is not its to send.
    machine.vf(1).fn.configWrite(4, 2, 4);
    const host = table.message(entries.get(0)!);
    machine.vf(1).fn.message(iova(host.address), host.data);
    expect(world.interrupts).toHaveLength(1);
    expect(world.driver.takeFaults().map(({ source: from }) => from)).toContain(machine.vfIds[1]);
  });
});
