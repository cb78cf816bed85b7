/**
 * Copies of a client's memory that were asked for by message before they are needed: pieces by address, none over another. A piece
 * is a view of one answer, or of one that is still to come; what becomes stale is cut out of it.
 */
import { copyBytes } from '../../base/copy.js';

/** One request for memory, and what came of it. */
export interface Answer {
  readonly address: number;
  readonly length: number;
  /** Undefined until it is there. */
  bytes: Uint8Array | undefined;
  /** The client has none there, or lets nobody read it. */
  failed: boolean;
  /** Pieces that are views of it; with none left nobody wants it. */
  pieces: number;
}

interface Piece {
  readonly address: number;
  /** First address behind it. */
  readonly end: number;
  readonly answer: Answer;
}

/** What a range is: all there, partly still to come, or partly refused. */
export type Held = 'there' | 'awaited' | 'refused';

export class AskedMemory {
  readonly #pieces: Piece[] = [];
  #bytes = 0;

  /** Of all answers, those to come among them, that a piece is left of. */
  get bytes(): number {
    return this.#bytes;
  }

  get count(): number {
    return this.#pieces.length;
  }

  /** Writes to `gap` the first part of `[from, to)` that was not asked for; false if there is none. */
  findGap(from: number, to: number, gap: { address: number; end: number }): boolean {
    let at = from;
    for (let i = this.#placeOf(from); at < to; i++) {
      const piece = this.#pieces[i];
      if (piece === undefined || piece.address > at) {
        gap.address = at;
        gap.end = piece === undefined ? to : Math.min(to, piece.address);
        return true;
      }
      at = piece.end;
    }
    return false;
  }

  /** Notes that a range, which must be a gap, was asked for. */
  add(address: number, length: number): Answer {
    const answer: Answer = { address, length, bytes: undefined, failed: false, pieces: 0 };
    this.#insert(this.#placeOf(address), { address, end: address + length, answer });
    this.#bytes += length;
    return answer;
  }

  /** What became of a range without gaps. */
  held(from: number, to: number): Held {
    let held: Held = 'there';
    let at = from;
    for (let i = this.#placeOf(from); at < to; i++) {
      const piece = this.#pieces[i];
      if (piece === undefined || piece.address > at) return 'awaited';
      if (piece.answer.failed) held = 'refused';
      else if (piece.answer.bytes === undefined) return 'awaited';
      at = piece.end;
    }
    return held;
  }

  /** Copies a range that is there. False if a part of it is not. */
  read(from: number, length: number, target: Uint8Array, at: number): boolean {
    const to = from + length;
    if (this.held(from, to) !== 'there') return false;
    let next = from;
    for (let i = this.#placeOf(from); next < to; i++) {
      const { end, answer } = this.#pieces[i]!;
      const part = Math.min(to, end);
      copyBytes(target, at + next - from, answer.bytes!, next - answer.address, part - next);
      next = part;
    }
    return true;
  }

  /** Forgets a range: what is asked for there again is asked anew. */
  drop(from: number, to: number): void {
    let i = this.#placeOf(from);
    for (let piece = this.#pieces[i]; piece !== undefined && piece.address < to; piece = this.#pieces[i]) {
      const { address, end, answer } = piece;
      this.#remove(i);
      if (address < from) this.#insert(i++, { address, end: from, answer });
      if (end > to) this.#insert(i++, { address: to, end, answer });
      if (answer.pieces === 0) this.#bytes -= answer.length;
    }
  }

  clear(): void {
    for (const { answer } of this.#pieces.splice(0)) answer.pieces = 0;
    this.#bytes = 0;
  }

  #insert(at: number, piece: Piece): void {
    piece.answer.pieces++;
    this.#pieces.splice(at, 0, piece);
  }

  #remove(at: number): void {
    this.#pieces[at]!.answer.pieces--;
    this.#pieces.splice(at, 1);
  }

  /** Index of the first piece that ends behind `address`. */
  #placeOf(address: number): number {
    let low = 0;
    let high = this.#pieces.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (this.#pieces[middle]!.end <= address) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
