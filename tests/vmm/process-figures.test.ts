import { describe, expect, it } from 'vitest';
import type { MigrationRecord } from '../../migration/record.js';
import { ConsoleLog } from '../../vmm/process/console-log.js';
import { migrationInfo } from '../../vmm/process/migration-info.js';

describe('migration figures', () => {
  it("have QEMU's names and units", () => {
    const record = {
      role: 'source',
      status: 'completed',
      migratedPages: 100,
      setupNs: 5e6,
      totalNs: 1.5e9,
      transferred: { pages: 130, zeroPages: 50, resentPages: 30, bytes: 330_000 },
      remainingPages: 2,
      dirtyPagesPerSecond: 12.4,
      bytesPerSecond: 1e6,
      throttlePercent: 0,
      harvests: { count: 3 },
      rounds: [
        { last: false, bytes: 300_000 },
        { last: true, bytes: 30_000 },
      ],
      devices: [],
      expected: { totalNs: 7.4e6 },
      blackout: { totalNs: 9.6e6 },
    } as unknown as MigrationRecord;
    expect(migrationInfo(record, { kind: 'tcp', host: 'h', port: 9 })).toEqual({
      status: 'completed',
      'total-time': 1500,
      'setup-time': 5,
      'expected-downtime': 7,
      downtime: 10,
      'socket-address': [{ type: 'inet', host: 'h', port: '9' }],
      ram: {
        transferred: 330_000,
        remaining: 8192,
        total: 409_600,
        duplicate: 50,
        normal: 80,
        'normal-bytes': 327_680,
        'dirty-pages-rate': 12,
        mbps: 8,
        'dirty-sync-count': 3,
        'postcopy-requests': 0,
        'page-size': 4096,
        'multifd-bytes': 330_000,
        'pages-per-second': 244,
        'precopy-bytes': 300_000,
        'downtime-bytes': 30_000,
        'postcopy-bytes': 0,
        'dirty-sync-missed-zero-copy': 0,
      },
    });
  });
});

describe('console log', () => {
  it('keeps the last lines and hands each on once, bounded in a flood', () => {
    let now = 0;
    const batches: { lines: readonly string[]; dropped: number }[] = [];
    const soon: (() => void)[] = [];
    const log = new ConsoleLog(
      (lines, dropped) => batches.push({ lines, dropped }),
      () => now,
      (flush) => soon.push(flush),
    );
    log.push('a');
    log.push('b');
    expect(soon).toHaveLength(1);
    soon[0]();
    log.flush();
    expect(batches).toEqual([{ lines: ['a', 'b'], dropped: 0 }]);
    now = 1000;
    for (let i = 0; i < 10_000; i++) log.push(`${i}`);
    log.flush();
    expect(batches[1].lines.length + batches[1].dropped).toBe(10_000);
    expect(batches[1].lines.length).toBeLessThan(1000);
    expect(log.tail(3)).toEqual(['9997', '9998', '9999']);
    expect(log.tail(1_000_000).length).toBeLessThan(2000);
    now = 2000;
    log.lost(5);
    log.push('later');
    log.flush();
    expect(batches[2]).toEqual({ lines: ['later'], dropped: 5 });
  });
});
