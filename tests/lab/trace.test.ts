/** Traces: what Perfetto is given is well-formed, whole, and says what the record says. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { migrate } from '../../dist/lab/index.js';
import { lanes, type Trace, type TraceEvent, traceOf } from '../../lab/move/trace.js';

const folder = mkdtempSync(join(tmpdir(), 'ferry-trace-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const slice = (fromNs: number, toNs: number) => ({ name: `${fromNs} to ${toNs}`, fromNs, toNs });

describe('lanes', () => {
  it('hold slices that are apart or within one another, and put what overlaps into another', () => {
    const [a, b, c, d] = [slice(0, 10), slice(2, 5), slice(4, 12), slice(10, 20)];
    expect(lanes([d, c, b, a])).toEqual([[a, b, d], [c]]);
    expect(lanes([])).toEqual([[]]);
  });
});

/** Of each thread any two slices are apart or nested: viewers draw nothing else. */
function overlapping(events: readonly TraceEvent[]): string[] {
  const found: string[] = [];
  const slices = events.filter(({ ph }) => ph === 'X');
  for (const a of slices) {
    for (const b of slices) {
      if (a.pid !== b.pid || a.tid !== b.tid || a.ts >= b.ts) continue;
      const end = a.ts + a.dur!;
      const cut = b.ts < end - 1e-3 && b.ts + b.dur! > end + 1e-3;
      if (cut) found.push(`${a.name} and ${b.name}`);
    }
  }
  return found;
}

describe('ferry migrate --trace', () => {
  it('writes the threads of both VMMs and the network on one time axis', async () => {
    const path = join(folder, 'move.json');
    const { record, network, verdict } = await migrate({ traceTo: path, settleMs: 300, rate: 2000 });
    expect(verdict.outcome).toBe('verified');
    const { traceEvents } = JSON.parse(readFileSync(path, 'utf8')) as Trace;
    const tracks = traceEvents
      .filter(({ name }) => name === 'thread_name' || name === 'process_name')
      .map(({ pid, args }) => `${pid} ${args!.name}`);
    expect(tracks).toEqual(
      expect.arrayContaining([
        '1 source VMM',
        ...['1 guest', '1 migration', '1 vf0', '1 vcpu0', '1 channel0', '1 channel1'],
        '2 destination VMM',
        ...['2 migration', '2 vf0', '2 vcpu0', '2 channel0'],
        ...['3 phases', '3 echo'],
      ]),
    );
    const named = (pid: number, name: string): TraceEvent =>
      traceEvents.find((event) => event.pid === pid && event.name === name && event.ph !== 'M')!;
    const blackout = named(1, 'blackout');
    // The record leaves out the time that verification takes between *prepared* and *commit*.
    const at = (what: string) => record!.timeline.find((entry) => entry.what === what)!.at;
    const verifying = at('verified') - at('prepared');
    expect(blackout.dur! * 1000).toBeCloseTo(record!.blackout!.totalNs + verifying, -1);
    // One clock: the destination loads while the source's blackout lasts, and the network moves in the move.
    const load = named(2, 'load');
    expect(load.ts).toBeGreaterThan(blackout.ts);
    expect(load.ts + load.dur!).toBeLessThan(blackout.ts + blackout.dur!);
    // What took no time is on it as well, and a viewer shows all of it at once: from 0, in microseconds.
    const paused = named(1, 'paused');
    expect(paused.ph).toBe('i');
    expect(paused.ts).toBeGreaterThan(blackout.ts);
    expect(paused.ts).toBeLessThan(load.ts + load.dur!);
    const times = traceEvents.filter(({ ph }) => ph !== 'M').map(({ ts, dur = 0 }) => ts + dur);
    expect(Math.max(...times)).toBeLessThan(60e6);
    const gap = named(3, 'longest gap');
    const move = named(3, 'move');
    expect(gap.ts + gap.dur!).toBeGreaterThan(move.ts);
    const counted = traceEvents.filter(({ ph }) => ph === 'C');
    const packets = counted.reduce((sum, { args }) => sum + (args!.packets as number), 0);
    const echoed = network!.move.flows[0]!.arrived!.received;
    expect(Math.abs(packets - echoed)).toBeLessThan(20);
    expect(overlapping(traceEvents)).toEqual([]);
    expect(traceEvents.every(({ ts, dur = 0 }) => ts >= 0 && dur >= 0)).toBe(true);
    // Without its network, and without a destination that answers, a picture of the rest.
    expect(traceOf({ source: record }).traceEvents.every(({ pid }) => pid === 1)).toBe(true);
  });

  it('is found out when slices of one thread cross', () => {
    const event = (name: string, ts: number, dur: number): TraceEvent => ({
      name,
      ph: 'X',
      ts,
      dur,
      pid: 1,
      tid: 1,
    });
    expect(overlapping([event('a', 0, 5), event('b', 3, 5)])).toEqual(['a and b']);
  });

  it('refuses a file that can’t be written before anything is started', async () => {
    await expect(migrate({ traceTo: join(folder, 'no', 'move.json') })).rejects.toMatchObject({
      code: 'lab/file-failed',
    });
  });
});
