import { describe, expect, test } from 'vitest';
import { LAPIC_ICR_HIGH, LAPIC_ICR_LOW } from '../../base/abi/platform.js';
import { reservedRange } from '../../base/abi/reserved-range.js';
import { AtomicBitmap } from '../../base/bitmap.js';
import { seededRandom } from '../../base/random.js';
import { kernelModule } from '../../vmm/kernels/load.js';
import { allocateRam } from '../../vmm/ram/guest-ram.js';
import { allocateControl, COMMANDS, DOORBELL, ON, START } from '../../vmm/threads/control-block.js';
import { VcpuSignals } from '../../vmm/threads/signals.js';
import { VirtualClock } from '../../vmm/threads/virtual-clock.js';
import { classifyCrash, explainCrash } from '../../vmm/vcpu/crash.js';
import { DirtyPublisher } from '../../vmm/vcpu/dirty-publisher.js';
import { Lapic } from '../../vmm/vcpu/lapic.js';

const CONTROL_GPA = 128;
const KICK = CONTROL_GPA / 4;

function signalsOn(ram = new Int32Array(new SharedArrayBuffer(4096))) {
  const signals = new VcpuSignals(allocateControl(2), 1, ram, CONTROL_GPA);
  return { ram, signals, block: signals.block };
}

describe('posted interrupts', () => {
  test('the highest vector comes first, each once', () => {
    const { signals } = signalsOn();
    for (const vector of [0x20, 0xfe, 0x40, 0x40, 0xff, 0x10]) signals.post(vector);
    const taken: number[] = [];
    for (let vector = signals.highest(); vector !== 0; vector = signals.highest()) {
      signals.take(vector);
      taken.push(vector);
    }
    expect(taken).toEqual([0xff, 0xfe, 0x40, 0x20, 0x10]);
  });

  test.each([-1, 0, 15, 256, 1000])('vector %i does not exist and is ignored', (vector) => {
    const { signals, ram, block } = signalsOn();
    signals.post(vector);
    expect([signals.highest(), ram[KICK], block[ON], block[DOORBELL]]).toEqual([0, 0, 0, 0]);
  });

  test('only the first of many posts notifies, until they were taken note of', () => {
    const { signals, block, ram } = signalsOn();
    signals.post(0x20);
    signals.post(0x21);
    expect([block[DOORBELL], ram[KICK], block[ON]]).toEqual([1, 1, 1]);
    signals.acknowledge();
    expect([ram[KICK], block[ON]]).toEqual([0, 0]);
    signals.post(0x22);
    expect([block[DOORBELL], ram[KICK]]).toEqual([2, 1]);
  });

  test('a command or start request is there before the kick that announces it', () => {
    const { signals, block, ram } = signalsOn();
    signals.command();
    signals.requestStart();
    expect([block[COMMANDS], block[START], block[DOORBELL], ram[KICK]]).toEqual([1, 1, 2, 1]);
  });

  test('the request register survives a save and restore', () => {
    const { signals } = signalsOn();
    const other = signalsOn().signals;
    for (const vector of [0x10, 0x5f, 0x60, 0xff]) signals.post(vector);
    other.restorePir(signals.savePir());
    expect(other.savePir()).toEqual(signals.savePir());
    expect(other.highest()).toBe(0xff);
  });
});

describe('the virtual clock', () => {
  test('stands until started, runs with the host, and goes on from where it was stopped', () => {
    let host = 1000;
    const clock = new VirtualClock(() => host);
    expect(clock.now()).toBe(0);
    clock.start();
    host += 500;
    expect(clock.now()).toBe(500);
    clock.stop();
    host += 10_000;
    expect(clock.now()).toBe(500);
    clock.start();
    host += 1;
    expect(clock.now()).toBe(501);
    expect(clock.hostTimeOf(601)).toBe(host + 100);
  });

  test('shows the time it was set to, on every reader of its buffer', () => {
    let host = 5;
    const clock = new VirtualClock(() => host);
    const reader = new VirtualClock(() => host, clock.buffer);
    clock.set(7e15);
    expect(reader.now()).toBe(7e15);
    clock.start(clock.now() + 100);
    host += 1;
    expect(reader.now()).toBe(7e15 + 101);
    expect(reader.running).toBe(true);
  });
});

describe('the local APIC', () => {
  function apic(index: number) {
    const sent: string[] = [];
    const lapic = new Lapic(index, 3, {
      post: (target, vector) => sent.push(`post ${target} ${vector}`),
      startVcpu: (target) => sent.push(`start ${target}`),
    });
    return {
      sent,
      lapic,
      icr: (high: number, low: number) => {
        lapic.write(LAPIC_ICR_HIGH, high);
        lapic.write(LAPIC_ICR_LOW, low);
      },
    };
  }

  test.each([
    ['a fixed interrupt to one', 2 << 24, 0x40, ['post 2 64']],
    ['to itself by number', 1 << 24, 0x40, ['post 1 64']],
    ['to one that does not exist', 7 << 24, 0x40, []],
    ['to all', 0xff << 24, 0x40, ['post 0 64', 'post 1 64', 'post 2 64']],
    ['shorthand self', 0, (1 << 18) | 0x40, ['post 1 64']],
    ['shorthand all', 0, (2 << 18) | 0x40, ['post 0 64', 'post 1 64', 'post 2 64']],
    ['shorthand others', 0, (3 << 18) | 0x40, ['post 0 64', 'post 2 64']],
    ['start-up to one', 2 << 24, 6 << 8, ['start 2']],
    ['start-up to others', 0, (3 << 18) | (6 << 8), ['start 0', 'start 2']],
    ['start-up to itself', 1 << 24, 6 << 8, []],
    ['a delivery mode that is not there', 2 << 24, (4 << 8) | 0x40, []],
  ])('%s', (_, high, low, expected) => {
    const { sent, icr } = apic(1);
    icr(high, low);
    expect(sent).toEqual(expected);
  });

  test('tells its id and what its command register holds', () => {
    const { lapic, icr } = apic(2);
    icr(0x01000000, 0x20);
    expect(lapic.read(0x20)).toBe(2 << 24);
    expect(lapic.read(LAPIC_ICR_HIGH)).toBe(0x01000000);
    expect(lapic.read(LAPIC_ICR_LOW)).toBe(0x20);
    expect(lapic.read(0x500)).toBe(0);
  });
});

describe('publishing the dirty map', () => {
  const ramBytes = 64 * 1024 * 1024;
  const range = reservedRange(ramBytes, 2);
  const memory = allocateRam(ramBytes);
  const u8 = new Uint8Array(memory.buffer);
  const instance = new WebAssembly.Instance(kernelModule('dirty-map'), { env: { memory } });
  const publisher = new DirtyPublisher(instance, range, 1);
  const { dirtyMap } = range.vcpus[1]!;

  test('moves every mark into the bitmap and leaves the map clear, whatever value marks a page', () => {
    const random = seededRandom(3);
    const bitmap = new AtomicBitmap(range.firstPage);
    const expected = new Set<number>([0, 31, 32, range.firstPage - 1]);
    for (let i = 0; i < 3000; i++) expected.add(random.below(range.firstPage));
    for (const page of expected) u8[dirtyMap + page] = 1 + random.below(255);
    expect(publisher.publish(bitmap)).toBe(expected.size);
    expect(bitmap.count()).toBe(expected.size);
    for (const page of expected) expect(bitmap.has(page)).toBe(true);
    expect(u8.subarray(dirtyMap, dirtyMap + range.firstPage).every((byte) => byte === 0)).toBe(true);
    expect(publisher.publish(bitmap)).toBe(0);
  });

  test('pages of the reserved range never reach the bitmap', () => {
    const bitmap = new AtomicBitmap(range.firstPage);
    u8.fill(1, dirtyMap + range.firstPage - 1, dirtyMap + ramBytes / 4096);
    expect(publisher.publish(bitmap)).toBe(1);
    expect(bitmap.next(0)).toBe(range.firstPage - 1);
  });

  test('a bit that is set already is not counted again', () => {
    const bitmap = new AtomicBitmap(range.firstPage);
    bitmap.set(5);
    u8[dirtyMap + 5] = 1;
    u8[dirtyMap + 6] = 1;
    expect(publisher.publish(bitmap)).toBe(1);
  });
});

describe('what ends a guest', () => {
  test.each([
    [new WebAssembly.RuntimeError('memory access out of bounds'), 'memory'],
    [new WebAssembly.RuntimeError('divide by zero'), 'arithmetic'],
    [new WebAssembly.RuntimeError('unreachable'), 'unreachable'],
    [new WebAssembly.RuntimeError('table index is out of bounds'), 'indirect-call'],
    [new WebAssembly.RuntimeError('operation does not support unaligned accesses'), 'unaligned'],
    [new RangeError('Maximum call stack size exceeded'), 'stack'],
    [new TypeError('Cannot convert 5 to a BigInt'), 'host'],
    ['no error at all', 'host'],
  ])('%s is of its kind', (thrown, kind) => {
    expect(classifyCrash(2, thrown)).toMatchObject({ vcpu: 2, kind });
  });

  test('names the instruction by the code and the function by the frame that is the guest’s own', () => {
    const frames = [
      { functionIndex: 3, functionName: 'ferry:copy', offset: 2 },
      { functionIndex: 1, offset: 9 },
    ];
    const crash = { vcpu: 0, kind: 'memory', reason: 'out of bounds access', frames } as const;
    const code = Uint8Array.of(0, 0, 0x36, 2, 0);
    expect(explainCrash(crash, code, ['exit', 'worker'])).toEqual({
      reason: 'out of bounds store',
      where: ' at worker (wasm function 1 +0x9)',
    });
    expect(explainCrash({ ...crash, frames: [] }, code, [])).toEqual({
      reason: 'out of bounds access',
      where: '',
    });
  });
});
