/** Tells of the bytes that pass on a data channel which page they belong to, by the channel's own protocol. */
import { PAGE_BYTES } from '../../../base/units.js';
import { ChannelReceiver } from '../../../migration/pages/channel-receiver.js';
import { DiscardSink } from '../../../migration/pages/page-sink.js';

/** Pages of the largest machine: the proxy need not know the machine. */
const ANY_MACHINE_PAGES = 2 ** 20;

/** Bytes of pages that follow one another, within what passed. */
export interface PageRun {
  /** Where in the bytes that passed. */
  readonly at: number;
  readonly firstPage: number;
  readonly lastPage: number;
  readonly round: number;
}

export class PageFinder {
  readonly #sink = new AimedSink();
  readonly #receiver = new ChannelReceiver({
    channel: -1,
    token: undefined,
    migratedPages: ANY_MACHINE_PAGES,
    sink: this.#sink,
  });

  /** The pages in the next bytes of the channel; each begins at `at`, or began in bytes before these. */
  pass(chunk: Uint8Array): PageRun[] {
    const runs: PageRun[] = [];
    for (let at = 0; at < chunk.length; ) {
      const target = this.#receiver.target();
      const length = Math.min(target.length, chunk.length - at);
      const page = this.#sink.pageOf(target);
      if (page >= 0) {
        const lastPage = page + Math.floor((length - 1) / PAGE_BYTES);
        runs.push({ at, firstPage: page, lastPage, round: this.#receiver.round });
      }
      target.set(chunk.subarray(at, at + length));
      this.#receiver.filled(length);
      at += length;
    }
    return runs;
  }
}

/** Knows which page the bytes that arrive belong to. */
class AimedSink extends DiscardSink {
  #firstPage = 0;
  #view: Uint8Array = new Uint8Array(0);

  override view(firstPage: number, pageCount: number): Uint8Array {
    this.#firstPage = firstPage;
    this.#view = super.view(firstPage, pageCount);
    return this.#view;
  }

  /** The page that the first byte of `target` belongs to; -1 if it is no page's. */
  pageOf(target: Uint8Array): number {
    if (target.buffer !== this.#view.buffer || this.#view.length === 0) return -1;
    return this.#firstPage + Math.floor((target.byteOffset - this.#view.byteOffset) / PAGE_BYTES);
  }
}
