import { describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { chargeBytes, rateInKib, waitUs } from '../../migration/pages/bandwidth.js';
import { RoundBarrier } from '../../migration/pages/round-barrier.js';
import { WorkBoard } from '../../migration/pages/work-board.js';

/** Sends frames of `frameBytes` for `seconds` from `startUs` on; returns the bytes sent. */
function sendFor(board: WorkBoard, seconds: number, frameBytes: number, startUs: number): number {
  let sent = 0;
  let nowUs = startUs;
  const endUs = startUs + seconds * 1e6;
  while (nowUs < endUs) {
    const wait = waitUs(board, nowUs | 0);
    if (wait > 0) {
      nowUs += wait;
      continue;
    }
    chargeBytes(board, frameBytes, nowUs | 0);
    sent += frameBytes;
    nowUs += 10;
  }
  return sent;
}

describe('the bandwidth limit', () => {
  it('is kept over ten seconds to within the burst and one frame, at slow and fast rates', () => {
    for (const rate of [64 * 1024, 5 * MIB, 100 * MIB, 2000 * MIB]) {
      for (const frameBytes of [4096, MIB]) {
        const board = new WorkBoard(4);
        board.setRate(rateInKib(rate), 0);
        const sent = sendFor(board, 10, frameBytes, 0);
        expect(sent).toBeLessThan(rate * 10.02 + 2 * frameBytes);
        expect(sent).toBeGreaterThan(Math.min(rate * 9.7, (frameBytes / 10) * 1e6 * 10) - frameBytes);
      }
    }
  });

  it('charges both of two channels that charge at the same time', () => {
    const charged = (other: (board: WorkBoard) => void): number => {
      const board = new WorkBoard(2);
      board.setRate(rateInKib(MIB), 0);
      const replace = board.replaceNextFree;
      board.replaceNextFree = (expected, value) => {
        board.replaceNextFree = replace;
        other(board);
        return replace.call(board, expected, value);
      };
      chargeBytes(board, MIB, 0);
      return waitUs(board, 0);
    };
    const alone = charged(() => undefined);
    expect(charged((board) => chargeBytes(board, MIB, 0)) - alone).toBe(1e6);
  });

  it('holds over the wrap of the 32-bit clock', () => {
    const board = new WorkBoard(1);
    const startUs = 2 ** 31 - 3e6;
    board.setRate(rateInKib(5 * MIB), startUs | 0);
    expect(sendFor(board, 10, MIB, startUs)).toBeLessThan(10.1 * 5 * MIB + 2 * MIB);
  });

  it('a clock that went round while nothing was sent is no debt', () => {
    const board = new WorkBoard(1);
    board.setRate(rateInKib(5 * MIB), 0);
    chargeBytes(board, MIB, 0);
    expect(waitUs(board, (2 ** 31 + 5e8) | 0)).toBeLessThanOrEqual(0);
  });

  it('takes hold and is lifted at once', () => {
    const board = new WorkBoard(1);
    chargeBytes(board, 100 * MIB, 0);
    expect(waitUs(board, 0)).toBe(0);
    board.setRate(rateInKib(MIB), 0);
    chargeBytes(board, 100 * MIB, 0);
    expect(waitUs(board, 0)).toBeGreaterThan(99e6);
    board.setRate(rateInKib(undefined), 0);
    expect(waitUs(board, 0)).toBe(0);
  });
});

describe('the barrier between rounds', () => {
  it('opens when the last channel has delivered the round, and not before', () => {
    const barrier = new RoundBarrier(3);
    const count = { pages: 1, zeroPages: 2, bytes: 3 };
    expect(barrier.deliver(1, count)).toBe(false);
    expect(barrier.deliver(1, count)).toBe(false);
    expect(barrier.received(1)).toBeUndefined();
    expect(barrier.deliver(1, count)).toBe(true);
    expect(barrier.received(1)).toEqual({ pages: 3, zeroPages: 6, bytes: 9 });
    expect(() => barrier.deliver(3, count)).toThrow(/round 3 after round 1/);
  });
});

describe('claims of the work list', () => {
  it('hand out each word once, and start over with a new round', () => {
    const board = new WorkBoard(2);
    expect([board.claim(8), board.claim(8), board.claim(1), board.claim(8)]).toEqual([0, 8, 16, 17]);
    board.stop();
    expect(board.stopped).toBe(true);
    board.resetRound();
    expect(board.stopped).toBe(false);
    expect(board.claim(8)).toBe(0);
  });

  it('an abandoned round stays abandoned when it is stopped as well', () => {
    const board = new WorkBoard(1);
    board.abandon();
    board.stop();
    expect(board.abandoned).toBe(true);
  });
});
