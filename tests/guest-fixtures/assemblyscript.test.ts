import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compileAssemblyScript } from '../../guest-fixtures/toolchain/assemblyscript.js';
import { buildGuest } from '../../guest-fixtures/toolchain/build.js';
import { TestMachine } from './test-machine.js';

const GUEST = `
  const table: StaticArray<u32> = [3, 5, 8, 13];
  const buffer = memory.data(5000);
  let entered: u32 = 0;
  export function start_kernel(params: u32): void {
    let sum: u32 = 0;
    for (let i = 0; i < 4; i++) sum += unchecked(table[i]);
    memory.fill(buffer, 1, 5000);
    store<u32>(0x8000, sum);
    store<u32>(0x8004, <u32>buffer + 5000);
    entered++;
  }
  export function irq_entry(vector: u32): void {}
`;

describe('an AssemblyScript guest', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'ferry-as-'));
    writeFileSync(join(folder, 'guest.ts'), GUEST);
    writeFileSync(join(folder, 'asconfig.json'), '{ "options": { "initialMemory": 5000 } }');
    writeFileSync(join(folder, 'wrong.ts'), 'export function start_kernel(): void { let x: u32 = "1"; }');
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it('compiles to a guest whose data ends behind all that is static, whatever lies beside the sources', async () => {
    const guest = buildGuest(await compileAssemblyScript(folder, 'guest.ts'), { name: 'as' });
    const machine = new TestMachine(guest).load('log');
    machine.run();
    expect(machine.view.getUint32(0x8000, true)).toBe(3 + 5 + 8 + 13);
    const staticEnd = machine.view.getUint32(0x8004, true);
    expect(guest.dataEnd).toBeGreaterThanOrEqual(staticEnd);
    expect(guest.dataEnd).toBeLessThan(staticEnd + 65536);
    expect(guest.registers.map(({ name }) => name)).toEqual(['ferry_irq_enabled', 'guest/entered']);
    expect(machine.register('guest/entered').value).toBe(1);
  });

  it('that does not compile is refused with what the compiler says and where', async () => {
    const refused = compileAssemblyScript(folder, 'wrong.ts');
    await expect(refused).rejects.toMatchObject({ code: 'guest/compile' });
    await expect(refused).rejects.toThrow(/wrong\.ts[\s\S]*not assignable[\s\S]*wrong\.ts/);
    await expect(compileAssemblyScript(folder, 'missing.ts')).rejects.toMatchObject({
      code: 'guest/compile',
    });
  });
});
