// A device thread as a machine has one: the unit and a device behind it. The device writes as fast as it can; between
// two writes the thread serves the register accesses that another thread leaves in the mailbox.
import { workerData } from 'node:worker_threads';
import { HostMemory, HostRegion } from '../../dist/iommu/host-memory.js';
import { TRANSLATED, VtdUnit } from '../../dist/iommu/unit.js';

const { tables, tablesBase, ram, ramBase, mailbox, source, pages } = workerData;
const regions = [new HostRegion(tablesBase, tables), new HostRegion(ramBase, ram)];
const silent = { message() {}, remapped() {}, notify() {} };
const unit = new VtdUnit('iommu0', { memory: new HostMemory(regions), interrupts: silent });
const box = new Int32Array(mailbox);
const words = regions[1].words;

// Mailbox: 0 request (1 read, 2 write, 0 none or done), 1 offset, 2 value, 3 device state (0 off, 1 on, 2 end), 4 writes,
// 5 requests that were blocked, 6 requests that led to the wrong place.
let seed = 1;
for (;;) {
  const request = Atomics.load(box, 0);
  if (request !== 0) {
    if (request === 1) box[2] = unit.read(box[1], 4);
    else unit.write(box[1], 4, box[2] >>> 0);
    Atomics.store(box, 0, 0);
    Atomics.notify(box, 0);
  }
  const state = Atomics.load(box, 3);
  if (state === 2) break;
  if (state === 0) {
    Atomics.wait(box, 0, 0, 1);
    continue;
  }
  for (let i = 0; i < 64; i++) {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    const page = (seed >>> 8) % pages;
    if (unit.translate(source, -1, (page << 12) | 0x40, 0, 2) !== TRANSLATED) {
      Atomics.add(box, 5, 1);
      continue;
    }
    if (unit.result[0] !== ramBase + page * 4096 + 0x40) {
      Atomics.add(box, 6, 1);
      continue;
    }
    const at = regions[1].index(unit.result[0]);
    Atomics.store(words, at, words[at] + 1);
    Atomics.add(box, 4, 1);
  }
}
