/**
 * What was recorded of a migration, in the shape of QEMU's MigrationInfo (qapi/migration.json). QEMU counts in whole
 * milliseconds; the record itself, by `x-ferry-query-record`, has nanoseconds.
 */
import { PAGE_BYTES } from '../../base/units.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { qmpStatus } from '../../migration/states.js';
import type { MigrationInfo, MigrationRamInfo, QmpSocketAddress } from '../monitor/control.js';
import type { MigrationStatus } from '../monitor/protocol.js';
import type { SocketAddress } from '../sockets/address.js';

const wholeMs = (ns: number): number => Math.round(ns / 1e6);

function ramInfo(record: MigrationRecord): MigrationRamInfo {
  const { pages, zeroPages, bytes } = record.transferred;
  const downtimeBytes = record.rounds.reduce((sum, round) => sum + (round.last ? round.bytes : 0), 0);
  return {
    transferred: bytes,
    remaining: record.remainingPages * PAGE_BYTES,
    total: record.migratedPages * PAGE_BYTES,
    duplicate: zeroPages,
    normal: pages - zeroPages,
    'normal-bytes': (pages - zeroPages) * PAGE_BYTES,
    'dirty-pages-rate': Math.round(record.dirtyPagesPerSecond),
    mbps: (record.bytesPerSecond * 8) / 1e6,
    'dirty-sync-count': record.harvests.count,
    'postcopy-requests': 0,
    'page-size': PAGE_BYTES,
    'multifd-bytes': bytes,
    'pages-per-second': Math.round(record.bytesPerSecond / PAGE_BYTES),
    'precopy-bytes': bytes - downtimeBytes,
    'downtime-bytes': downtimeBytes,
    'postcopy-bytes': 0,
    'dirty-sync-missed-zero-copy': 0,
  };
}

/** The answer of `query-migrate`. `listening` is where this VMM waits for a guest, if it does. */
export function migrationInfo(
  record: MigrationRecord | DestinationRecord | undefined,
  listening: SocketAddress | undefined,
): MigrationInfo {
  const socket = listening === undefined ? {} : { 'socket-address': [qmpSocketAddress(listening)] };
  if (record === undefined) return socket;
  const status = qmpStatus(record.status) as MigrationStatus;
  const error = record.error === undefined ? {} : { 'error-desc': record.error.message };
  const approaches = record.approaches === undefined ? {} : { 'x-ferry-approaches': record.approaches };
  if (record.role === 'destination') {
    return { status, 'total-time': wholeMs(record.totalNs), ...error, ...approaches, ...socket };
  }
  const transferred = record.devices.reduce((sum, one) => sum + one.preCopyBytes + one.blackoutBytes, 0);
  return {
    status,
    'total-time': wholeMs(record.totalNs),
    'setup-time': wholeMs(record.setupNs),
    // Also at the end, beside what it came to.
    ...(record.expected === undefined ? {} : { 'expected-downtime': wholeMs(record.expected.totalNs) }),
    ...(status === 'completed' && record.blackout !== undefined
      ? { downtime: wholeMs(record.blackout.totalNs) }
      : {}),
    ...(record.throttlePercent > 0 ? { 'cpu-throttle-percentage': record.throttlePercent } : {}),
    ...error,
    ram: ramInfo(record),
    ...(record.devices.length === 0 ? {} : { vfio: { transferred } }),
    ...approaches,
    'x-ferry-dirtied': record.dirtied,
    ...socket,
  };
}

function qmpSocketAddress(address: SocketAddress): QmpSocketAddress {
  return address.kind === 'unix'
    ? { type: 'unix', path: address.path }
    : { type: 'inet', host: address.host, port: String(address.port) };
}
