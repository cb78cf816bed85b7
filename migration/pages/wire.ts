/**
 * What a data channel needs of that which carries it: a stream of bytes in each direction, kept in order. Sockets, TLS and
 * the simulator's memory are wires; rounds, frames, hashes and barriers stand above, once.
 *
 * Bytes are read to where the user of the wire wants them, and written from where they lie. A read is aimed before it
 * is made: what a user answers to `target` may be filled until the next call of `filled`.
 */
export interface Wire {
  /** Who hears of what comes, and of the end. May be another from one call to the next. */
  user: WireUser;
  /** Who is at the other end, for people. */
  readonly peer: string;
  /** Bytes that were written so far. */
  readonly writtenBytes: number;
  /**
   * What `by` says first on `channel`, in place of the migration's bare `token`, and as long: on a wire that can tell its peer
   * from others, what only that peer can know.
   */
  proof(token: Uint8Array, by: 'source' | 'destination', channel: number): Uint8Array;
  /** Nothing goes over it any more: `gone` was called, or is about to be. */
  readonly dead: boolean;
  /**
   * Writes the first `count` of `pieces` in order, and calls `taken` when they may be used for something else; never
   * if the wire breaks before. Until then they may be read at any time.
   */
  write(pieces: readonly Uint8Array[], count: number, taken: () => void): void;
  /** Reads on, after `filled` returned false. */
  resume(): void;
  /** Says nothing more. What was written still goes out, and the peer's last bytes still come in. */
  end(): void;
  /** Drops what is under way, and both directions. `gone` follows. */
  destroy(): void;
}

export interface WireUser {
  /** A wire that connects has its peer. */
  opened?(): void;
  /** Memory for the next bytes; never empty. */
  target(): Uint8Array;
  /** So many bytes are there. False: read no more until `resume`. */
  filled(lengthBytes: number): boolean;
  /** The peer says nothing more; unless it was destroyed, the wire ends by itself now. */
  ended?(): void;
  /** The last that a user hears. `reason` tells why, unless both ends wanted it so. */
  gone(reason: string | undefined): void;
}

/** Opens the door of one channel at the source. */
export interface Listener {
  /** Resolves with the port. Rejects with `transfer/listen-failed`. */
  listen(): Promise<number>;
  /** Listens no more. Harmless when called twice. */
  close(): void;
}
