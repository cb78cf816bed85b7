import { describe, expect, it } from 'vitest';
import { reg } from '../../iommu/registers.js';
import { World } from './world.js';

const PPR = 1;
const PRO = 2;

function world() {
  const w = new World({ deviceTlb: true });
  w.start(true);
  const base = w.allocate();
  w.write64(reg.PQA.offset, BigInt(base));
  w.write32(reg.PEADDR.offset, 0xfee0_4000);
  w.write32(reg.PEDATA.offset, 0x71);
  w.write32(reg.PECTL.offset, 0);
  return { w, base };
}

const request = { source: 0x0310, pasid: 9, page: 0x1234, read: true, write: false, group: 5, last: true };
const status = (w: World): number => w.unit.read(reg.PRS.offset, 4);

describe('the page-request queue', () => {
  it('hands requests to software in memory, with one event until it has looked', () => {
    const { w, base } = world();
    expect(w.unit.pageRequests.queue(request)).toBe(true);
    expect(w.unit.pageRequests.queue({ ...request, pasid: -1, write: true, last: false })).toBe(true);
    expect(w.get64(base)).toBe(1n | (1n << 8n) | (0x0310n << 16n) | (9n << 32n));
    expect(w.get64(base + 8)).toBe(1n | 4n | (5n << 3n) | (0x1234n << 12n));
    expect(w.get64(base + 32)).toBe(1n | (0x0310n << 16n));
    expect(w.get64(base + 40)).toBe(3n | (5n << 3n) | (0x1234n << 12n));
    expect(w.unit.read(reg.PQT.offset, 4)).toBe(64);
    expect(status(w)).toBe(PPR);
    expect(w.interrupts).toEqual([['message', 0xfee0_4000, 0, 0x71]]);
    w.write32(reg.PRS.offset, PPR);
    w.write64(reg.PQH.offset, 64n);
    w.unit.pageRequests.queue(request);
    expect(w.interrupts.length).toBe(2);
  });

  it('overflows when it is full, and takes nothing until software has cleared that', () => {
    const { w } = world();
    for (let i = 0; i < 127; i++) expect(w.unit.pageRequests.queue(request)).toBe(true);
    expect(w.unit.pageRequests.queue(request)).toBe(false);
    expect(status(w)).toBe(PPR | PRO);
    w.write64(reg.PQH.offset, 64n);
    expect(w.unit.pageRequests.queue(request)).toBe(false);
    w.write32(reg.PRS.offset, PRO);
    expect(w.unit.pageRequests.queue(request)).toBe(true);
    expect(w.unit.read(reg.PQT.offset, 4)).toBe(0);
  });

  it('holds a masked event back and drops it when software was faster', () => {
    const { w } = world();
    w.write32(reg.PECTL.offset, 2 ** 31);
    w.unit.pageRequests.queue(request);
    w.write32(reg.PRS.offset, PPR);
    w.write32(reg.PECTL.offset, 0);
    expect(w.interrupts).toEqual([]);
  });

  it('refuses requests when its memory does not exist', () => {
    const { w } = world();
    w.write64(reg.PQA.offset, 0xf_ffff_0000_0000n);
    expect(w.unit.pageRequests.queue(request)).toBe(false);
    expect(status(w)).toBe(0);
  });
});
