import { describe, expect, it } from 'vitest';
import type { DeviceRecord } from '../../base/device-record.js';
import { seededRandom } from '../../base/random.js';
import { at, configLayout } from '../../devices/pci/capability.js';
import { PciFunction, type Upstream } from '../../devices/pci/function.js';
import { pcieCapability } from '../../devices/pci/pcie-capability.js';
import { type0Header } from '../../devices/pci/registers.js';
import { type Endpoint, ecamOffset, RootComplex } from '../../devices/pci/topology.js';
import { RootPort, type RootPortObserver } from '../../devices/root-port/device.js';
import { TestMemory } from './machine.js';

const PCIE = 0x90;
const SLOT_CONTROL = PCIE + 0x18;
const SLOT_STATUS = PCIE + 0x1a;
const LINK_STATUS = PCIE + 0x12;
const LINK_CONTROL = PCIE + 0x10;
const BRIDGE_CONTROL = 0x3e;
const ABP = 1;
const PDC = 8;
const CC = 0x10;
const PDS = 0x40;
const DLLSC = 0x100;
/** Power on, indicator on; and off with the indicator off. */
const POWER_ON = 0x1c0;
const POWER_OFF = 0x7c0;

class Card implements Endpoint {
  readonly fn: PciFunction;
  resets = 0;
  upstream: Upstream | undefined;

  constructor() {
    const layout = configLayout(
      'card',
      type0Header({ vendorId: 0x1234, deviceId: 1, revision: 0, classCode: 0x020000 }, []),
      { pcie: at(0x40, pcieCapability({ kind: 'endpoint', speed: 2, width: 8 })) },
    );
    this.fn = new PciFunction(layout, {
      name: 'card',
      bars: [],
      readBar: () => 0,
      writeBar: () => {},
      reset: () => {},
    });
  }

  functions() {
    return [this.fn];
  }

  functionAt(id: number) {
    return id === 0 ? this.fn : undefined;
  }

  attach(upstream: Upstream | undefined) {
    this.upstream = upstream;
    this.fn.attach(upstream);
  }

  reset() {
    this.resets++;
    this.fn.reset('conventional');
  }
}

function setUp(observer: RootPortObserver = {}, quick = false) {
  const memory = new TestMemory(0x1000);
  const complex = new RootComplex(memory, memory);
  const port = new RootPort('port0', { number: 7, surprise: false, quick }, observer);
  complex.addPort(8, port);
  const read = (register: number, size: number) => complex.configRead(ecamOffset(0, 8, register), size);
  const write = (register: number, size: number, value: number) =>
    complex.configWrite(ecamOffset(0, 8, register), size, value);
  write(0x18, 4, 0x0002_0100);
  write(0x04, 2, 6);
  write(0x64, 4, 0xfee0_3000);
  write(0x6c, 2, 0x44);
  write(0x62, 2, 1);
  const present = () => complex.configRead(ecamOffset(1, 0, 0), 4) === 0x0001_1234;
  const interrupts = () => {
    const count = memory.messages.length;
    memory.messages = [];
    return count;
  };
  return { memory, complex, port, read, write, present, interrupts, card: new Card() };
}

describe('hot-plug slot', () => {
  it('a device that is there at boot is linked, powered, and causes no event', () => {
    const { port, card, read, present } = setUp();
    port.populate(card);
    expect(read(SLOT_STATUS, 2)).toBe(PDS);
    expect(read(LINK_STATUS, 2) & 0x2000).toBe(0x2000);
    expect((read(LINK_STATUS, 2) >>> 4) & 0x3f).toBe(8);
    expect(present()).toBe(true);
    expect(card.upstream?.bus).toBe(1);
  });

  it('an empty slot has no link, and nothing answers behind it', () => {
    const { read, present } = setUp();
    expect(read(LINK_STATUS, 2) & 0x2000).toBe(0);
    expect(present()).toBe(false);
  });

  it('follows Linux through a hot-add: events, power on, link up, device answers', () => {
    const { port, card, read, write, present, interrupts } = setUp();
    // pciehp enables button, command completed, hot-plug interrupt, link state.
    write(SLOT_CONTROL, 2, 0x1000 | 0x31 | POWER_OFF);
    expect(interrupts(), 'command completed').toBe(1);
    write(SLOT_STATUS, 2, 0xffff);
    port.plug(card, 'link');
    expect(interrupts()).toBe(1);
    expect(read(SLOT_STATUS, 2) & (PDS | PDC | DLLSC)).toBe(PDS | PDC | DLLSC);
    expect(present(), 'no power yet').toBe(false);
    write(SLOT_STATUS, 2, PDC | DLLSC);
    write(SLOT_CONTROL, 2, 0x1000 | 0x31 | (POWER_ON & ~0x300) | 0x200);
    expect(read(SLOT_STATUS, 2) & CC).toBe(CC);
    expect(read(LINK_STATUS, 2) & 0x2000).toBe(0x2000);
    expect(present()).toBe(true);
    expect(interrupts()).toBe(1);
  });

  it('follows Linux through a removal: button, power off, indicator off, then the device may go', () => {
    const states: boolean[] = [];
    const t = setUp({ slotControl: (state) => states.push(state.released) });
    t.port.populate(t.card);
    t.write(SLOT_CONTROL, 2, 0x1000 | 0x31 | POWER_ON);
    t.write(SLOT_STATUS, 2, 0xffff);
    t.interrupts();
    t.port.requestUnplug();
    expect(t.interrupts()).toBe(1);
    expect(t.read(SLOT_STATUS, 2) & ABP).toBe(ABP);
    t.write(SLOT_STATUS, 2, ABP);
    t.write(SLOT_CONTROL, 2, 0x1000 | 0x31 | (POWER_ON & ~0x300) | 0x600);
    expect(states.at(-1), 'power off, indicator blinking').toBe(false);
    expect(t.present()).toBe(false);
    expect(t.card.resets, 'losing power resets').toBe(1);
    t.write(SLOT_CONTROL, 2, 0x1000 | 0x31 | POWER_OFF);
    expect(states.at(-1)).toBe(true);
    expect(t.port.eject()).toBe(t.card);
    expect(t.read(SLOT_STATUS, 2) & PDS).toBe(0);
    expect(t.port.occupant).toBeUndefined();
  });

  it('forgets a press that software has not seen, and no other', () => {
    const { port, card, read, write } = setUp();
    port.populate(card);
    port.requestUnplug();
    expect(port.withdrawRequest()).toBe(true);
    expect(read(SLOT_STATUS, 2) & ABP).toBe(0);
    port.requestUnplug();
    write(SLOT_STATUS, 2, ABP);
    expect(port.withdrawRequest()).toBe(false);
  });

  it('without a power controller keeps its power, and is released by its indicator alone', () => {
    const { port, card, read, write, present } = setUp({}, true);
    port.populate(card);
    expect(port.hasButton).toBe(false);
    expect(read(PCIE + 0x14, 4)).toBe((7 << 19) | 0x58);
    expect(port.slotState).toMatchObject({ powered: true, released: false });
    write(SLOT_CONTROL, 2, 0x1000 | 0x38 | POWER_OFF);
    expect(port.slotState).toMatchObject({ powered: true, released: true });
    expect(present()).toBe(true);
    port.eject();
    expect(present()).toBe(false);
    port.plug(card, 'link');
    expect(read(SLOT_STATUS, 2) & (PDS | PDC | DLLSC)).toBe(PDS | PDC | DLLSC);
    expect(present()).toBe(true);
  });

  it('from a surprise removal on, reads give all ones, writes are dropped and requests go nowhere', () => {
    const { port, card, memory, complex, read, present } = setUp();
    port.populate(card);
    card.fn.configWrite(0x04, 2, 4);
    expect(card.fn.mastering).toBe(true);
    port.eject();
    expect(present()).toBe(false);
    expect(read(SLOT_STATUS, 2) & (PDC | DLLSC | PDS)).toBe(PDC | DLLSC);
    card.fn.configWrite(0x04, 2, 4);
    expect(card.fn.dmaRead(0 as never, new Uint8Array(4), 0, 4)).toBe(false);
    expect(card.fn.message(0xfee0_0000 as never, 0)).toBe(false);
    expect(memory.requesters.size).toBe(0);
    expect(() => complex.configWrite(ecamOffset(1, 0, 4), 2, 6)).not.toThrow();
  });

  it('interrupts once for each time that an enabled event appears among none', () => {
    const { port, write, interrupts } = setUp();
    write(SLOT_CONTROL, 2, 0x0021 | POWER_OFF);
    write(SLOT_STATUS, 2, 0xffff);
    interrupts();
    port.requestUnplug();
    port.requestUnplug();
    expect(interrupts(), 'the second press changes nothing').toBe(1);
    write(SLOT_STATUS, 2, ABP);
    port.requestUnplug();
    expect(interrupts()).toBe(1);
    write(SLOT_STATUS, 2, ABP);
    write(SLOT_CONTROL, 2, 0x0001 | POWER_OFF);
    port.requestUnplug();
    expect(interrupts(), 'hot-plug interrupts are off').toBe(0);
    write(SLOT_CONTROL, 2, 0x0021 | POWER_OFF);
    expect(interrupts(), 'enabling finds the event').toBe(1);
  });

  it('software clears events by writing one, and can set none', () => {
    const { port, read, write } = setUp();
    write(SLOT_STATUS, 2, 0xffff);
    expect(read(SLOT_STATUS, 2)).toBe(0);
    port.requestUnplug();
    write(SLOT_STATUS, 2, 0xffff & ~ABP);
    expect(read(SLOT_STATUS, 2)).toBe(ABP);
    write(SLOT_STATUS, 2, ABP);
    expect(read(SLOT_STATUS, 2)).toBe(0);
  });

  it('resets and unlinks the device while the bus is held in reset or the link is disabled', () => {
    for (const [register, bit] of [
      [BRIDGE_CONTROL, 0x40],
      [LINK_CONTROL, 0x10],
    ] as const) {
      const { port, card, read, write, present } = setUp();
      port.populate(card);
      card.fn.configWrite(0x04, 2, 4);
      write(register, 2, bit);
      expect(present()).toBe(false);
      expect(card.resets).toBe(1);
      write(register, 2, 0);
      expect(present()).toBe(true);
      expect(card.fn.configRead(0x04, 2), 'as new').toBe(0);
      expect(read(SLOT_STATUS, 2) & DLLSC).toBe(DLLSC);
    }
  });

  it.each([
    ['the bit that would be FLR, which no port has', 0x98, [0x8000]],
    ['sleep and waking, which this port promises to be no reset', 0x44, [3, 0]],
  ])('keeps slot, link, buses and device through %s', (_, register, values) => {
    const { port, card, read, write, present } = setUp();
    port.populate(card);
    const all = () => [read(SLOT_STATUS, 2), read(LINK_STATUS, 2), read(0x18, 4), read(0x04, 2)];
    const before = all();
    for (const value of values) write(register, 2, value);
    expect(all()).toEqual(before);
    expect(present()).toBe(true);
    expect(card.resets).toBe(0);
  });

  it('declares the same slot whatever is written', () => {
    const { read, write } = setUp();
    const before = read(PCIE + 0x14, 4);
    expect(before).toBe((7 << 19) | 0x5b);
    write(PCIE + 0x14, 4, 0xffff_ffff);
    expect(read(PCIE + 0x14, 4)).toBe(before);
  });
});

describe('ACS', () => {
  it('isolates once software has turned all of it on', () => {
    const { port, write, read } = setUp();
    expect(port.isolates).toBe(false);
    write(0x14e, 2, 0xffff);
    expect(read(0x14e, 2)).toBe(0x1d);
    expect(port.isolates).toBe(true);
  });
});

describe('state of a root port', () => {
  const scramble = (write: (register: number, size: number, value: number) => void) => {
    const random = seededRandom(3);
    for (let i = 0; i < 500; i++) write(random.below(1024) * 4, 4, random.u32());
  };

  it('is the same after save, change, restore', () => {
    const { port, write, card } = setUp();
    port.populate(card);
    scramble(write);
    const saved = port.save();
    for (let i = 0; i < 5; i++) port.requestUnplug();
    write(0x18, 4, 0);
    expect(port.save().state).not.toEqual(saved.state);
    port.restore(saved);
    expect(port.save()).toEqual(saved);
  });

  it('is taken over by another port, with its link and interrupt condition', () => {
    const source = setUp();
    source.port.populate(source.card);
    source.write(SLOT_CONTROL, 2, 0x0021 | POWER_ON);
    source.write(SLOT_STATUS, 2, 0xffff);
    source.port.requestUnplug();
    const target = setUp();
    target.port.populate(target.card);
    target.interrupts();
    target.port.restore(source.port.save());
    expect(target.port.save()).toEqual(source.port.save());
    expect(target.present()).toBe(true);
    target.port.requestUnplug();
    expect(target.interrupts(), 'the event was pending there already').toBe(0);
  });

  it.each([true, false])(
    'has the slot as it is there, occupied or not, where a device belongs into it (quick: %s)',
    (quick) => {
      const there = setUp({}, quick);
      there.port.populate(there.card);
      const occupied = there.port.save();
      there.port.eject();
      const empty = there.port.save();
      const here = setUp({}, quick);
      here.port.populate(here.card);
      for (const [record, occupant] of [
        [empty, undefined],
        [occupied, here.card],
        [empty, undefined],
      ] as const) {
        here.interrupts();
        here.port.restore(record);
        expect(here.port.save()).toEqual(record);
        expect(here.port.occupant).toBe(occupant);
        expect(here.present()).toBe(occupant !== undefined);
        expect(here.card.upstream === undefined).toBe(occupant === undefined);
        expect(here.interrupts()).toBe(0);
      }
      here.port.plug(here.card, 'link');
      expect(here.port.occupant).toBe(here.card);
    },
  );

  it('is refused, naming why, and changes nothing, when it does not fit', () => {
    const occupied = setUp();
    occupied.port.populate(occupied.card);
    const empty = setUp();
    const before = empty.port.save();
    const bad: [string, DeviceRecord, RegExp][] = [
      ['a device in the slot there', occupied.port.save(), /holds a device there/],
      ['another version', { ...before, version: 99 }, /version 99/],
      ['cut short', { ...before, state: before.state.subarray(0, 40) }, /cut off/],
      ['another slot', new RootPort('p', { number: 8, surprise: true }).save(), /differ/],
      ['a quick slot', setUp({}, true).port.save(), /differ/],
      ['without what waits', { ...before, state: before.state.subarray(0, -21) }, /nothing where requests/],
      ['nothing', { ...before, state: new Uint8Array(0) }, /nothing where config/],
    ];
    for (const [name, record, message] of bad) {
      expect(() => empty.port.restore(record), name).toThrow(message);
      expect(empty.port.save(), name).toEqual(before);
    }
  });

  it('is described with the names of its registers, damaged or not', () => {
    const { port } = setUp();
    const record = port.save();
    const names = port.describe(record).map(([name]) => name);
    expect(names).toContain('config.pcie.SLOT_CONTROL');
    expect(names).toContain('config.aer.ROOT_STATUS');
    expect(port.describe({ ...record, state: record.state.subarray(0, 100) }).at(-1)).toEqual([
      'damaged',
      expect.stringContaining('cut off'),
    ]);
    for (let length = 0; length < 60; length++) {
      expect(() => port.describe({ ...record, state: record.state.subarray(0, length) })).not.toThrow();
    }
  });
});
