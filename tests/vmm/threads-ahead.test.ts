/** Page threads that start before a migration is asked for: whose they are, how long they are kept, and when none are made. */
import { expect, test } from 'vitest';
import { parseImage } from '../../base/abi/image-parse.js';
import { AtomicBitmap } from '../../base/bitmap.js';
import { KEPT_MS, ThreadsAhead } from '../../dist/vmm/process/threads-ahead.js';
import { sha256 } from '../../guest-fixtures/toolchain/build.js';
import type { MachineCore } from '../../vmm/machine/core.js';
import { GuestCode } from '../../vmm/machine/guest-code.js';
import { outgoingRole } from '../../vmm/machine/outgoing.js';
import { running, setUp } from './controller-world.js';
import { imageOf } from './machine-guests.js';

function world() {
  const log: string[] = [];
  const timers: { ms: number; ring: () => void }[] = [];
  const ahead = new ThreadsAhead(
    async (channels) => {
      log.push(`make ${channels}`);
      return { channels, close: async () => void log.push(`end ${channels}`) };
    },
    (ms, ring) => {
      const timer = { ms, ring };
      timers.push(timer);
      return () => {
        timer.ring = () => void log.push('a timer that was cancelled');
      };
    },
  );
  return { ahead, log, timers };
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

test('what was started ahead is what the migration gets, once, and is nobody else’s to end', async () => {
  const { ahead, log, timers } = world();
  ahead.keep(2);
  expect(log).toEqual(['make 2']);
  expect((await ahead.take(3)).channels).toBe(2);
  expect((await ahead.take(3)).channels).toBe(3);
  ahead.drop();
  for (const { ring } of timers) ring();
  await turn();
  expect(log).toEqual(['make 2', 'make 3', 'a timer that was cancelled']);
});

test('threads that nobody came for end after a while, which begins anew whenever parameters are set', async () => {
  const { ahead, log, timers } = world();
  ahead.keep(2);
  ahead.keep(2);
  expect(timers.map(({ ms }) => ms)).toEqual([KEPT_MS, KEPT_MS]);
  timers[0]!.ring();
  await turn();
  expect(log).toEqual(['make 2', 'a timer that was cancelled']);
  timers[1]!.ring();
  await turn();
  expect(log.slice(2)).toEqual(['end 2']);
});

test('another number of channels takes the place of the first', async () => {
  const { ahead, log } = world();
  ahead.keep(2);
  ahead.keep(4);
  await turn();
  expect(log).toEqual(['make 2', 'make 4', 'end 2']);
  expect((await ahead.take(4)).channels).toBe(4);
});

test('a VMM gets ready for a guest that may leave, and for no other', async () => {
  const ready = (log: readonly string[]): readonly string[] => log.filter((line) => line.startsWith('ready'));
  const here = await running();
  await here.controller.setParameters({ multifdChannels: 3 });
  expect(ready(here.log)).toEqual(['ready is booted', 'ready for 3']);
  await here.controller.destroy();
  expect(here.log).toContain('links closed');

  const awaiting = setUp('inmigrate');
  await awaiting.controller.migrateIncoming({ kind: 'tcp', host: 'h', port: 1 });
  await awaiting.controller.setParameters({ multifdChannels: 3 });
  expect(ready(awaiting.log)).toEqual([]);
  await awaiting.controller.destroy();

  const empty = setUp();
  await empty.controller.setParameters({ multifdChannels: 3 });
  expect(ready(empty.log)).toEqual([]);
});

test('the code that logs, which a guest that came has not been compiled with, is compiled once, and ahead', async () => {
  const image = parseImage(await imageOf('churn'), sha256);
  const compiled: Uint8Array[] = [];
  const compile = (code: Uint8Array): Promise<WebAssembly.Module> => {
    compiled.push(code);
    return WebAssembly.compile(new Uint8Array(code));
  };
  const code = new GuestCode(image, compile, true);
  const ram = { u8: new Uint8Array(0), deviceLog: new AtomicBitmap(32) };
  const core = { drivers: { vcpus: [], ram }, devices: [], guest: { code } } as unknown as MachineCore;
  outgoingRole(core).getReady();
  expect(compiled).toEqual([image.code.log]);
  expect((await code.variant('log')).variant).toBe('log');
  expect(compiled).toHaveLength(1);
});
