import { describe, expect, it } from 'vitest';
import { fuzzConfigAndBars } from '../../devices/nic82599/fuzz.js';

describe('random accesses to configuration space and BARs', () => {
  it('are all answered, with bounded work, and the run goes deep', () => {
    for (let seed = 1; seed <= 6; seed++) {
      const report = fuzzConfigAndBars(seed, 15_000);
      expect(report.failures).toEqual([]);
      expect(report.dmaRequests).toBeGreaterThan(1000);
      expect(report.dmaBlocked).toBeGreaterThan(20);
      expect(report.messages).toBeGreaterThan(20);
      expect(report.framesSent).toBeGreaterThan(100);
    }
  });

  it('one seed is one run', () => {
    expect(fuzzConfigAndBars(42, 5000)).toEqual(fuzzConfigAndBars(42, 5000));
    expect(fuzzConfigAndBars(42, 5000).hash).not.toBe(fuzzConfigAndBars(43, 5000).hash);
  });

  it('a device that throws, answers too wide, or loses its constants is noticed (the check can fail)', () => {
    const broken = [
      fuzzConfigAndBars(1, 2000, (nic) => {
        nic.receive = () => {
          throw new Error('broken');
        };
      }),
      fuzzConfigAndBars(1, 2000, (nic) => {
        nic.vf(0).pool.read = () => -1;
      }),
      fuzzConfigAndBars(1, 2000, (nic) => {
        nic.vf(0).fn.config.words[0] = 0;
      }),
      fuzzConfigAndBars(1, 2000, (nic) => {
        const { run } = nic;
        nic.run = (budget) => {
          for (let i = 0; i < 20_000; i++)
            nic.vf(0).fn.upstream.dma.write(0 as never, 0 as never, new Uint8Array(1), 0, 1);
          return run.call(nic, budget);
        };
      }),
    ];
    expect(broken.map(({ failures }) => failures[0]?.replace(/^access \d+: /, ''))).toEqual([
      'threw Error: broken',
      expect.stringMatching(/^read -1 from/),
      expect.stringMatching(/constant bits changed at 0x0/),
      expect.stringMatching(/requests in one step/),
    ]);
  });
});
