/** The source's half of the data plane on sockets: page workers that listen, one port each, and send from guest RAM. */
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { invariant } from '../../base/errors.js';
import type { SourceReport } from '../../migration/pages/crew.js';
import { TOKEN_BYTES } from '../../migration/pages/layouts.js';
import { SourcePlane } from '../../migration/pages/source-plane.js';
import { compiledOf } from '../built.js';
import { realTime } from '../threads/real-time.js';
import type { TlsBinding } from '../tls/session.js';
import { PageThreads, ThreadCrew } from './crew.js';
import { memoryPages } from './kernels.js';
import type { SourceTask } from './messages.js';

export interface SocketSourceSetup {
  /** Guest RAM: shared memory. */
  readonly memory: WebAssembly.Memory;
  /** Address of this host to listen at, reachable from the destination. */
  readonly host: string;
  /** Of the control link; undefined without TLS. */
  readonly tls?: TlsBinding | undefined;
  /** Folder that gets a copy of every byte of channel N as `data-N.bin`; pages are then copied once more. */
  readonly recordTo?: string;
  /** Hears why the copy of a channel ends early: of `file`, once. */
  readonly recordingCut?: (file: string, reason: string) => void;
  /** How long whoever connects may take to say who he is. */
  readonly helloTimeoutMs?: number;
  /** Made before; by the plane itself if absent. */
  readonly threads?: PageThreads;
}

/** Threads for so many channels, which may start before a guest is to leave. */
export const sourceThreads = (channels: number): PageThreads =>
  new PageThreads(compiledOf(new URL('./source-worker.js', import.meta.url)), channels);

export class SocketSourceDataPlane extends SourcePlane {
  constructor(setup: SocketSourceSetup) {
    const { memory, host, tls, recordTo, recordingCut, helloTimeoutMs = 5000, threads } = setup;
    const recordingOf = (channel: number): string | undefined =>
      recordTo && join(recordTo, `data-${channel}.bin`);
    super({
      host,
      scheduler: realTime,
      newToken: () => randomBytes(TOKEN_BYTES).toString('hex'),
      recordingCut: (channel, reason) => recordingCut?.(recordingOf(channel) ?? '', reason),
      hire: (tasks, heard) => {
        invariant(
          tasks.every(({ migratedPages }) => migratedPages <= memoryPages(memory)),
          'more pages than RAM has',
        );
        const more = (channel: number) => ({
          memory,
          host,
          tls,
          helloTimeoutMs,
          recording: recordingOf(channel),
        });
        return new ThreadCrew<SourceTask, SourceReport>({
          side: 'source',
          threads: threads ?? sourceThreads(tasks.length),
          tasks: tasks.map((task) => ({ ...task, ...more(task.channel) })),
          heard,
        });
      },
    });
  }
}
