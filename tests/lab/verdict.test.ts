/** What a move's verdict makes of what the guest says. */
import { describe, expect, it } from 'vitest';
import { judge } from '../../lab/move/verdict.js';

type Evidence = Parameters<typeof judge>[0];

const said = (text: string, left: string | undefined): string => {
  const record = left === undefined ? undefined : { left, status: 'completed', verify: 'off' };
  const evidence = {
    record,
    console: [{ side: 'destination', text }],
    statusLine: /clean$/,
    statusLinesMin: 0,
    ownKernel: true,
    sourceStatus: 'postmigrate',
    destinationStatus: 'running',
    traffic: { flows: [], network: undefined },
  } as unknown as Evidence;
  return judge(evidence).checks.find(({ name }) => name === 'the guest found nothing wrong')!.outcome;
};

describe('a guest that says that its device is gone', () => {
  const gone = '[    1.000000] ixgbevf 0000:01:00.0: Adapter removed';

  it('is right where the device was taken away without a word, and complains anywhere else', () => {
    expect(said(gone, 'lost')).toBe('held');
    for (const left of ['state', 'unplugged', 'asleep', undefined]) expect(said(gone, left)).toBe('failed');
  });

  it('may not complain of anything else', () => {
    expect(said('[    1.000000] ledger: CORRUPT page 7', 'lost')).toBe('failed');
    expect(said('[    1.000000] ledger: 10 transactions/s, epoch 2, clean', 'lost')).toBe('held');
  });
});
