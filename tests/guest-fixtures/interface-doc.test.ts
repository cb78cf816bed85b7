/** docs/guest-interface.md is all that it takes to write a guest: what it says is what is declared, and its guests run. */
import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, describe, expect, it } from 'vitest';
import {
  BOOT_PARAMS_GPA,
  BOOT_PARAMS_MAGIC,
  BOOT_PARAMS_VERSION,
  bootParams,
  COMMAND_LINE_BYTES_MAX,
  COMMAND_LINE_GPA,
  MEMORY_MAP_ENTRIES_MAX,
} from '../../base/abi/boot-params.js';
import {
  BAR_WINDOW_BASE,
  FIRST_EXTERNAL_VECTOR,
  LAPIC_ICR_HIGH,
  LAPIC_ICR_LOW,
  MMIO_BASE,
  RESCHEDULE_VECTOR,
  TIMER_VECTOR,
  VCPUS_MAX,
} from '../../base/abi/platform.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { consoleRegisters, WRITE_BYTES_MAX } from '../../devices/console/registers.js';
import { LINE_BYTES_MAX } from '../../devices/console/state.js';
import { POWER_OFF, POWER_PANIC, POWER_RESET, powerRegisters } from '../../devices/power/registers.js';
import { SERIAL_FIFO_BYTES, SERIAL_PORTS, serialRegisters } from '../../devices/serial/registers.js';
import { guestErrors } from '../../guest-fixtures/toolchain/errors.js';

const page = readFileSync(new URL('../../docs/guest-interface.md', import.meta.url), 'utf8');
const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ferry-doc-'));
afterAll(() => rmSync(folder, { recursive: true }));

const section = (heading: string): string =>
  page.split(/^## /m).find((part) => part.startsWith(`${heading}\n`)) ?? '';

/** Cells of the table below a heading, code marks and header left out. */
const rows = (heading: string): string[][] =>
  section(heading)
    .split('\n')
    .filter((line) => line.startsWith('| ') && !/^\| (name|address|offset|vector) \|/.test(line))
    .map((line) => line.slice(2, -2).replaceAll('`', '').split(' | '));

const hex = (value: number): string => `0x${value.toString(16).padStart(2, '0')}`;

describe('the page about the guest interface', () => {
  it('has every field of the boot parameters where it is', () => {
    const said = rows('Boot parameters').map(([offset, , name]) => [name, Number(offset)]);
    expect(said).toEqual(Object.entries(bootParams.offset).sort(([, a], [, b]) => a - b));
    // Each field ends before the next begins.
    const sizes = rows('Boot parameters').slice(0, -1);
    sizes.forEach(([offset, bytes], i) => {
      expect(Number(offset) + Number(bytes)).toBeLessThanOrEqual(Number(rows('Boot parameters')[i + 1]![0]));
    });
  });

  it('has the registers of the console where they are', () => {
    const declared = Object.entries(consoleRegisters.reg).map(([name, { offset }]) => [hex(offset), name]);
    expect(rows('Console').map(([offset, , name]) => [offset, name])).toEqual(declared);
  });

  it('has the registers of the power device where they are', () => {
    const declared = Object.entries(powerRegisters.reg).map(([name, { offset }]) => [hex(offset), name]);
    expect(rows('Power').map(([offset, , name]) => [offset, name])).toEqual(declared);
  });

  it('has the registers of a serial port where they are, and the next port', () => {
    const { reg } = serialRegisters;
    const declared = Object.entries(reg).map(([name, { offset }]) => [hex(offset), name]);
    expect(rows('Serial ports').map(([offset, , name]) => [offset, name])).toEqual(declared);
    expect(section('Serial ports')).toContain(`of port n at n × ${hex(reg.CONTROL.stride)}`);
    expect(section('Serial ports')).toContain(`Up to ${SERIAL_FIFO_BYTES} bytes wait`);
    const words = section('Serial ports').replace(/[`\s]+/g, ' ');
    for (const [port, name] of SERIAL_PORTS.entries()) {
      expect(words).toMatch(new RegExp(`port ${port}(,| is) ${name}`, 'i'));
    }
  });

  it.each([
    ['Boot parameters', hex(BOOT_PARAMS_MAGIC)],
    ['Boot parameters', `| ${BOOT_PARAMS_VERSION} |`],
    ['Boot parameters', `1 to ${VCPUS_MAX} |`],
    ['Boot parameters', `at most ${MEMORY_MAP_ENTRIES_MAX} |`],
    ['Boot parameters', `at most ${COMMAND_LINE_BYTES_MAX} |`],
    ['Memory', `| ${hex(BOOT_PARAMS_GPA)} | the boot parameters |`],
    ['Memory', `| ${hex(COMMAND_LINE_GPA)} | the command line |`],
    ['Memory', `| ${hex(MMIO_BASE)} and up | devices;`],
    ['Interrupts and the timer', `| ${hex(FIRST_EXTERNAL_VECTOR)} to ${hex(TIMER_VECTOR - 1)} | devices`],
    ['Interrupts and the timer', `| ${hex(TIMER_VECTOR)} | the timer |`],
    ['Interrupts and the timer', `${hex(RESCHEDULE_VECTOR)} by custom`],
    ['Local APIC', `| ${hex(LAPIC_ICR_LOW)} | ICR_LOW |`],
    ['Local APIC', `| ${hex(LAPIC_ICR_HIGH)} | ICR_HIGH |`],
    ['Console', `after ${LINE_BYTES_MAX} bytes`],
    ['Console', `at most ${WRITE_BYTES_MAX} |`],
    ['Power', `${POWER_OFF} turns it off, ${POWER_RESET} resets it`],
    ['Power', `${POWER_PANIC} reports`],
    ['Devices', `addresses from ${hex(BAR_WINDOW_BASE)} on`],
    ['Building and running', `panics (status ${EXIT_STATUS.guest})`],
  ])('says in "%s" what is declared: %s', (heading, words) => {
    expect(section(heading)).toContain(words);
  });

  it('is where the toolchain sends people, and its sections are there', () => {
    const facts = { name: 'x', problem: 'p', function: 'f', instruction: 'i', file: 'f' };
    const codes = ['interface', 'instruction', 'module', 'data'] as const;
    for (const code of codes) {
      const { advice } = guestErrors.error(code, facts);
      const [, heading] = /docs\/guest-interface\.md, "([^"]+)"/.exec(advice) ?? [];
      expect(section(heading ?? '(none)'), advice).not.toBe('');
    }
  });
});

/** Runs a command of `ferry`; its status and what it printed. */
const ferry = (...words: string[]): Promise<{ status: number; out: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [FERRY, ...words], { timeout: 120_000 }, (error, stdout, stderr) => {
      const status = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
      resolve({ status, out: stdout + stderr });
    });
  });

/** Builds the guest `text` and runs it to its end. */
async function buildAndRun(
  name: string,
  text: string,
  ...words: string[]
): Promise<{ status: number; out: string }> {
  const image = join(folder, `${name}.img`);
  if (!existsSync(image)) {
    const source = join(folder, `${name}.wat`);
    writeFileSync(source, text);
    const built = await ferry('guest', 'build', source, '--output', image);
    expect(built.status, built.out).toBe(0);
  }
  return ferry('vmm', '--guest', image, '--memory', '64MiB', ...words);
}

const COURIER = readFileSync(new URL('./fixtures/courier.wat', import.meta.url), 'utf8');

describe('a guest made from the page alone', { timeout: 180_000 }, () => {
  it('that stands on it prints after a second, and turns the power off', async () => {
    const [, text = ''] = /```wat\n([\s\S]*?)```/.exec(page) ?? [];
    const { status, out } = await buildAndRun('greet', text);
    expect(out).toContain('hello from a guest\n');
    expect(status).toBe(0);
  });

  it('finds its boot parameters, starts a vCPU, takes its message and the ticks of its timer', async () => {
    const { status, out } = await buildAndRun('courier', COURIER, '--vcpus', '2', '--append', 'by hand');
    expect(out).toContain('courier: command line: by hand\n');
    expect(out).toContain('courier: cpu 1 is here\n');
    expect(out).toContain('courier: 1 message, 3 ticks\n');
    expect(status).toBe(0);
  });

  it('panics on a machine that is not as it expects, and the VMM says so by its status', async () => {
    const { status, out } = await buildAndRun('courier', COURIER, '--vcpus', '1');
    expect(out).not.toContain('courier:');
    expect(status).toBe(EXIT_STATUS.guest);
  });
});
