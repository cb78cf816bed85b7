/** What `ferry inspect` says of devices' records and data streams. */
import { describe, expect, it } from 'vitest';
import { StreamWriter } from '../../devices/vfio/stream.js';
import { describeDevice, deviceDataDescriber } from '../../lab/report/describe-device.js';
import { unconnectedRootPorts, unconnectedVf } from '../../lab/report/unconnected.js';

const CHUNKS_BEFORE_REGISTERS = 2;

function streamPieces(identity = unconnectedVf('vf0').identity): Uint8Array[] {
  const writer = new StreamWriter();
  return [
    writer.start(),
    writer.identity(identity),
    ...unconnectedVf('vf0')
      .save()
      .map((section) => writer.section(section)),
    writer.end(),
  ];
}

/** The lines of a whole stream, described in pieces of `size` bytes. */
function linesOf(stream: Uint8Array, size = stream.length): string[] {
  const describer = deviceDataDescriber();
  const lines: string[] = [];
  for (let at = 0; at < stream.length; at += size) {
    lines.push(...describer('vf0', stream.subarray(at, at + size), at + size >= stream.length));
  }
  return lines;
}

const whole = new Uint8Array(Buffer.concat(streamPieces()));

describe("a virtual function's data stream", () => {
  it('is told register by register, by the names of both views of the function', () => {
    const lines = linesOf(whole);
    expect(lines).toContain('assigned/config.VENDOR_ID = 0x8086');
    expect(lines).toContain('assigned/config.DEVICE_ID = 0x10ed');
    expect(lines).toContain('vf/config.VENDOR_ID = 0xffff');
    for (const name of [
      'vf/registers.RDH[0]',
      'vf/registers.TDT[1]',
      'vf/msix.ADDRESS[2]',
      'vf/driver.mac',
    ]) {
      expect(
        lines.filter((line) => line.startsWith(`${name} = `)),
        name,
      ).toHaveLength(1);
    }
    expect(lines.filter((line) => /damaged|missing|unknown/.test(line))).toEqual([]);
  });

  it('is told alike however it is cut, and streams of two devices do not mix', () => {
    for (const size of [1, 7, 1000]) expect(linesOf(whole, size)).toEqual(linesOf(whole));
    const describer = deviceDataDescriber();
    const half = whole.length >> 1;
    for (const device of ['vf0', 'vf1']) describer(device, whole.subarray(0, half), false);
    for (const device of ['vf0', 'vf1']) {
      expect(describer(device, whole.subarray(half), true)).toEqual(linesOf(whole));
    }
  });

  it('in which any one bit is wrong is called damaged, once', () => {
    for (let at = 0; at < whole.length; at += 97) {
      const damaged = whole.slice();
      damaged[at]! ^= 1 << (at & 7);
      const lines = linesOf(damaged, 50);
      expect(lines, `byte ${at}`).toHaveLength(1);
      expect(lines[0]).toMatch(/^damaged: /);
    }
  });

  it('that is what a start remembers is shown as it is, whatever is in it', () => {
    const text = (words: string): Uint8Array =>
      Uint8Array.from(words, (character) => character.charCodeAt(0));
    expect(linesOf(text('{"addresses": []}'))).toEqual(['remembered: {"addresses": []}']);
    expect(linesOf(text('{\u001b[2J\xff'))).toEqual(['remembered: {?[2J?']);
  });

  it('that is cut off, or of another kind of device, is called so', () => {
    const describer = deviceDataDescriber();
    const [cut] = describer('vf0', whole.subarray(0, -1), true);
    expect(cut).toMatch(/^damaged: /);
    const other = streamPieces({ ...unconnectedVf('vf0').identity, deviceId: 0x1515 });
    expect(linesOf(new Uint8Array(Buffer.concat(other)))[0]).toMatch(/deviceId is 0x1515 there/);
    const pieces = streamPieces();
    pieces.splice(CHUNKS_BEFORE_REGISTERS, 1);
    expect(linesOf(new Uint8Array(Buffer.concat(pieces)))[0]).toMatch(/^damaged: /);
  });
});

describe("a device's record", () => {
  it('of the root port is told by its registers', () => {
    const lines = describeDevice(unconnectedRootPorts[0]!.save())!;
    expect(lines).toContainEqual(['config.DEVICE_ID', '0x3420']);
    expect(lines.some(([name]) => name === 'config.pcie.SLOT_STATUS')).toBe(true);
  });

  it('that is damaged is told as far as it goes, and one of another version not at all', () => {
    const record = unconnectedRootPorts[0]!.save();
    const cut = { ...record, state: record.state.subarray(0, 40) };
    expect(describeDevice(cut)!.some(([, value]) => /cut off|missing/.test(value))).toBe(true);
    expect(describeDevice({ ...record, version: record.version + 1 })).toBeUndefined();
    expect(describeDevice({ ...record, name: 'nobody' })).toBeUndefined();
  });
});
