/**
 * Configuration space in the text format of `lspci -xxxx`, which `lspci -F FILE` reads (pciutils, lib/dump.c).
 */

import type { PciFunction } from './function.js';
import type { RootComplex } from './topology.js';

const BYTES_PER_LINE = 16;
const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/** Device number and function as `lspci` counts them, also under ARI: five bits and three. */
const address = (domain: number, bus: number, devfn: number): string =>
  `${domain === 0 ? '' : `${hex(domain, 4)}:`}${hex(bus, 2)}:${hex(devfn >>> 3, 2)}.${devfn & 7}`;

/** One function's 4096 bytes, as software reads them but without the side effects of reading. */
export function dumpBytes(bus: number, devfn: number, title: string, bytes: Uint8Array, domain = 0): string {
  const lines = [`${address(domain, bus, devfn)} ${title}`];
  for (let at = 0; at < bytes.length; at += BYTES_PER_LINE) {
    const row = [...bytes.subarray(at, at + BYTES_PER_LINE)].map((byte) => hex(byte, 2));
    lines.push(`${hex(at, at > 0xff ? 3 : 2)}: ${row.join(' ')}`);
  }
  return `${lines.join('\n')}\n\n`;
}

/** Configuration space as stored, little-endian. */
export function configBytes(fn: PciFunction): Uint8Array {
  const bytes = new Uint8Array(fn.config.words.length * 4);
  const view = new DataView(bytes.buffer);
  const { words } = fn.config;
  for (let i = 0; i < words.length; i++) view.setUint32(i * 4, words[i]!, true);
  return bytes;
}

/**
 * Every function of a root complex. Virtual functions read FFFF as vendor and device id, which `lspci` can't name:
 * `identify` may give the ids that an operating system derives for them.
 */
export function dumpTopology(
  complex: RootComplex,
  identify: (fn: PciFunction) => { vendorId: number; deviceId: number } | undefined = () => undefined,
  domain = 0,
): string {
  return complex
    .functions()
    .map(({ bus, devfn, fn }) => {
      const bytes = configBytes(fn);
      const ids = identify(fn);
      if (ids !== undefined) {
        const view = new DataView(bytes.buffer);
        view.setUint16(fn.layout.header.VENDOR_ID.offset, ids.vendorId, true);
        view.setUint16(fn.layout.header.DEVICE_ID.offset, ids.deviceId, true);
      }
      return dumpBytes(bus, devfn, fn.name, bytes, domain);
    })
    .join('');
}
