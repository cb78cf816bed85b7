/** What a page worker's thread is given beside its channel's task. */
import type { ChannelTask, ConnectingTask } from '../../migration/pages/crew.js';

export interface SourceTask extends ChannelTask {
  readonly memory: WebAssembly.Memory;
  readonly host: string;
  readonly helloTimeoutMs: number;
  /** File that gets a copy of every byte sent. */
  readonly recording: string | undefined;
}

export interface DestinationTask extends ConnectingTask {
  readonly memory: WebAssembly.Memory;
  readonly connectTimeoutMs: number;
}
