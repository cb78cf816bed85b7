/** What the compiler is told of a guest's code: whether it boots in it, goes on in it, or has just arrived with it. */
import { createHash } from 'node:crypto';
import { expect, it } from 'vitest';
import { parseImage } from '../../base/abi/image-parse.js';
import { type CodeUse, GuestCode } from '../../vmm/machine/guest-code.js';
import { imageOf } from './machine-guests.js';

const sha256 = (bytes: Uint8Array) => new Uint8Array(createHash('sha256').update(bytes).digest());

it.each([
  [false, ['boots', 'exchanged']],
  [true, ['arrived', 'exchanged']],
] as const)(
  'compiles the code of a guest that arrived (%s) for what it is to do in it, once',
  async (arrived, uses) => {
    const told: CodeUse[] = [];
    const compile = (code: Uint8Array, use: CodeUse): Promise<WebAssembly.Module> => {
      told.push(use);
      return WebAssembly.compile(new Uint8Array(code));
    };
    const code = new GuestCode(parseImage(await imageOf('churn'), sha256), compile, arrived);
    for (const variant of ['run', 'log', 'run', 'log'] as const) await code.variant(variant);
    expect(told).toEqual(uses);
  },
);
