import { beforeAll, describe, expect, it } from 'vitest';
import { GIB, MIB } from '../../base/units.js';
import { kernelBinary, sectionsOf } from './kernel-source.js';
import { DATA_END, MS, PlainMachine, type PlainMachineOptions, SECOND } from './plain-machine.js';

let binary: Uint8Array<ArrayBuffer>;
let kernel: WebAssembly.Module;
beforeAll(async () => {
  binary = await kernelBinary();
  kernel = new WebAssembly.Module(binary);
});

const SECTION_TYPE = 1;
const SECTION_GLOBAL = 6;
const SECTION_START = 8;

const boot = (options: PlainMachineOptions = {}, until = 100 * MS): PlainMachine => {
  const machine = new PlainMachine(kernel, options);
  machine.run(until);
  return machine;
};

describe('the kernel module', () => {
  it('keeps nothing in module variables, where only one vCPU would see it, and starts nothing by itself', () => {
    const sections = sectionsOf(binary);
    expect(sections).toContain(SECTION_TYPE);
    expect(sections).not.toContain(SECTION_GLOBAL);
    expect(sections).not.toContain(SECTION_START);
  });

  it('exports the entry points alone', () => {
    const exported = WebAssembly.Module.exports(kernel);
    expect(exported.map(({ name }) => name).sort()).toEqual(['irq_entry', 'secondary_start', 'start_kernel']);
  });

  it('imports the platform alone: no allocator, collector or abort of the compiler', () => {
    const imports = WebAssembly.Module.imports(kernel);
    expect(imports.filter(({ module }) => module !== 'ferry').map(({ name }) => name)).toEqual(['memory']);
    const names = new TextDecoder('latin1').decode(WebAssembly.Module.customSections(kernel, 'name')[0]!);
    expect(names).toContain('init/main/start_kernel');
    expect(names).not.toContain('~lib/rt');
  });
});

describe('boot', () => {
  it('prints every line with a timestamp of the virtual clock, the first one at once', () => {
    const { lines } = boot({}, 3.5 * SECOND);
    for (const line of lines) expect(line).toMatch(/^\[ {4}\d\.\d{6}\] \S/);
    expect(lines[0]).toMatch(/^\[ {4}0\.00000\d\] Ferry version/);
    const times = lines.map((line) => Number(line.slice(1, 13)));
    expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(times.at(-1)).toBeCloseTo(3, 3);
  });

  it('prints the memory map and the command line that it was given', () => {
    const machine = boot({ commandLine: 'workload=idle status_ms=50' });
    expect(machine.printed(/Command line/)).toEqual(['Command line: workload=idle status_ms=50']);
    expect(machine.printed(/e820/)).toEqual([
      'BIOS-e820: [mem 0x0000000000000000-0x000000000000ffff] reserved',
      'BIOS-e820: [mem 0x0000000000010000-0x0000000003feffff] usable',
      'BIOS-e820: [mem 0x0000000003ff0000-0x0000000003ffffff] reserved',
    ]);
    expect(machine.printed(/^Memory:/)).toHaveLength(1);
  });

  it('leaves RAM that nobody asked for untouched, however much there is', () => {
    const machine = boot({ ramBytes: 1 * GIB });
    const pages = machine.nonZeroPages();
    expect(pages.filter((page) => page >= DATA_END / 4096).length).toBeLessThan(40);
    expect(machine.printed(/^Run idle/)).toHaveLength(1);
  });

  it('boots with the largest RAM', () => {
    expect(boot({ ramBytes: 3584 * MIB }).printed(/^Memory: 36\d{5}K\/3670016K available/)).toHaveLength(1);
  });

  it('says nothing but errors and the workload under quiet', () => {
    const { lines } = boot({ commandLine: 'quiet status_ms=10' });
    expect(lines.length).toBeGreaterThan(5);
    for (const line of lines) expect(line).toMatch(/\] idle: up 0 s/);
  });

  it('waits for interrupts when there is nothing to do', () => {
    const machine = boot({}, 10.5 * SECOND);
    expect(machine.printed(/^idle:/)).toHaveLength(10);
    expect(machine.interrupts).toBe(10);
    expect(machine.halts).toBeLessThan(15);
  });

  it('names command line words that it does not know, and no others', () => {
    const machine = boot(
      { commandLine: 'workload=idle dirty_rat=5 quiet seed=3 pattern=random nonsense' },
      10 * MS,
    );
    expect(machine.lines).toEqual([]);
    const loud = boot({ commandLine: 'workload=idle dirty_rat=5 seed=3 nonsense pattern=random' }, 10 * MS);
    expect(loud.printed(/Unknown/)).toEqual([
      'Unknown kernel command line parameter "dirty_rat=5" is ignored',
      'Unknown kernel command line parameter "nonsense" is ignored',
    ]);
  });
});

describe('panic', () => {
  const cases: [string, PlainMachineOptions, RegExp][] = [
    ['an unknown workload', { commandLine: 'workload=sudoku' }, /No working workload found/],
    [
      'a malformed number',
      { commandLine: 'workload=stress dirty_rate=fast' },
      /Malformed kernel parameter: dirty_rate/,
    ],
    [
      'a number with trailing text',
      { commandLine: 'workload=stress dirty_rate=5MB' },
      /Malformed kernel parameter/,
    ],
    [
      'an unknown pattern',
      { commandLine: 'workload=stress pattern=zigzag' },
      /pattern= must be random or sequential/,
    ],
    ['a working set above RAM', { commandLine: 'workload=ledger working_set=1G' }, /Out of memory: ledger/],
    ['a stress set above RAM', { commandLine: 'workload=stress working_set=1G' }, /Out of memory: stress/],
    ['a working set too small', { commandLine: 'workload=ledger working_set=64K' }, /less than 32 pages/],
    ['a boot page of another version', { version: 9 }, /boot information page has version 9/],
  ];
  it.each(cases)('%s stops the machine with a reason', (_, options, reason) => {
    const machine = new PlainMachine(kernel, options);
    expect(machine.run(SECOND)).toBe('panic');
    const [panic] = machine.printed(/^Kernel panic - not syncing: /);
    expect(panic).toMatch(reason);
    expect(machine.lines.at(-1)).toMatch(/---\[ end Kernel panic - not syncing: .* \]---$/);
  });

  it('does not come without one of those', () => {
    expect(new PlainMachine(kernel, { commandLine: 'workload=idle' }).run(SECOND)).toBe('time');
  });
});

describe('the power button', () => {
  const press = (commandLine: string, pressed: boolean[] = []) => {
    const machine = new PlainMachine(kernel, { commandLine });
    machine.at(150 * MS, () => pressed.push(machine.pressPowerButton()));
    const end = machine.run(300 * MS);
    return { machine, end, pressed };
  };

  it.each(['workload=idle', 'workload=stress', 'workload=ledger'])(
    'turns a guest off that does something else (%s), which says so',
    (commandLine) => {
      const { machine, end, pressed } = press(commandLine);
      expect([end, pressed]).toEqual(['power-off', [true]]);
      expect(machine.now).toBeLessThan(200 * MS);
      expect(machine.printed(/Power Button|acpid|reboot/)).toEqual([
        'ACPI: button: Power Button [PWRF]',
        'acpid: power button pressed',
        'reboot: Power down',
      ]);
    },
  );

  it('is not heard of by a guest that is silent', () => {
    const { machine, end, pressed } = press('behaviour=silent');
    expect([end, pressed]).toEqual(['time', [true]]);
    expect(machine.printed(/acpid/)).toEqual([]);
  });
});
