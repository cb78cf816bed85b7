import { describe, expect, it } from 'vitest';
import { instant } from '../../base/units.js';
import { LatencyHistogram } from '../../devices/ethernet/histogram.js';
import { PcapngWriter } from '../../devices/ethernet/pcapng.js';
import { readPcapng } from './ethernet-pcapng-reader.js';

function written(fill: (writer: PcapngWriter) => void): Uint8Array {
  const pieces: Uint8Array[] = [];
  const writer = new PcapngWriter((bytes) => pieces.push(bytes.slice()), {
    seconds: 1_789_012_345,
    nanoseconds: 987_654_321,
  });
  fill(writer);
  writer.flush();
  return Buffer.concat(pieces);
}

describe('a capture', () => {
  it('is read back as it was written: interfaces, bytes and times to the nanosecond', () => {
    const packets = Array.from({ length: 700 }, (_, i) => new Uint8Array(14 + i * 2 + (i & 1)).fill(i));
    const capture = readPcapng(
      written((writer) => {
        const first = writer.addInterface('port0', 15872);
        const second = writer.addInterface('peer 10.0.0.1', 9000);
        packets.forEach((packet, i) => {
          writer.packet(i % 2 === 0 ? first : second, instant(i * 1_234_567_891), packet, 0, packet.length);
        });
      }),
    );
    expect(capture.interfaces).toEqual([
      { name: 'port0', linkType: 1, snapBytes: 15872, resolution: 9 },
      { name: 'peer 10.0.0.1', linkType: 1, snapBytes: 9000, resolution: 9 },
    ]);
    expect(capture.packets).toHaveLength(700);
    capture.packets.forEach((packet, i) => {
      expect(packet.interface).toBe(i % 2);
      expect(packet.timeNs).toBe(1_789_012_345_987_654_321n + BigInt(i) * 1_234_567_891n);
      expect(Buffer.from(packet.bytes).equals(packets[i]!)).toBe(true);
    });
  });

  it('has, byte for byte, the blocks that the specification shows', () => {
    const bytes = written((writer) => {
      writer.addInterface('p', 65535);
      writer.packet(0, instant(0), Uint8Array.of(9, 1, 2, 3, 4, 5), 1, 5);
    });
    const stamp = 1_789_012_345_987_654_321n;
    const hex = (value: bigint | number): string => {
      const word = Buffer.alloc(4);
      word.writeUInt32LE(Number(value));
      return word.toString('hex');
    };
    expect(Buffer.from(bytes).toString('hex')).toBe(
      [
        ['0a0d0d0a', hex(28), '4d3c2b1a', '0100', '0000', 'ffffffffffffffff', hex(28)],
        [
          '01000000',
          hex(40),
          '0100',
          '0000',
          'ffff0000',
          '0200',
          '0100',
          '70000000',
          '0900',
          '0100',
          '09000000',
        ],
        ['00000000', hex(40)],
        ['06000000', hex(40), hex(0), hex(stamp >> 32n), hex(stamp & 0xffff_ffffn), hex(5), hex(5)],
        ['0102030405000000', hex(40)],
      ]
        .flat()
        .join(''),
    );
  });

  it('is found out by the reader when it is damaged or cut off', () => {
    const bytes = written((writer) => {
      writer.packet(writer.addInterface('p', 65535), instant(0), new Uint8Array(64), 0, 64);
    });
    for (const cut of [bytes.subarray(0, bytes.length - 1), bytes.subarray(1)]) {
      expect(() => readPcapng(cut)).toThrow();
    }
    const wrong = bytes.slice();
    wrong[bytes.length - 1]! ^= 1;
    expect(() => readPcapng(wrong)).toThrow(/trailer/);
  });
});

describe('a histogram of times', () => {
  it('is off by at most 3.2 percent, from nanoseconds to hours', () => {
    for (let value = 1; value < 1e13; value = Math.ceil(value * 1.37)) {
      const histogram = new LatencyHistogram();
      histogram.add(value);
      histogram.add(value * 4);
      const median = histogram.percentile(0.5);
      expect(median).toBeGreaterThanOrEqual(value);
      expect(median).toBeLessThanOrEqual(value * 1.032);
    }
  });

  it('sums up a thousand times', () => {
    const histogram = new LatencyHistogram();
    expect(histogram.summary()).toBeUndefined();
    for (let us = 1; us <= 1000; us++) histogram.add(us * 1000);
    const { count, minNs, medianNs, p99Ns, maxNs } = histogram.summary()!;
    expect({ count, minNs, maxNs }).toEqual({ count: 1000, minNs: 1000, maxNs: 1e6 });
    expect(medianNs / 500e3).toBeCloseTo(1, 1);
    expect(p99Ns / 990e3).toBeCloseTo(1, 1);
    histogram.add(-5);
    expect(histogram.summary()!.minNs).toBe(0);
  });
});
