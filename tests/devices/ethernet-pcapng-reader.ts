/** A pcapng reader of its own, written from the specification, to check the writer by. Little-endian files only. */
export interface Capture {
  readonly interfaces: { name: string; linkType: number; snapBytes: number; resolution: number }[];
  readonly packets: { interface: number; timeNs: bigint; bytes: Uint8Array }[];
}

/** Throws an Error for whatever is not as the specification has it. */
export function readPcapng(bytes: Uint8Array): Capture {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const capture: Capture = { interfaces: [], packets: [] };
  const check = (holds: boolean, what: string): void => {
    if (!holds) throw new Error(what);
  };
  let sections = 0;
  for (let at = 0; at < bytes.length; ) {
    check(at + 12 <= bytes.length, 'a block is cut off');
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    check(length % 4 === 0 && length >= 12 && at + length <= bytes.length, `block length ${length}`);
    check(view.getUint32(at + length - 4, true) === length, 'trailer');
    const body = at + 8;
    if (type === 0x0a0d0d0a) {
      check(view.getUint32(body, true) === 0x1a2b3c4d, 'byte order');
      check(view.getUint16(body + 4, true) === 1 && view.getUint16(body + 6, true) === 0, 'version');
      sections++;
    } else if (type === 1) {
      const found = {
        name: '',
        linkType: view.getUint16(body, true),
        snapBytes: view.getUint32(body + 4, true),
      };
      let resolution = 6;
      let option = body + 8;
      for (;;) {
        const code = view.getUint16(option, true);
        const size = view.getUint16(option + 2, true);
        if (code === 0) break;
        const value = bytes.subarray(option + 4, option + 4 + size);
        if (code === 2) found.name = new TextDecoder().decode(value);
        if (code === 9) resolution = value[0]!;
        option += 4 + ((size + 3) & ~3);
        check(option <= at + length - 8, 'options');
      }
      check(option + 4 === at + length - 4, 'end of options');
      capture.interfaces.push({ ...found, resolution });
    } else if (type === 6) {
      const captured = view.getUint32(body + 12, true);
      check(32 + ((captured + 3) & ~3) === length, 'packet length');
      const number = view.getUint32(body, true);
      check(number < capture.interfaces.length, 'interface');
      capture.packets.push({
        interface: number,
        timeNs: (BigInt(view.getUint32(body + 4, true)) << 32n) | BigInt(view.getUint32(body + 8, true)),
        bytes: bytes.slice(body + 20, body + 20 + captured),
      });
    } else {
      throw new Error(`block type ${type}`);
    }
    check(sections === 1, 'section header first');
    at += length;
  }
  return capture;
}
