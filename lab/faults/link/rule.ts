/** What a fault proxy does to a migration that passes it, and where: rules, each of which strikes once. */
import type { FrameKind } from '../../../migration/frame.js';

export type Side = 'source' | 'destination';

/** Where a rule strikes. All counts begin at 1, bytes at 0. */
export type Place =
  /** At a control message, before or after it has passed; the first of its kind, or the nth. */
  | { readonly message: FrameKind; readonly edge?: 'before' | 'after'; readonly nth?: number }
  /** At a byte of one direction of the control connection, or of the first data channel that comes so far. */
  | { readonly byte: number; readonly on: 'control' | 'data'; readonly towards?: Side }
  /** When so many bytes have passed to the destination over all data channels together. */
  | { readonly dataBytes: number }
  /** At the first byte of the first of these pages whose bytes travel in round 1. */
  | { readonly pages: { readonly from: number; readonly to: number } };

/** All connections of the migration, the one that the place lies in, or only its direction there. */
export type Scope = 'link' | 'connection' | 'direction';

export type LinkFault =
  /** From here on everything arrives so much later, in order; each piece by a random part of `jitterMs` more. */
  | { readonly kind: 'delay'; readonly ms: number; readonly jitterMs?: number; readonly scope?: Scope }
  /** From here on so many bytes pass in a second, in each direction. */
  | { readonly kind: 'limit'; readonly bytesPerSecond: number; readonly scope?: Scope }
  /** Nothing passes, and nobody is read from, for so long, or for good. */
  | { readonly kind: 'stall'; readonly ms?: number; readonly scope?: Scope }
  /** Connections are closed, both ways. */
  | { readonly kind: 'cut'; readonly scope?: Scope }
  /** This side is gone without a word: its connections are reset, and the other side's stay open, and silent. */
  | { readonly kind: 'half-open'; readonly lost: Side; readonly scope?: Scope }
  /** This direction ends here in good order, as if all had been said; the other one stays. */
  | { readonly kind: 'truncate' }
  /** One bit of the byte here is another; of a message, of its last byte. */
  | { readonly kind: 'flip'; readonly bit?: number }
  /** The message never arrives, and all that follows does. */
  | { readonly kind: 'swallow' }
  /** The message arrives once more, or the last one of another kind that passed. */
  | { readonly kind: 'again'; readonly message?: FrameKind }
  /** These bytes arrive, which nobody sent. */
  | { readonly kind: 'insert'; readonly bytes: Uint8Array }
  /** Somebody else connects to where the destination listens, or the source for a data channel, says this, and stays. */
  | { readonly kind: 'stranger'; readonly door: 'control' | 'data'; readonly says: Uint8Array }
  /** Something happens elsewhere, while what comes here waits. */
  | { readonly kind: 'act'; readonly act: () => Promise<void> | void };

export interface LinkRule {
  readonly at: Place;
  readonly does: LinkFault;
}

/** Rules of one proxy, with which of them have struck. */
export class RuleBook {
  readonly #left: Set<LinkRule>;
  readonly #seen = new Map<FrameKind, number>();

  constructor(rules: readonly LinkRule[]) {
    this.#left = new Set(rules);
  }

  /** Rules that never struck: a run that ends with any of them has shown nothing. */
  get unstruck(): readonly LinkRule[] {
    return [...this.#left];
  }

  /** One more message of this kind is here. */
  count(kind: FrameKind): void {
    this.#seen.set(kind, (this.#seen.get(kind) ?? 0) + 1);
  }

  /** Takes the rules that strike at this edge of the message that was counted last. */
  atMessage(kind: FrameKind, edge: 'before' | 'after'): LinkRule[] {
    return this.#take(
      ({ at }) =>
        'message' in at &&
        at.message === kind &&
        (at.edge ?? 'before') === edge &&
        (at.nth ?? 1) === this.#seen.get(kind),
    );
  }

  /** Takes the rules that strike within `length` bytes from `from` on, by the byte. */
  atBytes(
    on: 'control' | 'data',
    towards: Side,
    from: number,
    length: number,
  ): { rule: LinkRule; byte: number }[] {
    const byteOf = ({ at }: LinkRule): number =>
      'byte' in at && at.on === on && (at.towards ?? 'destination') === towards ? at.byte : -1;
    return this.#take((rule) => byteOf(rule) >= from && byteOf(rule) < from + length)
      .map((rule) => ({ rule, byte: byteOf(rule) }))
      .sort((a, b) => a.byte - b.byte);
  }

  /** Takes the rules that strike when so many bytes have passed over all data channels. */
  atDataBytes(total: number): LinkRule[] {
    return this.#take(({ at }) => 'dataBytes' in at && at.dataBytes <= total);
  }

  /** Takes the rules that strike at these pages, by the first of the pages that they mean. */
  atPages(first: number, last: number): { rule: LinkRule; page: number }[] {
    const pageOf = ({ at }: LinkRule): number =>
      'pages' in at && at.pages.from <= last && at.pages.to >= first ? Math.max(first, at.pages.from) : -1;
    return this.#take((rule) => pageOf(rule) >= 0).map((rule) => ({ rule, page: pageOf(rule) }));
  }

  #take(strikes: (rule: LinkRule) => boolean): LinkRule[] {
    const taken = [...this.#left].filter(strikes);
    for (const rule of taken) this.#left.delete(rule);
    return taken;
  }
}
