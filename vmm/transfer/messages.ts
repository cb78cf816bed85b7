/** What the owner of a data plane and its page workers say to each other: one worker a channel, one port each. */
import type { SerializedError } from '../../base/errors.js';
import type { TransferCount } from '../../migration/ports.js';

/** What every page worker is given at its start. */
export interface ChannelTask {
  readonly channel: number;
  readonly host: string;
  readonly token: string;
  readonly memory: WebAssembly.Memory;
  readonly migratedPages: number;
  readonly hashSeed: number;
  /** Two words a page; empty without integrity. */
  readonly hashes: SharedArrayBuffer;
  readonly board: SharedArrayBuffer;
  readonly channels: number;
}

export interface SourceTask extends ChannelTask {
  readonly helloTimeoutMs: number;
  /** File that gets a copy of every byte sent. */
  readonly recording: string | undefined;
}

export interface DestinationTask extends ChannelTask {
  readonly port: number;
  readonly connectTimeoutMs: number;
}

export type SourceCommand =
  | { readonly type: 'round'; readonly round: number; readonly bitmap: SharedArrayBuffer }
  | { readonly type: 'close' };

export type SourceReport =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'connected' }
  | { readonly type: 'sent'; readonly round: number; readonly count: TransferCount }
  /** The recording has no room, or its disk fails; the channel goes on. */
  | { readonly type: 'recording-cut'; readonly reason: string }
  | { readonly type: 'failed'; readonly error: SerializedError };

export type DestinationCommand =
  /** Every channel has delivered `round`: go on reading. */
  { readonly type: 'proceed'; readonly round: number } | { readonly type: 'close' };

export type DestinationReport =
  | { readonly type: 'connected' }
  | { readonly type: 'received'; readonly round: number; readonly count: TransferCount }
  /** The source closed this channel in good order. */
  | { readonly type: 'ended' }
  | { readonly type: 'failed'; readonly error: SerializedError };
