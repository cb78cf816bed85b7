/** A bounded list of page runs in ascending order: what the body of a pages or zero frame says. */
import { invariant } from '../../base/errors.js';
import type { PageRange } from '../ports.js';
import { FRAME_RUNS_MAX, pageRun } from './layouts.js';

const FIRST_PAGE = pageRun.offset.firstPage;
const PAGE_COUNT = pageRun.offset.pageCount;

export class RunTable {
  readonly firstPage = new Uint32Array(FRAME_RUNS_MAX);
  readonly pageCount = new Uint32Array(FRAME_RUNS_MAX);
  length = 0;
  /** Pages of all runs together. */
  pages = 0;

  clear(): void {
    this.length = 0;
    this.pages = 0;
  }

  /** Adds pages above all that are there; pages next to the last run join it. */
  add(page: number, count = 1): void {
    const last = this.length - 1;
    this.pages += count;
    if (last >= 0 && this.firstPage[last]! + this.pageCount[last]! === page) {
      this.pageCount[last]! += count;
      return;
    }
    invariant(this.length < FRAME_RUNS_MAX, 'run table full');
    this.firstPage[this.length] = page;
    this.pageCount[this.length] = count;
    this.length++;
  }

  /** How many of the pages are of `range`. */
  pagesWithin({ firstPage, pageCount }: PageRange): number {
    const end = firstPage + pageCount;
    let pages = 0;
    for (let i = 0; i < this.length; i++) {
      const first = Math.max(firstPage, this.firstPage[i]!);
      pages += Math.max(0, Math.min(end, this.firstPage[i]! + this.pageCount[i]!) - first);
    }
    return pages;
  }

  get bodyBytes(): number {
    return this.length * pageRun.size;
  }

  write(view: DataView, at: number): void {
    for (let i = 0; i < this.length; i++) {
      view.setUint32(at + i * pageRun.size + FIRST_PAGE, this.firstPage[i]!, true);
      view.setUint32(at + i * pageRun.size + PAGE_COUNT, this.pageCount[i]!, true);
    }
  }

  /**
   * Takes the table a peer wrote, `bodyBytes` at `at`. Returns what is wrong with it, or undefined: every run must
   * hold pages, lie below `migratedPages`, and begin after the end of the one before it.
   */
  read(view: DataView, at: number, bodyBytes: number, migratedPages: number): string | undefined {
    invariant(bodyBytes <= FRAME_RUNS_MAX * pageRun.size, 'run table larger than its bound');
    this.clear();
    let next = 0;
    for (let i = 0; i * pageRun.size < bodyBytes; i++) {
      const first = view.getUint32(at + i * pageRun.size + FIRST_PAGE, true);
      const count = view.getUint32(at + i * pageRun.size + PAGE_COUNT, true);
      if (count === 0) return `run ${i} is empty`;
      if (first < next) return `run ${i} begins at page ${first}, below the end of the one before it`;
      // Both are below 2^32, so the sum is exact.
      if (first + count > migratedPages) {
        return `run ${i} reaches page ${first + count - 1}, and ${migratedPages} pages may travel`;
      }
      this.firstPage[i] = first;
      this.pageCount[i] = count;
      this.length++;
      this.pages += count;
      next = first + count;
    }
    return undefined;
  }
}
