/**
 * What the owner of a data plane and those who work its channels say to each other, whether these are threads of their own
 * or live on the owner's.
 */
import type { SerializedError } from '../../base/errors.js';
import { HashTable, type HashTableBuffers } from '../hash-table.js';
import type { PageRange, TransferCount } from '../ports.js';

/** What whoever works a channel is given at the start. */
export interface ChannelTask {
  readonly channel: number;
  readonly channels: number;
  /** 32 hex digits. */
  readonly token: string;
  readonly migratedPages: number;
  readonly hashSeed: number;
  /** Of as many pages as may travel, or of none without integrity. */
  readonly hashes: HashTableBuffers;
  readonly board: SharedArrayBuffer;
}

/** The table that the owner keeps, as those who work a channel have it. */
export const tableOf = ({ hashes, migratedPages }: ChannelTask): HashTable =>
  new HashTable(hashes.hashes.byteLength === 0 ? 0 : migratedPages, hashes);

export interface ConnectingTask extends ChannelTask {
  /** Pages that come before all others; the channel that brings the last of them says so. */
  readonly firstPages: PageRange;
  readonly host: string;
  readonly port: number;
}

export type SourceCommand =
  | { readonly type: 'round'; readonly round: number; readonly bitmap: SharedArrayBuffer }
  | { readonly type: 'close' };

type Failed = { readonly type: 'failed'; readonly error: SerializedError };

export type SourceReport =
  | { readonly type: 'listening'; readonly port: number }
  | { readonly type: 'connected' }
  | { readonly type: 'sent'; readonly round: number; readonly count: TransferCount }
  /** The recording has no room, or its disk fails; the channel goes on. */
  | { readonly type: 'recording-cut'; readonly reason: string }
  | Failed;

export type DestinationCommand =
  /** Every channel has delivered `round`: go on reading. */
  { readonly type: 'proceed'; readonly round: number } | { readonly type: 'close' };

export type DestinationReport =
  | { readonly type: 'connected' }
  /** All pages that come first are here. */
  | { readonly type: 'first-arrived' }
  | { readonly type: 'received'; readonly round: number; readonly count: TransferCount }
  /** The source closed this channel in good order. */
  | { readonly type: 'ended' }
  | Failed;

/** Those who work the channels of one data plane. */
export interface Crew<Command> {
  /** To all, or to the first so many. */
  send(command: Command, channels?: number): void;
  /** Sends `command`, their cue to end, and resolves when all have, or were made to. Never rejects. */
  close(command: Command): Promise<void>;
}

/** Starts a crew, one task a channel. What they say, and what becomes of them, is reported to `heard`. */
export type Hire<Task, Command, Report> = (
  tasks: readonly Task[],
  heard: (channel: number, report: Report) => void,
) => Crew<Command>;
