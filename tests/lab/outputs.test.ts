/** Files that the user asked for and that the disk does not take: told once, by name, and by the exit status. */
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  constants,
  mkdirSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { EXIT_STATUS } from '../../base/exit-status.js';
import { KERNEL_IMAGE } from '../../dist/lab/move/scenario.js';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import type { MigrateResult } from '../../lab/move/move.js';
import { exitStatusOf, resultText, shown } from '../../lab/move/result-text.js';
import { ConsoleOutput } from '../../vmm/process/console-output.js';
import { writeOutput } from '../../vmm/process/output-file.js';
import { startFerry } from '../processes.js';

/** Takes every open and refuses every byte. */
const FULL = '/dev/full';

let folder: string;
const cleanups: (() => unknown)[] = [];
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'ferry-outputs-'));
});
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  rmSync(folder, { recursive: true });
});

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly err: string;
}

/** `onError` sees what standard error holds so far. */
async function ferry(
  args: readonly string[],
  { stdout = 'pipe', onError }: { stdout?: number | 'pipe'; onError?: (err: string) => void } = {},
): Promise<Ended> {
  const started = startFerry(args, { stdio: ['ignore', stdout, 'pipe'] });
  started.child.stderr?.on('data', () => onError?.(started.stderr));
  const ended = await started.ended();
  return { status: ended.status, out: ended.stdout, err: ended.stderr };
}

const times = (text: string, pattern: RegExp): number => text.match(new RegExp(pattern, 'g'))?.length ?? 0;

describe('a full disk', () => {
  it('does not take the verdict from a move, which names each file that is cut and is no success', async () => {
    const recording = join(folder, 'recording');
    mkdirSync(recording);
    symlinkSync(FULL, join(recording, 'control.bin'));
    // What the network carries is only what tells of the guest's new place.
    const scenario = ['--memory', '64MiB', '--settle', '100ms', '--verify', 'root', '--flow', 'none'];
    const { status, out } = await ferry([
      'migrate',
      '--json',
      ...scenario,
      ...['--pcap', FULL, '--trace', FULL, '--record', recording],
    ]);
    const result = JSON.parse(out) as MigrateResult;
    expect(result.verdict.outcome).toBe('verified');
    const told = result.unwritten.map(({ message }) => message).sort();
    expect(told).toEqual([
      expect.stringMatching(
        /^the capture in \/dev\/full is cut: no space is left; [\d,]+ packets were left out$/,
      ),
      `the recording in ${join(recording, 'control.bin')} is cut: no space is left`,
      'the trace in /dev/full is cut: no space is left',
    ]);
    expect(status).toBe(EXIT_STATUS.environment);
    const words = resultText(shown(result));
    for (const line of told) expect(words).toMatch(`✘ ${line}`);
    expect(words).toMatch(/VERIFIED: .*, BUT NOT ALL WAS WRITTEN/);
    // A verdict that is no success keeps its own status.
    const failed: MigrateResult = { ...result, verdict: { ...result.verdict, outcome: 'failed' } };
    expect(exitStatusOf(failed)).toBe(EXIT_STATUS['not-verified']);
    expect(exitStatusOf({ ...result, unwritten: [] })).toBe(0);
  });

  it('is told by a fabric with its report', async () => {
    const args = ['fabric', '--listen', 'private', '--peer', 'ip=10.0.0.1', '--for', '10ms', '--pcap', FULL];
    const { status, out, err } = await ferry(args);
    expect(out).toMatch(/the capture ended early: no space is left/);
    expect(err).toMatch(/the capture in \/dev\/full is cut: no space is left \[lab\/output-cut\]/);
    expect(status).toBe(EXIT_STATUS.environment);
  });

  it('is told once of a console and of a dump, and by the status at the end; the guest goes on', async () => {
    const monitor = `unix:${join(folder, 'm.sock')}`;
    let client: QmpClient | undefined;
    const cut = /the guest's console in \/dev\/full is cut: no space is left/;
    const guest = ['--guest', KERNEL_IMAGE, '--append', 'workload=idle', '--memory', '64MiB', '--nic', 'vf'];
    const quitting = async (): Promise<void> => {
      client = await QmpClient.connect(monitor);
      // The guest says more, and goes on.
      const lines = client.waitFor('X_FERRY_CONSOLE');
      await lines;
      expect(await client.execute('query-status')).toMatchObject({ status: 'running' });
      await client.execute('quit');
      client.close();
    };
    let quit: Promise<void> | undefined;
    const { status, err } = await ferry(
      ['vmm', ...guest, '--monitor', monitor, '--console', `file:${FULL}`, '--pci-dump', FULL],
      {
        onError: (err) => {
          if (cut.test(err)) quit ??= quitting();
        },
      },
    );
    await quit;
    expect(times(err, cut)).toBe(1);
    expect(times(err, /can't write the configuration space to \/dev\/full: no space is left/)).toBe(1);
    expect(status).toBe(EXIT_STATUS.environment);
  });

  it('behind standard output is told once; the guest runs to its own end', async () => {
    const args = ['vmm', '--guest', KERNEL_IMAGE, '--append', 'workload=nope', '--memory', '64MiB'];
    const { status, err } = await ferry(args, { stdout: openSync(FULL, 'w') });
    expect(times(err, /the guest's console in standard output is cut: no space is left/)).toBe(1);
    expect(status).toBe(EXIT_STATUS.guest);
    expect(times(err, /the guest reported a panic/)).toBe(1);
  });
});

describe('a dump that goes to a named pipe', () => {
  it('is whole where somebody reads, however slowly, and given up in time where nobody does', async () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    await expect(writeOutput(path, 'x')).rejects.toMatchObject({ code: 'ENXIO' });
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    cleanups.push(() => closeSync(reader));
    const text = 'y'.repeat(200_000);
    await expect(writeOutput(path, text, 20)).rejects.toMatchObject({ code: 'EAGAIN' });
    const chunk = Buffer.alloc(1 << 16);
    while (readSync(reader, chunk) > 0);
    const written = writeOutput(path, text, 20_000);
    let whole = '';
    const reading = setInterval(() => {
      try {
        whole += chunk.toString('latin1', 0, readSync(reader, chunk));
      } catch {
        // empty for now
      }
    });
    cleanups.push(() => clearInterval(reading));
    await written;
    clearInterval(reading);
    // The pipe has an end now that its writer is done.
    for (let length = 1; length > 0; ) {
      length = readSync(reader, chunk);
      whole += chunk.toString('latin1', 0, length);
    }
    expect(whole === text).toBe(true);
  });
});

describe('a console that goes to a named pipe', () => {
  const opened = (path: string): ConsoleOutput => {
    const cut = (error: Error): void => {
      throw error;
    };
    const output = new ConsoleOutput({ where: { kind: 'file', path }, json: false, cut });
    cleanups.push(() => output.close());
    return output;
  };

  it('is refused without a reader, and does not wait for one that stalls: whole lines are left out, and counted', () => {
    const path = join(folder, 'pipe');
    execFileSync('mkfifo', [path]);
    expect(() => opened(path)).toThrow(/nobody reads the named pipe/);
    const reader = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    cleanups.push(() => closeSync(reader));
    const output = opened(path);
    const line = 'x'.repeat(999);
    for (let i = 0; i < 200; i++) output.write([line], 0);
    let text = '';
    const chunk = Buffer.alloc(1 << 16);
    const read = (): void => {
      for (;;) {
        try {
          const length = readSync(reader, chunk);
          if (length === 0) return;
          text += chunk.toString('latin1', 0, length);
        } catch {
          return; // empty for now
        }
      }
    };
    read();
    output.write(['the end'], 0);
    read();
    const lines = text.trimEnd().split('\n');
    const whole = lines.filter((one) => one === line).length;
    expect(whole).toBeGreaterThan(10);
    expect(lines.slice(whole)).toEqual([
      'the end',
      `[${200 - whole} console lines were lost: more than could be written]`,
    ]);
  });
});
