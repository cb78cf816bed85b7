import { describe, expect, test, vi } from 'vitest';
import type { MmioRegion } from '../../base/mmio.js';
import { ConsoleOutbox, OUTBOX_LINES_MAX } from '../../vmm/machine/console-outbox.js';
import { MmioBus } from '../../vmm/machine/mmio-bus.js';
import { allocateControl, controlBlock, POSTED_ENTRIES } from '../../vmm/threads/control-block.js';
import { DEVICE_BUFFER_BYTES, MmioRequester, MmioResponder } from '../../vmm/threads/mmio-mailbox.js';

/** A region that remembers what reached it. */
function region(name: string, base: number, bytes: number, seen: string[], posted = false): MmioRegion {
  const handler = {
    read: (offset: number, width: number) => {
      seen.push(`${name} r${width} ${offset}`);
      return 0x5a;
    },
    write: (offset: number, width: number, value: number) =>
      seen.push(`${name} w${width} ${offset} ${value}`),
  };
  return { name, base, bytes, handler, posted };
}

describe('the MMIO bus', () => {
  test('devices see offsets', () => {
    const seen: string[] = [];
    const bus = new MmioBus([region('b', 0x2000, 0x100, seen), region('a', 0x1000, 0x1000, seen)]);
    expect(bus.read(0x1000, 4)).toBe(0x5a);
    bus.write(0x1ffc, 4, 7);
    bus.write(0x2000, 1, 8);
    bus.read(0x20ff, 1);
    expect(seen).toEqual(['a r4 0', 'a w4 4092 7', 'b w1 0 8', 'b r1 255']);
  });

  test('what nobody claims, or reaches over an end, reads all ones and drops writes', () => {
    const seen: string[] = [];
    const bus = new MmioBus([region('a', 0x1000, 0x10, seen)]);
    expect([bus.read(0xfff, 1), bus.read(0x1010, 2), bus.read(0x100e, 4), bus.read(0xffff_fffc, 4)]).toEqual([
      0xff, 0xffff, 0xffff_ffff, 0xffff_ffff,
    ]);
    bus.write(0x100f, 2, 1);
    expect(seen).toEqual([]);
    expect(bus.unassigned).toBe(5);
  });

  test('refuses regions that overlap, and takes neighbours', () => {
    expect(() => new MmioBus([region('a', 0x1000, 0x11, []), region('b', 0x1010, 8, [])])).toThrow(
      /a and b overlap/,
    );
    expect(() => new MmioBus([region('a', 0x1000, 0x10, []), region('b', 0x1010, 8, [])])).not.toThrow();
  });
});

describe('the way to the device thread', () => {
  function link(regions: (seen: string[]) => MmioRegion[]) {
    const seen: string[] = [];
    const control = allocateControl(1);
    const buffer = new SharedArrayBuffer(DEVICE_BUFFER_BYTES);
    const responder = new MmioResponder(control, 1, buffer, new MmioBus(regions(seen)));
    return { seen, responder, requester: new MmioRequester(controlBlock(control, 0), buffer) };
  }

  test('posted writes wait for nobody, arrive in order, and ring the bell', async () => {
    const { seen, responder, requester } = link((s) => [region('nic', 0x1000, 0x1000, s, true)]);
    const bell = responder.attend();
    for (let i = 0; i < 5; i++) requester.write(0x1000 + 4 * i, 4, i);
    expect(seen).toEqual([]);
    await new Promise<void>((resolve) => responder.whenRung(bell, resolve));
    expect(responder.serve()).toBe(5);
    expect(seen).toEqual([0, 1, 2, 3, 4].map((i) => `nic w4 ${4 * i} ${i}`));
  });

  test('the ring of posted writes wraps without losing one', () => {
    const { seen, responder, requester } = link((s) => [region('nic', 0x1000, 0x1000, s, true)]);
    for (let i = 0; i < 5 * POSTED_ENTRIES; i++) {
      requester.write(0x1000, 4, i);
      if (i % 40 === 39) responder.serve();
    }
    responder.serve();
    expect(seen.length).toBe(5 * POSTED_ENTRIES);
    expect(seen.at(-1)).toBe(`nic w4 0 ${5 * POSTED_ENTRIES - 1}`);
  });

  test('a bell that rang before the wait ends it at once', async () => {
    const { responder } = link(() => []);
    const bell = responder.attend();
    responder.ring();
    await new Promise<void>((resolve) => responder.whenRung(bell, resolve));
    expect(responder.serve()).toBe(0);
  });

  test('a ring right behind the last look at the bell is not slept through', async () => {
    const { responder } = link(() => []);
    const bell = responder.attend();
    const load = Atomics.load;
    let looks = 0;
    // The bell is the first word; a vCPU rings when the thread has just seen that it did not.
    const spy = vi.spyOn(Atomics, 'load').mockImplementation(((words: Int32Array, index: number) => {
      const value = load(words, index);
      if (index === 0 && looks++ === 0) responder.ring();
      return value;
    }) as typeof Atomics.load);
    try {
      await new Promise<void>((resolve) => responder.whenRung(bell, resolve));
    } finally {
      spy.mockRestore();
    }
    expect(looks).toBe(1);
    expect(responder.attend()).not.toBe(bell);
  });
});

describe('console lines on their way out', () => {
  const line = (n: number) => ({ text: `${n}`, atNs: n });

  test('are bounded while nobody takes them, and the loss is told with the next', () => {
    const outbox = new ConsoleOutbox();
    for (let i = 0; i < OUTBOX_LINES_MAX + 5; i++) outbox.push(line(i));
    const batch = outbox.take();
    expect(batch?.lines.length).toBe(OUTBOX_LINES_MAX);
    expect(batch?.dropped).toBe(5);
  });

  test('are handed over one batch at a time', () => {
    const outbox = new ConsoleOutbox();
    expect(outbox.take()).toBeUndefined();
    outbox.push(line(1));
    expect(outbox.take()?.lines).toEqual([line(1)]);
    outbox.push(line(2));
    expect(outbox.take()).toBeUndefined();
    outbox.acknowledge();
    expect(outbox.take()).toEqual({ lines: [line(2)], dropped: 0 });
  });
});
