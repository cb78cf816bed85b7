import { describe, expect, it } from 'vitest';
import { instant } from '../../base/units.js';
import { allSamples, sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { ControlDescriber, controlRecorder } from '../../migration/control-recording.js';
import { encodeMessage } from '../../migration/messages.js';

function recordingOf(frames: readonly Uint8Array[]): Uint8Array {
  const parts: Uint8Array[] = [];
  const record = controlRecorder((bytes) => parts.push(bytes.slice()));
  for (const [i, frame] of frames.entries()) {
    record(i % 2 === 0 ? 'sent' : 'received', instant(5e6 + i * 1e6), frame);
  }
  return new Uint8Array(Buffer.concat(parts));
}

function linesOf(
  recording: Uint8Array,
  chunkBytes = recording.length,
  describer = new ControlDescriber(),
): string[] {
  const lines: string[] = [];
  for (let at = 0; at < recording.length; at += chunkBytes) {
    lines.push(...describer.push(recording.subarray(at, at + chunkBytes)));
  }
  return [...lines, ...describer.end()];
}

const whole = recordingOf(allSamples.map(encodeMessage));

describe('a recorded control link', () => {
  it('is explained message by message, in order, with time and direction', () => {
    const lines = linesOf(whole);
    let from = 0;
    for (const { kind } of allSamples) {
      const at = lines.findIndex((line, i) => i >= from && new RegExp(`(->|<-) ${kind}`).test(line));
      expect(at, kind).toBeGreaterThanOrEqual(from);
      from = at + 1;
    }
    expect(lines[0]).toMatch(/^ +24 +0\.000 ms -> hello: migration 0011/);
    const text = lines.join('\n');
    expect(text).toContain('3584 MiB RAM, 4 vCPUs');
    expect(text).toContain('vCPU 0: halted, 1 registers, 3 bytes of stack');
    expect(text).toContain('pending vectors 0x20');
    expect(text).toContain('migration 00112233445566778899aabbccddeeff');
  });

  it('is explained alike however it is cut', () => {
    for (const size of [1, 7, 100]) expect(linesOf(whole, size)).toEqual(linesOf(whole));
  });

  it('shows a device’s record in the words of the device', () => {
    const device = () => [['lines', '25']] as const;
    const lines = linesOf(whole, whole.length, new ControlDescriber({ device }));
    expect(lines.some((line) => line.includes('lines = 25'))).toBe(true);
  });

  it('cut anywhere says so, unless it is cut between two messages', () => {
    const two = recordingOf([sampleMessages.ping, sampleMessages.pong].map(encodeMessage));
    const clean: number[] = [];
    for (let cut = 0; cut <= two.length; cut++) {
      if (!linesOf(two.subarray(0, cut), 64).some((line) => line.startsWith('damaged'))) clean.push(cut);
    }
    const second = 8 + 16 + encodeMessage(sampleMessages.ping).length;
    expect(clean).toEqual([0, 8, second, two.length]);
  });

  it('with any byte changed is explained without an exception', () => {
    for (let at = 0; at < whole.length; at += 3) {
      const garbled = whole.slice();
      garbled[at]! ^= 0xff;
      linesOf(garbled);
    }
    expect(linesOf(new TextEncoder().encode('hello world'))).toEqual([expect.stringMatching(/^damaged: /)]);
  });

  it('goes on after a malformed frame, and says that something was wrong', () => {
    const bad = encodeMessage(sampleMessages.commit);
    const describe = (): ControlDescriber => {
      const describer = new ControlDescriber();
      const lines = linesOf(recordingOf([bad, encodeMessage(sampleMessages.released)]), 64, describer);
      expect(lines[1]).toMatch(/released/);
      return describer;
    };
    expect(describe().failed).toBe(false);
    bad[25]! ^= 1;
    expect(describe().failed).toBe(true);
    const lines = linesOf(recordingOf([bad]));
    expect(lines[0]).toMatch(/malformed: message `commit`.*payload CRC/);
  });

  it('is recognised by its first bytes', () => {
    expect(ControlDescriber.recognises(whole)).toBe(true);
    expect(ControlDescriber.recognises(new TextEncoder().encode('FRRYDATA'))).toBe(false);
  });
});
