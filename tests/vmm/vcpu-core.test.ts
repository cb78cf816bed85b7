/** The vCPU without its thread, with real guest code: what it decides at an exit. */
import { expect, test } from 'vitest';
import { reservedRange } from '../../base/abi/reserved-range.js';
import { buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { allocateRam, GuestRam } from '../../vmm/ram/guest-ram.js';
import { allocateControl } from '../../vmm/threads/control-block.js';
import { VcpuSignals } from '../../vmm/threads/signals.js';
import { VcpuCore, type VcpuPorts } from '../../vmm/vcpu/core.js';
import { watGuest } from '../guest-fixtures/wat-guest.js';

const RAM_BYTES = 64 * 1024 * 1024;
const DEVICE = 0xfed0_0000;
const VECTOR = 0x40;
const MMIO = '(import "ferry" "mmio_write" (func $mmio_write (param i32 i32 i32)))';
const TELL = `(call $mmio_write (i32.const ${DEVICE}) (i32.const 4) (i32.const 0))`;
const LOOP =
  '(local.set $a (i32.const 0)) (loop $l (br_if $l (i32.lt_u (local.tee $a (i32.add (local.get $a) (i32.const 1))) (i32.const 20))))';
/** Counts interrupts in memory. */
const HANDLER = `(func (export "irq_entry") (param i32)
  (i32.store (i32.const 0x8000) (i32.add (i32.load (i32.const 0x8000)) (i32.const 1))))`;

/** Interrupts off, a word to a device, and on again; loops in between. */
const guest = buildGuest(
  watGuest(
    `(drop (call $irq_save)) ${TELL} ${LOOP} (call $irq_restore (i32.const 1)) ${LOOP}`,
    MMIO + HANDLER,
  ),
  { name: 'test' },
);
const module = new WebAssembly.Module(guest.variants.run.binary as Uint8Array<ArrayBuffer>);

/** A vCPU with the guest. What a port does beyond nothing is `ports`'. */
function vcpuWith(ports: (signals: VcpuSignals) => Partial<VcpuPorts>) {
  const range = reservedRange(RAM_BYTES, 1);
  const ram = GuestRam.create(allocateRam(RAM_BYTES), range.firstPage);
  const { control } = range.vcpus[0]!;
  const signals = new VcpuSignals(allocateControl(1), 0, ram.i32, control);
  const vcpu = new VcpuCore(0, ram, range, signals, {
    now: () => 0,
    mmioRead: () => 0,
    mmioWrite: () => undefined,
    timerChanged: () => undefined,
    attend: () => {
      signals.acknowledge();
      return false;
    },
    idle: () => false,
    pageFault: () => undefined,
    post: () => undefined,
    startVcpu: () => undefined,
    ...ports(signals),
  });
  vcpu.setCode({ variant: 'run', module, registers: guest.registers });
  vcpu.start();
  return { vcpu, signals, interrupts: () => ram.i32[0x8000 / 4]! };
}

test('an interrupt that comes while interrupts are off is taken when they are enabled, without another kick', () => {
  const { vcpu, interrupts } = vcpuWith((signals) => ({ mmioWrite: () => signals.post(VECTOR) }));
  expect(vcpu.run().kind).toBe('returned');
  expect(interrupts()).toBe(1);
});

test('a guest that is wanted outside at every exit makes progress all the same', () => {
  const { vcpu, signals } = vcpuWith(() => ({ attend: () => true }));
  signals.kickSelf();
  let runs = 0;
  while (vcpu.run().kind !== 'returned') {
    expect(++runs, 'it stands still').toBeLessThan(100);
    signals.kickSelf();
  }
  expect(runs).toBeGreaterThan(2);
});
