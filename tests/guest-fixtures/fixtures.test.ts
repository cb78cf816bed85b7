import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { EXIT_HALT } from '../../base/abi/code-variant.js';
import * as platform from '../../base/abi/platform.js';
import { abiConstants } from '../../guest-fixtures/toolchain/abi-constants.js';
import { buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { type Exit, type ExitAnswer, TestMachine } from './test-machine.js';

const fixture = (path: string): string =>
  readFileSync(fileURLToPath(new URL(`../../guest-fixtures/${path}`, import.meta.url)), 'utf8');

describe('the AssemblyScript constants', () => {
  it('in the tree are those of the declared layouts', () => {
    expect(fixture('kernel/generated/abi.ts')).toBe(abiConstants());
  });

  it('carry offsets, sizes and addresses as the host has them', () => {
    const text = abiConstants();
    expect(text).toContain('export const BOOT_PARAMS_MEMORY_MAP: u32 = 0x80;');
    expect(text).toContain('export const MEMORY_MAP_ENTRY_SIZE: u32 = 0xc;');
    expect(text).toContain(`export const LAPIC_BASE: u32 = 0x${platform.LAPIC_BASE.toString(16)};`);
  });
});

describe('the tiny guest', () => {
  const guest = buildGuest(fixture('tiny/tiny.wat'), { name: 'tiny' });

  /** Runs until `ticks` timer interrupts were taken; moves after every `moveEvery`th, if that is not 0. */
  function consoleAfter(ticks: number, moveEvery: number, damage?: (machine: TestMachine) => void): string {
    let output = '';
    let panics = 0;
    let taken = 0;
    let halts = 0;
    const exit = ({ reason, resumed }: Exit): ExitAnswer => {
      if (reason !== EXIT_HALT) return 0;
      if (!resumed) halts++;
      const last = taken === ticks;
      if (last || (!resumed && moveEvery > 0 && halts % moveEvery === 0)) return 'unwind';
      taken++;
      return platform.TIMER_VECTOR;
    };
    const mmioWrite = (address: number, _width: number, value: number): void => {
      if (address === platform.CONSOLE_BASE) output += String.fromCharCode(value);
      if (address === platform.POWER_BASE && value === 3) panics++;
    };
    let machine = new TestMachine(guest, { exit, mmioWrite }).load('run');
    machine.run();
    while (taken < ticks) {
      machine = machine.moved(taken % 2 === 0 ? 'log' : 'run');
      damage?.(machine);
      machine.run();
    }
    return panics === 0 ? output : `${output}panics: ${panics}`;
  }

  it('prints its line and one more every 25 ticks, whether it is moved or not', () => {
    const still = consoleAfter(110, 0);
    expect(still.split('\n').slice(0, 2)).toEqual([
      'tiny: up, one line every 25 ticks of 10 ms',
      expect.stringMatching(/^tiny: tick 25 checksum 0x[0-9a-f]{8} ok$/),
    ]);
    expect(still.match(/tick/g)).toHaveLength(4 + 1);
    expect(consoleAfter(110, 7)).toBe(still);
  });

  it('panics when a word of its ring was lost on the way (negative control)', () => {
    const lost = (machine: TestMachine): void => machine.view.setUint32(0x11000, 12345, true);
    expect(consoleAfter(110, 7, lost)).toMatch(/tiny: panic: .* at tick 25\n/);
  });
});
