/**
 * Judges the shape of a MessagePack payload before it is decoded: one value, nothing after it, no extension types, no
 * container that claims more elements than there are bytes, bounded depth. A decoder given a payload of this shape
 * allocates no more than a small multiple of its length and never recurses deeply, whatever the peer wrote.
 *
 * Encoding: https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats".
 */

/** Containers within containers; the deepest message of the protocol has four levels. */
const DEPTH_MAX = 8;

/** What is wrong with the payload, or undefined if it is of the accepted shape. */
export function judgeShape(payload: Uint8Array): string | undefined {
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const end = payload.length;
  /** Values still to come at each open level. */
  const open: number[] = [1];
  let at = 0;
  while (open.length > 0) {
    if (open[open.length - 1] === 0) {
      open.pop();
      continue;
    }
    open[open.length - 1]!--;
    if (at >= end) return 'ends in the middle of a value';
    const tag = payload[at]!;
    const format = formatOf(tag);
    if (format === undefined) return `type byte 0x${tag.toString(16)} at ${at} is not used by this protocol`;
    if (at + 1 + format.lengthBytes > end) return 'ends in the middle of a value';
    const count = format.lengthBytes === 0 ? format.fixed : readUnsigned(view, at + 1, format.lengthBytes);
    at += 1 + format.lengthBytes;
    if (format.children === 0) {
      if (count > end - at) return `a value of ${count} bytes at ${at}, ${end - at} are left`;
      at += count;
      continue;
    }
    const children = count * format.children;
    if (children > end - at) return `a container of ${count} elements at ${at}, ${end - at} bytes are left`;
    if (open.length > DEPTH_MAX) return `more than ${DEPTH_MAX} containers within each other`;
    open.push(children);
  }
  return at === end ? undefined : `${end - at} bytes after the end`;
}

interface Format {
  /** Bytes of the length that follows the type byte. */
  readonly lengthBytes: 0 | 1 | 2 | 4;
  /** The length when none follows: data bytes, or elements of a container. */
  readonly fixed: number;
  /** Values per element: 0 for plain data, 1 for arrays, 2 for maps. */
  readonly children: 0 | 1 | 2;
}

const data = (fixed: number): Format => ({ lengthBytes: 0, fixed, children: 0 });
const sized = (lengthBytes: 1 | 2 | 4, children: 0 | 1 | 2): Format => ({ lengthBytes, fixed: 0, children });

function formatOf(tag: number): Format | undefined {
  if (tag <= 0x7f || tag >= 0xe0) return data(0); // fixint
  if (tag <= 0x8f) return { lengthBytes: 0, fixed: tag & 0x0f, children: 2 }; // fixmap
  if (tag <= 0x9f) return { lengthBytes: 0, fixed: tag & 0x0f, children: 1 }; // fixarray
  if (tag <= 0xbf) return data(tag & 0x1f); // fixstr
  return formats[tag];
}

/** Type bytes 0xc0 to 0xdf; those absent (0xc1 and the extension types) are refused. */
const formats: Readonly<Record<number, Format>> = {
  192: data(0), // nil
  194: data(0), // false
  195: data(0), // true
  196: sized(1, 0), // bin
  197: sized(2, 0),
  198: sized(4, 0),
  202: data(4), // float
  203: data(8),
  204: data(1), // unsigned
  205: data(2),
  206: data(4),
  207: data(8),
  208: data(1), // signed
  209: data(2),
  210: data(4),
  211: data(8),
  217: sized(1, 0), // str
  218: sized(2, 0),
  219: sized(4, 0),
  220: sized(2, 1), // array
  221: sized(4, 1),
  222: sized(2, 2), // map
  223: sized(4, 2),
};

function readUnsigned(view: DataView, at: number, width: 0 | 1 | 2 | 4): number {
  if (width === 1) return view.getUint8(at);
  return width === 2 ? view.getUint16(at) : view.getUint32(at);
}
