import { describe, expect, it } from 'vitest';
import { InvariantError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { RegisterFile } from '../../base/registers.js';
import { pfLayout, vfLayout } from '../../devices/nic82599/functions.js';
import { at, capability, configLayout, extendedCapability } from '../../devices/pci/capability.js';
import { PciFunction, type ResetKind } from '../../devices/pci/function.js';
import { hostBridge } from '../../devices/pci/host-bridge.js';
import { pcieCapability } from '../../devices/pci/pcie-capability.js';
import { barRegion, configRegion } from '../../devices/pci/regions.js';
import { type BarSpec, powerManagement, type0Header } from '../../devices/pci/registers.js';
import { ecamOffset, RootComplex } from '../../devices/pci/topology.js';
import { rootPortLayout } from '../../devices/root-port/registers.js';
import { BAR_RANGE, PF_MAC, TestMachine, TestMemory } from './machine.js';

const identity = { vendorId: 0x1234, deviceId: 0x5678, revision: 1, classCode: 0x020000 };

function endpoint(bars: readonly BarSpec[], log: string[] = []) {
  const layout = configLayout('test', type0Header(identity, bars), {
    pm: at(0x40, powerManagement({ noSoftReset: false })),
    pcie: at(0x60, pcieCapability({ kind: 'endpoint', speed: 2, width: 1 })),
  });
  const fn = new PciFunction(layout, {
    name: 'test',
    bars,
    readBar: (bar, offset, size) => bar * 0x1000 + offset + size,
    writeBar: (bar, offset, size, value) => log.push(`${bar}+${offset}/${size}=${value}`),
    reset: (kind: ResetKind) => log.push(`reset ${kind}`),
  });
  return { layout, fn, log };
}

/** Offsets of a capability list, as software walks it. */
function standardList(read: (offset: number, size: number) => number): { id: number; at: number }[] {
  const found = [];
  for (let offset = read(0x34, 1); offset !== 0; offset = read(offset + 1, 1)) {
    found.push({ id: read(offset, 1), at: offset });
  }
  return found;
}

function extendedList(read: (offset: number, size: number) => number): { id: number; at: number }[] {
  const found = [];
  for (let offset = 0x100; offset !== 0; ) {
    const header = read(offset, 4);
    if (header === 0) break;
    found.push({ id: header & 0xffff, at: offset });
    offset = header >>> 20;
  }
  return found;
}

describe('declared configuration space', () => {
  it('links its capabilities in the order of their offsets', () => {
    const config = new RegisterFile(pfLayout(Uint8Array.from(PF_MAC)).table);
    const read = (offset: number, size: number) => config.read(offset, size);
    expect(standardList(read)).toEqual([
      { id: 0x01, at: 0x40 },
      { id: 0x05, at: 0x50 },
      { id: 0x11, at: 0x70 },
      { id: 0x10, at: 0xa0 },
    ]);
    expect(extendedList(read)).toEqual([
      { id: 0x01, at: 0x100 },
      { id: 0x03, at: 0x140 },
      { id: 0x0e, at: 0x150 },
      { id: 0x10, at: 0x160 },
    ]);
  });

  it('refuses capabilities that overlap, are misplaced, or overrun themselves', () => {
    const small = capability(9, 8, { A: { offset: 4, width: 32, access: 'rw' } });
    const header = type0Header(identity, []);
    expect(() => configLayout('x', header, { a: at(0x40, small), b: at(0x44, small) })).toThrow(
      InvariantError,
    );
    expect(() => configLayout('x', header, { a: at(0x3c, small) })).toThrow(InvariantError);
    const extended = extendedCapability(9, 1, 8, { A: { offset: 4, width: 32 } });
    expect(() => configLayout('x', header, { a: at(0x104, extended) })).toThrow(InvariantError);
    const overrun = capability(9, 4, { A: { offset: 4, width: 32 } });
    expect(() => configLayout('x', header, { a: at(0x40, overrun) })).toThrow(InvariantError);
    expect(() => configLayout('x', header, { a: at(0x40, small), b: at(0x48, small) })).not.toThrow();
  });

  it('keeps every constant bit whatever is written where', () => {
    const layouts = [
      pfLayout(Uint8Array.from(PF_MAC)),
      vfLayout,
      rootPortLayout({ number: 3, surprise: true }),
    ];
    for (const { table } of layouts) {
      const config = new RegisterFile(table);
      const before = config.words.slice();
      const random = seededRandom(1);
      for (let i = 0; i < 20_000; i++) {
        const size = random.pick([1, 2, 4]);
        config.write(random.below(4096 / size) * size, size, random.u32());
      }
      const { write, w1c } = table.masks;
      let changed = 0;
      for (let word = 0; word < before.length; word++) {
        const allowed = write[word]! | w1c[word]!;
        expect((config.words[word]! ^ before[word]!) & ~allowed, `word ${word}`).toBe(0);
        if (config.words[word] !== before[word]) changed++;
      }
      expect(changed, 'the writes reached something').toBeGreaterThan(1);
    }
  });

  it('shows a VF without ids, BARs and command bits other than Bus Master Enable', () => {
    const config = new RegisterFile(vfLayout.table);
    expect(config.read(0x00, 4)).toBe(0xffff_ffff);
    config.write(0x04, 2, 0xffff);
    expect(config.read(0x04, 2)).toBe(0x0004);
    for (let bar = 0x10; bar < 0x28; bar += 4) {
      config.write(bar, 4, 0xffff_ffff);
      expect(config.read(bar, 4)).toBe(0);
    }
    expect(config.read(0x2c, 2), 'subsystem vendor is that of the physical function').toBe(0x8086);
  });
});

describe('BARs', () => {
  const kinds: BarSpec[] = [
    { index: 0, kind: 'memory64', bytes: 0x8_0000, prefetchable: true },
    { index: 2, kind: 'io', bytes: 32 },
    { index: 3, kind: 'memory32', bytes: 0x1000 },
    { index: 4, kind: 'memory64', bytes: 0x4000 },
  ];

  it('answer a size probe with their size and keep their flags', () => {
    const { fn } = endpoint(kinds);
    for (let index = 0; index < 6; index++) fn.configWrite(0x10 + index * 4, 4, 0xffff_ffff);
    const probe = (index: number) => fn.configRead(0x10 + index * 4, 4);
    expect(probe(0)).toBe(0xfff8_000c);
    expect(probe(1)).toBe(0xffff_ffff);
    expect(probe(2)).toBe(0xffff_ffe1);
    expect(probe(3)).toBe(0xffff_f000);
    expect(probe(4)).toBe(0xffff_c004);
    expect(endpoint([]).fn.configRead(0x10, 4), 'a BAR that is not there').toBe(0);
  });

  it('decode exactly their range, only while memory space is enabled and the function is in D0', () => {
    const { fn, layout, log } = endpoint(kinds);
    const complex = new RootComplex(new TestMemory(0), new TestMemory(0));
    complex.addFunction(3 << 3, fn);
    const config = (register: number, size: number, value: number) =>
      complex.configWrite(ecamOffset(0, 3 << 3, register), size, value);
    config(0x10, 4, 0xf010_0000);
    config(0x14, 4, 1);
    const base = 0x1_f010_0000;
    expect(complex.memoryRead(base, 4)).toBe(0xffff_ffff);
    config(0x04, 2, 2);
    expect(complex.memoryRead(base + 8, 4)).toBe(12);
    expect(complex.memoryRead(base + 0x7_fffc, 4)).toBe(0x7_fffc + 4);
    expect(complex.memoryRead(base + 0x8_0000, 4)).toBe(0xffff_ffff);
    expect(complex.memoryRead(base - 4, 4)).toBe(0xffff_ffff);
    expect(complex.memoryRead(base + 0x7_fffe, 4), 'an access over the edge is nobody’s').toBe(0xffff_ffff);
    complex.memoryWrite(base + 16, 2, 7);
    expect(log).toEqual(['0+16/2=7']);
    config(layout.offsets.pm + 4, 2, 3);
    expect(complex.memoryRead(base, 2), 'D3hot').toBe(0xffff);
    config(layout.offsets.pm + 4, 2, 0);
    expect(log.at(-1), 'D3hot to D0 resets').toBe('reset function');
    expect(complex.memoryRead(base, 1), 'the reset cleared Memory Space Enable').toBe(0xff);
  });

  it('laid over each other have one owner for each address', () => {
    const first = endpoint([{ index: 0, kind: 'memory32', bytes: 0x1000 }]);
    const second = endpoint([{ index: 0, kind: 'memory32', bytes: 0x1000 }]);
    const complex = new RootComplex(new TestMemory(0), new TestMemory(0));
    complex.addFunction(8, first.fn);
    complex.addFunction(16, second.fn);
    for (const devfn of [8, 16]) {
      complex.configWrite(ecamOffset(0, devfn, 0x10), 4, 0xf000_0000);
      complex.configWrite(ecamOffset(0, devfn, 0x04), 2, 2);
    }
    complex.memoryWrite(0xf000_0000, 4, 1);
    expect(first.log.length + second.log.length).toBe(1);
    complex.configWrite(ecamOffset(0, 8, 0x10), 4, 0xf100_0000);
    complex.memoryWrite(0xf000_0000, 4, 2);
    expect(second.log).toEqual(['0+0/4=2']);
  });
});

describe('root complex', () => {
  it('answers all ones for functions that are not there, at every size', () => {
    const complex = new RootComplex(new TestMemory(0), new TestMemory(0));
    complex.addFunction(0, hostBridge());
    expect(complex.configRead(ecamOffset(0, 0, 0), 4)).toBe(0x29c0_8086);
    expect(complex.configRead(ecamOffset(0, 8, 0), 4)).toBe(0xffff_ffff);
    expect(complex.configRead(ecamOffset(5, 0, 2), 2)).toBe(0xffff);
    expect(complex.configRead(ecamOffset(255, 255, 0xfff), 1)).toBe(0xff);
    expect(() => complex.configWrite(ecamOffset(9, 9, 9), 4, 1)).not.toThrow();
  });

  it('refuses two functions in one place', () => {
    const complex = new RootComplex(new TestMemory(0), new TestMemory(0));
    complex.addFunction(8, hostBridge('a'));
    expect(() => complex.addFunction(8, hostBridge('b'))).toThrowError(
      expect.objectContaining({ code: 'devices/addressTaken' }),
    );
  });

  it('reaches devices other than 0 below a port only with ARI forwarding', () => {
    const machine = new TestMachine();
    const { complex } = machine;
    expect(complex.configRead(ecamOffset(1, 0x80, 0x0a), 2)).toBe(0x0200);
    const control2 = 0x90 + 0x28;
    complex.configWrite(ecamOffset(0, 8, control2), 2, 0);
    expect(complex.configRead(ecamOffset(1, 0x80, 0x0a), 2)).toBe(0xffff);
    expect(complex.configRead(ecamOffset(1, 0, 0), 4), 'device 0 still answers').toBe(0x10fb_8086);
  });

  it('forwards memory only through an open window, and notes reads that nobody answers', () => {
    const { complex } = new TestMachine();
    const status = ecamOffset(0, 8, 0x1e);
    expect(complex.memoryRead(BAR_RANGE.base + 8, 4)).not.toBe(0xffff_ffff);
    expect(complex.configRead(status, 2) & 0x2000).toBe(0);
    expect(complex.memoryRead(BAR_RANGE.base + 0x2f_fff0, 4)).toBe(0xffff_ffff);
    expect(complex.configRead(status, 2) & 0x2000, 'received master abort').toBe(0x2000);
    complex.configWrite(status, 2, 0x2000);
    expect(complex.configRead(status, 2) & 0x2000).toBe(0);
    complex.configWrite(ecamOffset(0, 8, 0x04), 2, 4);
    expect(complex.memoryRead(BAR_RANGE.base + 8, 4), 'the bridge stopped decoding').toBe(0xffff_ffff);
  });

  it('lets requests up only with Bus Master Enable in the function and in the port', () => {
    const machine = new TestMachine();
    const { fn } = machine.vf(0);
    const buffer = new Uint8Array(16);
    expect(fn.dmaRead(0 as never, buffer, 0, 16), 'VF without Bus Master Enable').toBe(false);
    fn.configWrite(0x04, 2, 4);
    expect(fn.dmaRead(0 as never, buffer, 0, 16)).toBe(true);
    expect([...machine.memory.requesters]).toEqual([(1 << 8) + 0x80]);
    machine.complex.configWrite(ecamOffset(0, 8, 0x04), 2, 2);
    expect(fn.dmaRead(0 as never, buffer, 0, 16), 'port without Bus Master Enable').toBe(false);
    expect(fn.message(0xfee0_0000 as never, 1), 'messages are requests too').toBe(false);
  });

  it('notes a read that was not answered as a received master abort', () => {
    const machine = new TestMachine();
    const { fn } = machine.vf(0);
    fn.configWrite(0x04, 2, 4);
    expect(fn.dmaRead(0x7000_0000 as never, new Uint8Array(4), 0, 4)).toBe(false);
    expect(fn.configRead(0x06, 2) & 0x2000).toBe(0x2000);
  });
});

describe('a root complex on the machine’s bus', () => {
  it('answers configuration accesses in its ECAM window and BARs in their window', () => {
    const { complex } = new TestMachine();
    const config = configRegion(complex, 0xe000_0000, 0x1000_0000);
    const bars = barRegion(complex, BAR_RANGE.base, BAR_RANGE.bytes);
    expect(config.handler.read(ecamOffset(1, 0, 0), 4)).toBe(0x10fb_8086);
    expect(config.posted).not.toBe(true);
    bars.handler.write(0x1_3000, 4, 0x55);
    expect(bars.handler.read(0x1_3000, 4), 'mailbox memory of VF 0').toBe(0x55);
    expect(bars.posted).toBe(true);
  });
});
