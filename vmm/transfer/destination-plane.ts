/** The destination's half of the data plane on sockets: page workers that connect to the source and read into guest RAM. */
import { invariant } from '../../base/errors.js';
import type { DestinationReport } from '../../migration/pages/crew.js';
import { DestinationPlane } from '../../migration/pages/destination-plane.js';
import { compiledOf } from '../built.js';
import type { TlsBinding } from '../tls/session.js';
import { PageThreads, ThreadCrew } from './crew.js';
import { memoryPages } from './kernels.js';
import type { DestinationTask } from './messages.js';

export interface SocketDestinationSetup {
  /** Guest RAM, shared memory: asked for when the channels are to connect. There is none before a guest was accepted. */
  readonly memory: () => WebAssembly.Memory;
  /** Of the control link; undefined without TLS. */
  readonly tls?: TlsBinding | undefined;
  /** How long connecting, and the source's answer to the hello, may take. */
  readonly connectTimeoutMs?: number;
  /** Made before; by the plane itself if absent. */
  readonly threads?: PageThreads;
}

/** Threads for so many channels, which may start before a guest comes. */
export const destinationThreads = (channels: number): PageThreads =>
  new PageThreads(compiledOf(new URL('./destination-worker.js', import.meta.url)), channels);

export class SocketDestinationDataPlane extends DestinationPlane {
  constructor({ memory: memoryNow, tls, connectTimeoutMs = 5000, threads }: SocketDestinationSetup) {
    super((tasks, heard) => {
      const memory = memoryNow();
      invariant(
        tasks.every(({ migratedPages }) => migratedPages <= memoryPages(memory)),
        'more pages than RAM has',
      );
      return new ThreadCrew<DestinationTask, DestinationReport>({
        side: 'destination',
        threads: threads ?? destinationThreads(tasks.length),
        tasks: tasks.map((task) => ({ ...task, memory, tls, connectTimeoutMs })),
        heard,
      });
    });
  }
}
