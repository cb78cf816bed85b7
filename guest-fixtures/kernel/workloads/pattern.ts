// What workloads write into pages: a content that follows from where the page lies and how often it was written.
import { mix64 } from '../lib/random';

/** From one word of a page to the next. */
export const WORD_STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/** First word of the page at `page` in its `generation`; each further word adds WORD_STEP. */
// @ts-ignore: decorator
@inline export function page_stamp(page: usize, generation: u32): u64 { return mix64((<u64>generation << 32) | <u64>page); }
