/** The order in which a vCPU's accesses reach a device, where the vCPU goes on while the device thread works. */
import { afterEach, expect, test, vi } from 'vitest';
import type { AccessWidth } from '../../base/mmio.js';
import {
  allocateControl,
  controlBlock,
  MMIO_ACCESS,
  MMIO_ADDRESS,
  MMIO_REQUESTED,
  MMIO_STATE,
  POSTED_ENTRIES,
} from '../../vmm/threads/control-block.js';
import { DEVICE_BUFFER_BYTES, MmioRequester, MmioResponder } from '../../vmm/threads/mmio-mailbox.js';

const DOORBELLS = 0xf000_0000;
const STATUS = 0xf000_0100;

afterEach(() => {
  vi.restoreAllMocks();
});

test('a read sees every posted write before it, also those that came while others were carried out', () => {
  const control = allocateControl(1);
  const device = new SharedArrayBuffer(DEVICE_BUFFER_BYTES);
  const block = controlBlock(control, 0);
  const seen: string[] = [];
  const handler = { read: () => 0, write: () => undefined };
  const responder = new MmioResponder(control, 1, device, {
    regions: [{ name: 'doorbells', base: DOORBELLS, bytes: 0x100, posted: true, handler }],
    read: (address) => {
      seen.push(`read ${address - DOORBELLS}`);
      return 0;
    },
    write: (_address: number, _width: AccessWidth, value: number) => {
      seen.push(`write ${value}`);
      if (value !== 1) return;
      // The vCPU goes on meanwhile: it rings again, and asks.
      vcpu.write(DOORBELLS, 4, 2);
      block[MMIO_ADDRESS] = STATUS;
      block[MMIO_ACCESS] = 4;
      Atomics.store(block, MMIO_STATE, MMIO_REQUESTED);
    },
  });
  const vcpu = new MmioRequester(block, device);
  vcpu.write(DOORBELLS, 4, 1);
  expect(responder.serve()).toBe(3);
  expect(seen).toEqual(['write 1', 'write 2', 'read 256']);
});

test('a posted write that finds the ring full waits until it is empty: none is lost, and none overtakes another', () => {
  const control = allocateControl(1);
  const device = new SharedArrayBuffer(DEVICE_BUFFER_BYTES);
  const seen: number[] = [];
  const handler = { read: () => 0, write: () => undefined };
  const responder = new MmioResponder(control, 1, device, {
    regions: [{ name: 'doorbells', base: DOORBELLS, bytes: 0x100, posted: true, handler }],
    read: () => 0,
    write: (_address, _width, value) => seen.push(value),
  });
  // The device thread stands until the vCPU sleeps.
  const sleeps = vi.spyOn(Atomics, 'wait').mockImplementation(() => {
    responder.serve();
    return 'ok';
  });
  const vcpu = new MmioRequester(controlBlock(control, 0), device);
  const writes = Array.from({ length: 2 * POSTED_ENTRIES + 5 }, (_, i) => i + 1);
  for (const value of writes) vcpu.write(DOORBELLS, 4, value);
  responder.serve();
  expect(seen).toEqual(writes);
  expect(sleeps, 'writes that found the ring full').toHaveBeenCalledTimes(2);
});
