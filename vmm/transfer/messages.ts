/** What a page worker's thread is given beside its channel's task. */

import type { ChannelTask, ConnectingTask } from '../../migration/pages/crew.js';
import type { TlsBinding } from '../tls/session.js';

export interface SourceTask extends ChannelTask {
  readonly memory: WebAssembly.Memory;
  readonly tls: TlsBinding | undefined;
  readonly host: string;
  readonly helloTimeoutMs: number;
  /** File that gets a copy of every byte sent. */
  readonly recording: string | undefined;
}

export interface DestinationTask extends ConnectingTask {
  readonly memory: WebAssembly.Memory;
  readonly tls: TlsBinding | undefined;
  readonly connectTimeoutMs: number;
}
