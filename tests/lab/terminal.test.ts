/** What `ferry migrate` looks like in a real terminal, of two widths: tmux has one, and shows what stands in it. */
import { execFile, execFileSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));
const folder = mkdtempSync(join(tmpdir(), 'ferry-terminal-'));
const env = { ...process.env, LC_ALL: 'C.UTF-8', TERM: 'screen-256color' };
delete (env as NodeJS.ProcessEnv).CI;

const hasTmux = ((): boolean => {
  try {
    execFileSync('tmux', ['-V'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
})();

/** One server for all terminals of this file; it ends with the last of them, or with the file. */
const tmux = (...args: string[]): Promise<{ stdout: string }> =>
  promisify(execFile)('tmux', ['-u', '-S', join(folder, 'tmux.sock'), '-f', '/dev/null', ...args], { env });

interface Seen {
  /** What is left there, line by line, however many rows each takes. */
  readonly lines: readonly string[];
  /** All that was written to it. */
  readonly raw: string;
}

/** Runs a command in a terminal of `columns`; resolves with what it wrote. */
async function inTerminal(columns: number, command: string): Promise<Seen> {
  const name = `w${columns}`;
  const raw = join(folder, name);
  const done = `tmux -S ${join(folder, 'tmux.sock')} wait-for -S ${name}`;
  // The command waits until all that it writes is written down, and the terminal until it has been looked at.
  const script = `read go; ${command}; ${done}; read seen`;
  await tmux('new-session', '-d', '-s', name, '-x', `${columns}`, '-y', '40', script);
  await tmux('pipe-pane', '-t', name, `cat > ${raw}`, ';', 'send-keys', '-t', name, 'Enter');
  await tmux('wait-for', name);
  const { stdout } = await tmux('capture-pane', '-p', '-J', '-S', '-', '-t', name);
  const lines = stdout.split('\n').map((line) => line.trimEnd());
  return { lines, raw: readFileSync(raw, 'utf8') };
}

/** The tables among the lines: from a rule of dashes to the last, with the head in them. */
function tables(lines: readonly string[]): string[][] {
  const found: string[][] = [];
  let open: string[] | undefined;
  for (const line of lines) {
    const isRule = /^[─\s]+$/.test(line) && line.includes('─');
    if (open === undefined && !isRule) continue;
    if (open === undefined) open = [line];
    else open.push(line);
    // Top, below the head, bottom.
    if (isRule && open.filter((one) => /^[─\s]+$/.test(one)).length === 3) {
      found.push(open);
      open = undefined;
    }
  }
  return found;
}

// CI has tmux; there its absence fails.
describe.skipIf(!hasTmux && process.env.CI === undefined)('ferry migrate in a terminal', () => {
  const seen = new Map<number, Seen>();
  beforeAll(async () => {
    expect(hasTmux, 'tmux is installed').toBe(true);
    // Slow enough for a bar in the first round, and for lines above it.
    const command =
      `${process.execPath} ${FERRY} migrate --memory 64MiB --settle 200ms --rate 500 --verify root ` +
      '--workload idle --max-bandwidth 8MiB/s --flow echo,to-guest';
    const widths = [80, 120];
    const all = await Promise.all(widths.map((columns) => inTerminal(columns, command)));
    for (const [i, one] of all.entries()) seen.set(widths[i]!, one);
  }, 120_000);
  afterAll(async () => {
    if (existsSync(join(folder, 'tmux.sock'))) await tmux('kill-server');
    rmSync(folder, { recursive: true });
  });

  it.each([80, 120])('of %i columns wraps no line of a table, and names what had no room', (columns) => {
    const { lines } = seen.get(columns)!;
    const drawn = tables(lines);
    const heads = ['phase', 'guest stands still', 'network'];
    const titles = drawn.map(([, head]) => heads.find((name) => head!.startsWith(name)));
    expect(titles, lines.join('\n')).toEqual(heads);
    expect(drawn.flat().filter((line) => line.length > columns)).toEqual([]);
    const shown = (title: string): string => drawn.find(([, head]) => head!.startsWith(title))![1]!;
    const network = shown('network');
    for (const head of ['received', 'lost', 'longest gap']) expect(network).toContain(head);
    for (const head of ['time', 'pages', 'by CPU', 'by device']) expect(shown('phase')).toContain(head);
    const told = lines.filter((line) => line.startsWith('not shown for want of room: ')).join(': ');
    const missing = told.split(/: |, /);
    for (const head of ['dupl.', 'reord.', 'corrupt', 'pending', 'median', '99 %']) {
      expect(network.includes(head) !== missing.includes(head), head).toBe(true);
    }
  });

  it.each([80, 120])('of %i columns shows whole what is printed above the bar', (columns) => {
    const { lines, raw } = seen.get(columns)!;
    expect(raw, 'the bar makes room for a line').toMatch(/\[2Kround \d+( \(guest paused\))?: /);
    const printed = lines.filter((line) => /^round \d+( \(guest paused\))?: /.test(line));
    const table = lines.findIndex((line) => line.startsWith('phase '));
    const rounds = lines.slice(table).filter((line) => /^round \d+ /.test(line));
    expect(printed).toHaveLength(rounds.length + 1);
    expect(printed.some((line) => line.length > 80)).toBe(true);
    for (const line of printed) expect(line).toMatch(/( pages|\/s)(, guest throttled by \d+ %)?$/);
    for (const line of lines.filter((one) => one.includes('│ ['))) {
      expect(line).toMatch(/^(source +|destination )│ \[ *\d+\.\d{6}\] +\S/);
      if (line.includes('idle: up')) expect(line).toMatch(/ interrupts\/s$/);
    }
    // Nothing is left of the bar.
    expect(lines.filter((line) => /^round \d+ .*%.* of /.test(line))).toEqual([]);
  });
});
