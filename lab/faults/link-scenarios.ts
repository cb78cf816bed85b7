/** What happens to the link between source and destination. */
import type { FrameKind } from '../../migration/frame.js';
import { BROKEN, DAMAGED, DATA_DAMAGED, SILENT } from '../checkers/causes.js';
import { type FaultScenario, IMPATIENT, type Keeper } from './scenario.js';

/** Messages of a migration in their order, and who has the guest if the link breaks before the message arrives, or after it has. */
const MESSAGES: readonly (readonly [message: FrameKind, before: Keeper, after: Keeper])[] = [
  ['hello', 'source', 'source'],
  ['welcome', 'source', 'source'],
  ['round-end', 'source', 'source'],
  ['state', 'source', 'source'],
  ['complete', 'source', 'source'],
  // The commit may be on its way by then.
  ['prepared', 'source', 'either'],
  ['commit', 'source', 'destination'],
  ['running', 'destination', 'destination'],
];

const cuts: readonly FaultScenario[] = MESSAGES.flatMap(([message, before, after]) =>
  (
    [
      ['before', before],
      ['after', after],
    ] as const
  ).map(([edge, guest]) => ({
    name: `cut-${edge}-${message}`,
    text: `all connections are closed ${edge === 'before' ? 'before' : 'when'} \`${message}\` has arrived; new ones can be made`,
    strikes: [{ at: { message, edge }, does: { kind: 'cut' } }],
    guest,
    causes: BROKEN,
  })),
);

/** Of those that the image lies in, at the end of what is migrated of 64 MiB. */
const IMAGE_PAGES = { from: 15_850, to: 16_250 };
const GARBAGE = Uint8Array.from({ length: 64 }, (_, i) => (i * 151 + 7) & 0xff);

export const LINK_SCENARIOS: readonly FaultScenario[] = [
  {
    name: 'delay',
    text: 'everything takes 20 to 40 ms longer, each way',
    strikes: [{ at: { message: 'hello' }, does: { kind: 'delay', ms: 20, jitterMs: 20 } }],
    guest: 'destination',
  },
  {
    name: 'limit',
    text: '20 MB/s pass each way',
    strikes: [{ at: { message: 'hello' }, does: { kind: 'limit', bytesPerSecond: 20e6 } }],
    guest: 'destination',
  },
  {
    name: 'stall-short',
    text: 'nothing passes for 0.5 s in the switchover',
    strikes: [{ at: { message: 'complete' }, does: { kind: 'stall', ms: 500 } }],
    guest: 'destination',
  },
  {
    name: 'stall-rounds',
    text: 'nothing passes any more after the first round',
    strikes: [{ at: { message: 'round-end' }, does: { kind: 'stall' } }],
    guest: 'source',
    causes: SILENT,
    patience: IMPATIENT,
  },
  {
    name: 'stall-switchover',
    text: 'nothing passes any more when the guest stands still',
    strikes: [{ at: { message: 'complete' }, does: { kind: 'stall' } }],
    guest: 'source',
    causes: SILENT,
    patience: IMPATIENT,
  },
  ...cuts,
  {
    name: 'control-cut',
    text: 'the control connection is closed in the first round; data channels stay',
    strikes: [{ at: { message: 'round-end' }, does: { kind: 'cut', scope: 'connection' } }],
    guest: 'source',
    causes: BROKEN,
  },
  {
    name: 'data-cut',
    text: 'one data channel is closed in the first round; the control connection stays',
    strikes: [{ at: { dataBytes: 500_000 }, does: { kind: 'cut', scope: 'connection' } }],
    guest: 'source',
    causes: BROKEN,
  },
  {
    name: 'half-open-source',
    text: 'the source loses its connections in the switchover, and the destination hears nothing of it',
    strikes: [{ at: { message: 'complete' }, does: { kind: 'half-open', lost: 'source' } }],
    guest: 'source',
    causes: SILENT,
    patience: IMPATIENT,
  },
  {
    name: 'half-open-destination',
    text: 'the destination loses its connections before `commit`, and the source hears nothing of it',
    strikes: [{ at: { message: 'commit' }, does: { kind: 'half-open', lost: 'destination' } }],
    guest: 'source',
    causes: SILENT,
    patience: IMPATIENT,
  },
  {
    name: 'truncate-control',
    text: 'the control connection ends in good order before `complete`',
    strikes: [{ at: { message: 'complete' }, does: { kind: 'truncate' } }],
    guest: 'source',
    causes: BROKEN,
  },
  {
    name: 'truncate-data',
    text: 'a data channel ends in good order within a page',
    strikes: [{ at: { byte: 100_001, on: 'data' }, does: { kind: 'truncate' } }],
    guest: 'source',
    causes: BROKEN,
  },
  {
    name: 'flip-control',
    text: 'one bit of `state` arrives flipped',
    strikes: [{ at: { message: 'state' }, does: { kind: 'flip', bit: 3 } }],
    guest: 'source',
    causes: DAMAGED,
  },
  {
    name: 'flip-frame',
    text: 'one bit of the header of the first frame of pages arrives flipped',
    strikes: [{ at: { byte: 40, on: 'data' }, does: { kind: 'flip', bit: 5 } }],
    guest: 'source',
    causes: DATA_DAMAGED,
  },
  {
    name: 'flip-page',
    text: 'one bit of a page of the guest’s image, which it never writes to, arrives flipped',
    strikes: [{ at: { pages: IMAGE_PAGES }, does: { kind: 'flip', bit: 5 } }],
    guest: 'source',
    causes: DATA_DAMAGED,
  },
  ...(
    [
      ['state', 'source', DAMAGED],
      ['prepared', 'source', SILENT],
      ['commit', 'source', SILENT],
      ['running', 'destination', SILENT],
    ] as const
  ).map(([message, guest, causes]) => ({
    name: `swallow-${message}`,
    text: `\`${message}\` never arrives, and all that follows does`,
    strikes: [{ at: { message }, does: { kind: 'swallow' } as const }],
    guest,
    causes,
    patience: IMPATIENT,
  })),
  {
    name: 'again-complete',
    text: '`complete` arrives twice',
    strikes: [{ at: { message: 'complete' }, does: { kind: 'again' } }],
    guest: 'source',
    causes: DAMAGED,
  },
  {
    name: 'again-hello',
    text: '`hello` is heard once more after the first round',
    strikes: [{ at: { message: 'round-end' }, does: { kind: 'again', message: 'hello' } }],
    guest: 'source',
    causes: DAMAGED,
  },
  {
    name: 'garbage-control',
    text: '64 bytes that nobody sent arrive within a control message',
    strikes: [{ at: { byte: 30, on: 'control' }, does: { kind: 'insert', bytes: GARBAGE } }],
    guest: 'source',
    causes: DAMAGED,
  },
  {
    name: 'garbage-data',
    text: '64 bytes that nobody sent arrive on a data channel',
    strikes: [{ at: { byte: 100_001, on: 'data' }, does: { kind: 'insert', bytes: GARBAGE } }],
    guest: 'source',
    causes: DATA_DAMAGED,
  },
  ...(['control', 'data'] as const).map((door) => ({
    name: `stranger-${door}`,
    text:
      door === 'control'
        ? 'somebody else connects to where the destination listens, and talks nonsense'
        : 'somebody else connects to where the source waits for a data channel, and talks nonsense',
    strikes: [
      { at: { message: 'round-end' }, does: { kind: 'stranger', door, says: GARBAGE } as const },
    ] as const,
    guest: 'destination' as const,
  })),
  {
    name: 'unreachable-after-commit',
    text: 'the link is closed for good when `commit` has arrived: the destination runs the guest, and the source can’t learn of it',
    strikes: [{ at: { message: 'commit', edge: 'after' }, does: { kind: 'unreachable' } }],
    guest: 'destination',
    causes: BROKEN,
  },
  {
    name: 'unreachable-before-commit',
    text: 'the link is closed for good before `commit` arrives: the destination gives up, and the source can’t learn of it',
    strikes: [{ at: { message: 'commit' }, does: { kind: 'unreachable' } }],
    guest: 'undecided',
    causes: BROKEN,
  },
  ...(
    [
      [
        'cut',
        'before',
        'source',
        'under TLS: control connections are closed before `commit` has arrived; new ones can be made',
      ],
      [
        'cut',
        'after',
        'destination',
        'under TLS: control connections are closed when `commit` has arrived; new ones can be made',
      ],
      [
        'unreachable',
        'after',
        'destination',
        'under TLS: the link is closed for good when `commit` has arrived',
      ],
      [
        'unreachable',
        'before',
        'undecided',
        'under TLS: the link is closed for good before `commit` arrives',
      ],
    ] as const
  ).map(
    ([kind, edge, guest, text]): FaultScenario => ({
      name: `tls-${kind}-${edge}-commit`,
      text,
      strikes: [
        kind === 'cut'
          ? { at: { message: 'commit', edge }, does: { kind } }
          : { at: { message: 'commit', edge }, does: { kind } },
      ],
      guest,
      causes: BROKEN,
      tls: true,
    }),
  ),
];
