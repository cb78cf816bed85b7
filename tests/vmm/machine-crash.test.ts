import { describe, expect, test } from 'vitest';
import { encodeImage } from '../../base/abi/image-encode.js';
import { parseImage } from '../../base/abi/image-parse.js';
import { sha256 } from '../../guest-fixtures/toolchain/build.js';
import { assemble, imageOf } from './machine-guests.js';
import { Watch } from './machine-watch.js';
import { booted, WORLDS } from './machine-worlds.js';

describe.each(WORLDS)('a guest that goes wrong in $name', ({ run }) => {
  test.each([
    [1, /^guest crashed: out of bounds store at (\S*store_wild|start_kernel)/],
    [2, /^guest crashed: out of bounds load at/],
    [3, /^guest crashed: reached an unreachable instruction at/],
    [4, /^guest crashed: divide by zero at/],
    [5, /^guest crashed: call stack overflow at \S*deep/],
    [6, /^guest crashed: indirect call to no such function at/],
  ])('trap %i is reported with what and where, its console intact', (how, text) =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'trap', how);
      const { error } = await watch.event('crash');
      expect(error.code).toBe('vmm/guest-crashed');
      expect(error.message).toMatch(text);
      expect(error.message).toMatch(/ on vCPU 0$/);
      await watch.line(/^n/);
      expect(watch.lines).toEqual([`n ${how}`]);
      expect(machine.state).toBe('crashed');
      expect(machine.query().vcpus[0]?.state).toBe('crashed');
      await expect(machine.pause()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    }),
  );

  test('has been heard to its last word when its crash is', () =>
    run(async (world) => {
      const { watch } = await booted(world, 'lastWords', 200);
      // Of threads, this one hears of nothing meanwhile: lines and crash wait for it together.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
      await watch.event('crash');
      const heard = watch.events.findIndex(({ kind }) => kind === 'crash');
      const lines = watch.events.slice(0, heard).filter(({ kind }) => kind === 'console');
      expect(lines).toHaveLength(200);
      expect(watch.lines.at(-1)).toBe('f 199');
    }));

  test('a stack too deep for its unwind area ends as a crash when it has to be unwound', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'trap', 7);
      await watch.line(/^b/);
      await machine.pause().catch(() => undefined);
      const { error } = await watch.event('crash');
      expect(error.message).toMatch(/call stack exceeds the unwind area of 256 KiB on vCPU 0$/);
    }));

  test('the other vCPUs stop when one crashes', () =>
    run(async (world) => {
      const image = await imageOf('churners');
      const machine = world.create({ vcpus: 2 });
      const watch = new Watch(machine);
      await machine.boot(image);
      await watch.count(1);
      // vCPU 0's own code, so that only its next call goes astray: the reserved range is the guest's to spoil.
      await machine.pause();
      const state = await machine.save();
      const target = world.create({ vcpus: 2 });
      await target.incoming.accept(machine.description);
      target.ram.set(machine.ram.subarray(0, machine.description.migratedPages * 4096));
      const [first, second] = state.vcpus;
      const noise = { ...first!, unwind: first!.unwind.map((_, i) => i * 37) };
      await target.incoming.load({ ...state, vcpus: [noise, second!] });
      const after = new Watch(target);
      await target.incoming.run();
      await after.event('crash');
      await expect(target.resume()).rejects.toMatchObject({ code: 'vmm/machine-state' });
      expect(target.query().vcpus.map((vcpu) => vcpu.state)).toEqual(['crashed', 'paused']);
    }));

  test('an image whose code asks for what no machine has is refused before it runs', () =>
    run(async (world) => {
      const { meta, data, code } = parseImage(await imageOf('hello'), sha256);
      const spoiled = (wat: string): Uint8Array => {
        const run = wat === '' ? new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 99]) : assemble(wat);
        return encodeImage({ meta, data, code: { ...code, run } }, sha256);
      };
      for (const wat of [
        '',
        '(module)',
        '(module (import "fs" "open" (func)))',
        '(module (import "ferry" "sudo" (func)))',
      ]) {
        const machine = world.create();
        await expect(machine.boot(spoiled(wat)), wat).rejects.toMatchObject({ code: 'vmm/image-refused' });
        expect(machine.state).toBe('empty');
        await machine.boot(await imageOf('spin'));
      }
    }));

  test('an image that needs more vCPUs, RAM or a shorter command line is refused, and the machine stays usable', () =>
    run(async (world) => {
      const image = await imageOf('hello');
      await expect(world.create({ vcpus: 2 }).boot(image)).rejects.toMatchObject({
        code: 'vmm/image-refused',
      });
      const machine = world.create();
      const long = 'x'.repeat(2048);
      await expect(machine.boot(image, long)).rejects.toMatchObject({ code: 'vmm/machine-option' });
      await expect(machine.boot(image, 'caf\u00e9')).rejects.toMatchObject({ code: 'vmm/machine-option' });
      await expect(machine.boot(image.subarray(0, 100))).rejects.toMatchObject({ code: 'image/malformed' });
      const watch = new Watch(machine);
      await machine.boot(image, '5');
      expect(await watch.line(/^n/)).toBe('n 5');
    }));
});

describe('a guest that can not be stopped in threads', () => {
  const { run } = WORLDS[0]!;

  test('overwrites its kick word for ever, and is paused all the same', () =>
    run(async (world) => {
      // Which kick it meets is chance, and where it shares a core with who kicks it, a rare one.
      const { machine, watch } = await booted(world, 'scribble', 0, { safepointDeadlineMs: 60_000 });
      await watch.count(1);
      for (let i = 0; i < 3; i++) {
        await machine.pause();
        expect(machine.query().vcpus[0]?.state).toBe('paused');
        await machine.resume();
      }
    }));

  test('has no safepoint, and is stopped by force with a typed error; the machine answers on', () =>
    run(async (world) => {
      const { meta, data, code } = parseImage(await imageOf('spin'), sha256);
      const image = encodeImage({ meta, data, code: { ...code, run: assemble(NO_SAFEPOINT) } }, sha256);
      // Long enough for a busy host to hand the guest its code, which has the same limit.
      const machine = world.create({ safepointDeadlineMs: 1500 });
      const watch = new Watch(machine);
      await machine.boot(image);
      await expect(machine.pause()).rejects.toMatchObject({ code: 'vmm/guest-unresponsive' });
      expect((await watch.event('crash')).error.code).toBe('vmm/guest-unresponsive');
      expect(machine.state).toBe('crashed');
      expect(machine.query().vcpus[0]?.state).toBe('crashed');
      await expect(machine.resume()).rejects.toMatchObject({ code: 'vmm/machine-state' });
    }));
});

/** What a hostile build could contain: it exports everything a vCPU needs and never looks at its kick word. */
const NO_SAFEPOINT = `(module
  (import "ferry" "memory" (memory 2 65536 shared))
  (global (export "ferry_irq_enabled") (mut i32) (i32.const 0))
  (func (export "asyncify_start_unwind") (param i32)) (func (export "asyncify_stop_unwind"))
  (func (export "asyncify_start_rewind") (param i32)) (func (export "asyncify_stop_rewind"))
  (func (export "asyncify_get_state") (result i32) (i32.const 0))
  (func (export "irq_entry") (param i32))
  (func (export "start_kernel") (param i32) (loop $ever (br $ever))))`;
