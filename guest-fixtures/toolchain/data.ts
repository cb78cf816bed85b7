/**
 * Lifts the active data segments out of a module. A shared memory's segments are written again by every instantiation,
 * which would undo what a guest did before it moved; as part of the image they are loaded once, at boot.
 */
import { GUEST_DATA_BASE } from '../../base/abi/image.js';
import type { ImageData } from '../../base/abi/image-parse.js';
import { RAM_BYTES_MAX } from '../../base/abi/platform.js';
import { guestErrors } from './errors.js';
import { parseForm, stringBytes, type TopLevel } from './wat.js';

/** Segments closer than this become one section: a table entry costs as much as the zeros between them. */
const MERGE_GAP_BYTES = 64;

interface Segment {
  readonly start: number;
  readonly bytes: Uint8Array;
}

/** Initial RAM content, ascending and disjoint; where segments overlap the later one wins, as in an instantiation. */
export function liftData(name: string, text: string, forms: readonly TopLevel[]): ImageData[] {
  const segments = forms
    .filter((top) => top.head === 'data')
    .map((top) => readSegment(name, text, top))
    .filter((segment) => segment.bytes.length > 0);
  const byStart = [...segments].sort((a, b) => a.start - b.start);

  const clusters: { start: number; end: number }[] = [];
  for (const { start, bytes } of byStart) {
    const last = clusters.at(-1);
    const end = start + bytes.length;
    if (last !== undefined && start <= last.end + MERGE_GAP_BYTES) last.end = Math.max(last.end, end);
    else clusters.push({ start, end });
  }
  return clusters.map(({ start, end }) => {
    const bytes = new Uint8Array(end - start);
    for (const segment of segments) {
      if (segment.start >= start && segment.start < end) bytes.set(segment.bytes, segment.start - start);
    }
    return { gpa: start, bytes };
  });
}

function readSegment(name: string, text: string, top: TopLevel): Segment {
  const form = parseForm(text, top);
  const refuse = (problem: string): Error => guestErrors.error('data', { name, problem });
  const offset = form.find((member) => Array.isArray(member) && member[0] !== 'memory');
  if (offset === undefined) throw refuse('a segment is passive, so nothing says where it belongs');
  if (offset[0] !== 'i32.const') throw refuse('the address of a segment is not a constant');
  const start = Number(offset[1]) >>> 0;
  const literals = form
    .slice(1)
    .filter((part): part is string => typeof part === 'string' && part.startsWith('"'));
  const bytes = Buffer.concat(literals.map(stringBytes));
  const range = `[0x${start.toString(16)}, 0x${(start + bytes.length).toString(16)})`;
  if (start < GUEST_DATA_BASE) throw refuse(`a segment at ${range} lies in the platform's first 64 KiB`);
  if (start + bytes.length > RAM_BYTES_MAX) throw refuse(`a segment at ${range} lies above all RAM`);
  return { start, bytes };
}
