import { describe, expect, it } from 'vitest';
import { reg } from '../../iommu/registers.js';
import {
  iotlbDomain,
  iotlbGlobal,
  iotlbPages,
  pasidIotlb,
  pasidIotlbPages,
  QIE,
  READ,
  World,
} from './world.js';

const DEVICE = 0x0310;
const IQE = 1 << 4;
const ITE = 1 << 6;

function world(options: ConstructorParameters<typeof World>[0] = {}, wide = false) {
  const made = new World(options);
  made.start(false);
  made.startQueue(wide);
  return made;
}

const head = (w: World): number => w.unit.read(reg.IQH.offset, 4);

describe('the invalidation queue', () => {
  it.each([false, true])('writes the status of waits and advances its head, wide descriptors %s', (wide) => {
    const w = world({}, wide);
    for (let i = 0; i < 300; i++) expect(w.submit(iotlbGlobal, iotlbDomain(3))).toBe(true);
    expect(head(w)).toBe((300 * 3 * (wide ? 32 : 16)) % 4096);
    expect(w.fsts).toBe(0);
  });

  it('interrupts when a wait asks for it, once until software has seen it', () => {
    const w = world();
    w.write32(reg.IEADDR.offset, 0xfee0_1000);
    w.write32(reg.IEDATA.offset, 0x41);
    const interruptWait = [5n | 0x10n, 0n] as const;
    w.submit(interruptWait);
    expect(w.interrupts).toEqual([]);
    w.write32(reg.IECTL.offset, 0);
    expect(w.interrupts).toEqual([['message', 0xfee0_1000, 0, 0x41]]);
    w.submit(interruptWait, interruptWait);
    expect(w.interrupts.length).toBe(1);
    w.write32(reg.ICS.offset, 1);
    w.submit(interruptWait);
    expect(w.interrupts.length).toBe(2);
  });

  it('goes on at the next access with what software appended beyond the bound of one turn', () => {
    const w = world();
    w.write32(reg.IECTL.offset, 0);
    const slots = 256;
    const total = 3 * slots;
    let added = 0;
    const status = w.allocate(64, 64);
    const append = (): void => {
      const slot = w.queueBase + (added % slots) * 16;
      added++;
      w.set64(slot, 5n | 0x30n | (BigInt(added) << 32n));
      w.set64(slot + 8, BigInt(status));
      w.write64(reg.IQT.offset, BigInt((added % slots) * 16));
    };
    // A handler that answers each completion with one more wait, within the interrupt.
    w.interrupts.push = () => {
      w.write32(reg.ICS.offset, 1);
      if (added < total) append();
      return 0;
    };
    append();
    for (let look = 0; look < 4; look++) head(w);
    expect(added).toBe(total);
    expect(w.get32(status)).toBe(total);
    expect(head(w)).toBe(w.unit.read(reg.IQT.offset, 4));
  });

  it('writes status and interrupts for a wait that asks for both', () => {
    const w = world();
    w.write32(reg.IECTL.offset, 0);
    const at = w.allocate(64, 64);
    w.submit([5n | 0x70n | (0xabcdn << 32n), BigInt(at)]);
    expect(w.get32(at)).toBe(0xabcd);
    expect(w.interrupts.length).toBe(1);
  });

  it.each([
    ['a global invalidation', iotlbGlobal],
    ['an invalidation of a domain', iotlbDomain(5)],
    ['an invalidation of pages', iotlbPages(5, 0x1000n, 0)],
    ['an invalidation of a PASID', pasidIotlb(5, 0)],
    ['an invalidation of pages of a PASID', pasidIotlbPages(5, 0, 0x1000n, 0)],
  ] as const)('tells of %s, by status and by interrupt, when its drain is over', (_what, descriptor) => {
    const w = world();
    w.write32(reg.IECTL.offset, 0);
    const [before, after] = [w.allocate(64, 64), w.allocate(64, 64)];
    const told = (): string[] => {
      const words = [before, after].map((status) => w.get32(status));
      const said = ['the wait before', 'the wait behind'].filter((_, i) => words[i] !== 0);
      return w.interrupts.length > 0 ? [...said, 'an interrupt'] : said;
    };
    const drains: string[][] = [];
    w.unit.onDrain(() => void drains.push(told()));
    const statusWait = (status: number) => [5n | 0x20n | (1n << 32n), BigInt(status)] as const;
    const interruptWait = [5n | 0x10n, 0n] as const;
    expect(w.submit(statusWait(before), descriptor, statusWait(after), interruptWait)).toBe(true);
    expect(drains, 'what software had heard of when the unit drained').toEqual([['the wait before']]);
    expect(told()).toEqual(['the wait before', 'the wait behind', 'an interrupt']);
  });

  it('drops a masked completion event that software acknowledged before unmasking', () => {
    const w = world();
    w.submit([5n | 0x10n, 0n]);
    w.write32(reg.ICS.offset, 1);
    w.write32(reg.IECTL.offset, 0);
    expect(w.interrupts).toEqual([]);
  });

  it.each([
    ['type 0', [0n, 0n]],
    ['an unknown type', [10n, 0n]],
    ['an extended type', [2n | (1n << 4n) | (1n << 9n), 0n]],
    ['a reserved bit in the context descriptor', [1n | (1n << 4n) | (1n << 6n), 0n]],
    ['a context descriptor without granularity', [1n, 0n]],
    ['a context descriptor with a second quadword', [1n | (1n << 4n), 1n]],
    ['a reserved bit in the IOTLB descriptor', [2n | (1n << 4n) | (1n << 8n), 0n]],
    ['an address mask above MAMV', iotlbPages(1, 0n, 19)],
    ['reserved bits of the IOTLB address', [2n | (3n << 4n), 0x80n]],
    ['a PASID-cache descriptor with granularity 2', [7n | (2n << 4n), 0n]],
    ['a PASID IOTLB descriptor with granularity 1', [6n | (1n << 4n), 0n]],
    ['reserved bits of a wait', [5n | 0x100n, 0n]],
    ['an unaligned wait address', [5n | 0x20n, 2n]],
    ['a device TLB descriptor on a unit without', [3n, 0n]],
    ['a page group response on a unit without', [9n, 0n]],
  ] as const)('stops at %s with IQE, its head there, and goes on when software repaired it', (_what, bad) => {
    const w = world();
    expect(w.submit(iotlbGlobal, bad as readonly [bigint, bigint])).toBe(false);
    expect(w.fsts & IQE).toBe(IQE);
    expect(head(w)).toBe(16);
    // Nothing moves while the error stands, not even for a new tail.
    expect(w.submit(iotlbGlobal)).toBe(false);
    w.set64(w.queueBase + 16, iotlbGlobal[0]);
    w.set64(w.queueBase + 24, iotlbGlobal[1]);
    w.write32(reg.FSTS.offset, IQE);
    expect(w.fsts).toBe(0);
    expect(head(w)).toBe(5 * 16);
    expect(w.submit(iotlbGlobal)).toBe(true);
  });

  it('reports an error again that software did not repair, and does not spin on it', () => {
    const w = world();
    w.submit([0n, 0n]);
    w.write32(reg.FSTS.offset, IQE);
    expect(w.fsts & IQE).toBe(IQE);
    expect(head(w)).toBe(0);
  });

  it('refuses a tail beyond the queue, one inside a wide descriptor, and a queue outside memory', () => {
    const beyond = world();
    beyond.write64(reg.IQT.offset, 0x1000n);
    expect(beyond.fsts & IQE).toBe(IQE);
    const inside = world({}, true);
    inside.write64(reg.IQT.offset, 0x10n);
    expect(inside.fsts & IQE).toBe(IQE);
    const nowhere = world();
    nowhere.command(0, QIE);
    nowhere.write64(reg.IQA.offset, 0xf_ffff_ffff_f000n);
    nowhere.command(QIE);
    nowhere.write64(reg.IQT.offset, 0x10n);
    expect(nowhere.fsts & IQE).toBe(IQE);
  });

  it('processes what is queued already when it is enabled, and reads head zero when disabled', () => {
    const w = new World();
    w.start(false);
    const base = w.allocate();
    const at = w.allocate(64, 64);
    w.set64(base, 5n | 0x20n | (7n << 32n));
    w.set64(base + 8, BigInt(at));
    w.write64(reg.IQA.offset, BigInt(base));
    w.write64(reg.IQT.offset, 0x10n);
    expect(w.get32(at)).toBe(0);
    w.command(QIE);
    expect(w.get32(at)).toBe(7);
    expect(head(w)).toBe(16);
    w.command(0, QIE);
    expect(head(w)).toBe(0);
  });

  it('takes the tail as two dword writes', () => {
    const w = world();
    const at = w.allocate(64, 64);
    w.set64(w.queueBase, 5n | 0x20n | (7n << 32n));
    w.set64(w.queueBase + 8, BigInt(at));
    w.write32(reg.IQT.offset, 16);
    w.write32(reg.IQT.offset + 4, 0);
    expect(w.get32(at)).toBe(7);
  });

  it('survives status addresses that lead nowhere', () => {
    const w = world();
    expect(w.submit([5n | 0x20n, 0xffff_ffff_ffff_fffcn], [5n | 0x20n, 4n])).toBe(true);
  });

  it('asks devices to drop their translations, with the size that the address codes', () => {
    const w = world({ deviceTlb: true });
    const source = 0x0311n << 32n;
    w.submit([3n | source, 0x1234_5000n], [3n | source, 0x1234_5000n | 1n], [3n | source, 0x1234_7000n | 1n]);
    w.submit([3n | source, 0x7fff_ffff_ffff_f000n | 1n]);
    w.submit([8n | (0x0312n << 16n) | (9n << 32n), 0x20_0000n | 0xf_f000n | 0x800n]);
    expect(w.deviceCalls).toEqual([
      [0x0311, -1, 0x1234_5000, 4096],
      [0x0311, -1, 0x1234_4000, 16384],
      [0x0311, -1, 0x1234_0000, 65536],
      [0x0311, -1, 0, Number.POSITIVE_INFINITY],
      [0x0312, 9, 0x20_0000, 0x20_0000],
    ]);
  });

  it('aborts waits behind a device that does not answer, names it, and serves new ones after ITE is cleared', () => {
    const w = world({ deviceTlb: true });
    w.deviceAnswers = false;
    expect(w.submit([3n | (0x0311n << 32n), 0n])).toBe(false);
    expect(w.fsts & ITE).toBe(ITE);
    expect(w.unit.read(reg.IQERCD.offset + 4, 4) & 0xffff).toBe(0x0311);
    expect(head(w)).toBe(32);
    w.deviceAnswers = true;
    expect(w.submit(iotlbGlobal)).toBe(false);
    w.write32(reg.FSTS.offset, ITE);
    expect(head(w)).toBe(64);
    expect(w.submit(iotlbGlobal)).toBe(true);
  });

  it.each([
    ['device-TLBs', {}, [3n, 8n, 9n], ['DT', 'PRS']],
    ['scalable mode', { scalableMode: false, deviceTlb: true }, [6n, 7n, 8n, 9n], ['SMTS', 'PASID', 'PRS']],
  ] as const)(
    'knows no descriptors of %s where the capability registers offer none',
    (_what, options, types, absent) => {
      for (const type of types) {
        const w = new World(options);
        w.start(false);
        w.startQueue();
        for (const name of absent) {
          expect(w.unit.registers.getField(reg.ECAP, reg.ECAP.fields[name])).toBe(0);
        }
        // A granularity and fields that are valid where the type is.
        expect(w.submit([type | (type === 6n ? 0x20n : 0n), 0n])).toBe(false);
        expect(w.fsts & IQE).toBe(IQE);
        expect(head(w)).toBe(0);
        expect(w.deviceCalls).toEqual([]);
        const all = new World({ deviceTlb: true });
        all.start(false);
        all.startQueue();
        expect(all.submit([type | (type === 6n ? 0x20n : 0n), 0n])).toBe(true);
      }
    },
  );

  it('hands page group responses to the device', () => {
    const w = world({ deviceTlb: true });
    w.submit([9n | 0x10n | (1n << 12n) | (0x0311n << 16n) | (77n << 32n), 5n << 3n]);
    expect(w.deviceCalls).toEqual([[0x0311, 77, 5, 1]]);
  });
});

describe('register-based invalidation', () => {
  it('works while the queue is off and says what it did', () => {
    const w = new World();
    w.start(false);
    const table = w.allocate();
    w.legacyContext(DEVICE, table, 4, 5);
    const leaf = w.mapSecond(table, 4, 0x1000n, 0x2000n);
    const refill = (): void => {
      w.set64(leaf, 0x2003n);
      w.dma(DEVICE, 0x1000n, READ);
      w.set64(leaf, 0n);
    };
    const invalidate = (granularity: bigint, domain = 5n): bigint => {
      w.write64(reg.IOTLB.offset, (1n << 63n) | (granularity << 60n) | (domain << 32n));
      const done = w.read64(reg.IOTLB.offset);
      expect(done >> 63n).toBe(0n);
      return (done >> 57n) & 3n;
    };
    const isCached = (): boolean => w.dma(DEVICE, 0x1000n, READ) !== undefined;
    for (const granularity of [1n, 2n, 3n]) {
      refill();
      w.write64(reg.IVA.offset, 0x1000n);
      expect(invalidate(granularity)).toBe(granularity);
      expect(isCached()).toBe(false);
    }
    refill();
    expect(invalidate(2n, 6n)).toBe(2n);
    expect(isCached()).toBe(true);
    w.write64(reg.IVA.offset, 0x1000n | 63n);
    expect(invalidate(3n)).toBe(0n);
    expect(invalidate(0n)).toBe(0n);

    w.set64(w.contextAt(DEVICE), 0n);
    refill();
    w.write64(reg.CCMD.offset, (1n << 63n) | (3n << 61n) | (BigInt(DEVICE) << 16n) | 5n);
    expect(w.read64(reg.CCMD.offset) >> 59n).toBe(0b01111n);
    expect(isCached()).toBe(false);
  });

  it('is left busy for good, and undone, while the queue is on', () => {
    const w = world();
    w.write64(reg.IOTLB.offset, (1n << 63n) | (1n << 60n));
    expect(w.read64(reg.IOTLB.offset) >> 63n).toBe(1n);
    w.write64(reg.CCMD.offset, (1n << 63n) | (1n << 61n));
    expect(w.read64(reg.CCMD.offset) >> 63n).toBe(1n);
  });
});
