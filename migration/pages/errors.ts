/** What can be wrong with the bytes of a data channel. */
import { catalogue, entry } from '../../base/errors.js';

export const pageErrors = catalogue('pages', {
  'bad-hello': entry<{ channel: number; problem: string }>({
    exit: 'failed',
    text: ({ channel, problem }) => `data channel ${channel}: no valid hello: ${problem}`,
    advice: () =>
      'Check that nothing stands between the two hosts, and that no one else connects to their ports.',
  }),
  'peer-version': entry<{ channel: number; ours: number; theirs: number }>({
    exit: 'refused',
    text: ({ channel, ours, theirs }) =>
      `data channel ${channel}: the peer speaks version ${theirs}, this side version ${ours}`,
    advice: () => 'Run the same version of vf-ferry at both ends.',
  }),
  'bad-frame': entry<{ channel: number; frame: number; at: number; problem: string }>({
    exit: 'failed',
    text: ({ channel, frame, at, problem }) =>
      `data channel ${channel}, frame ${frame} at byte ${at}: ${problem}`,
    advice: () => 'Nothing of this frame was written to guest RAM. The peer or the link is faulty.',
  }),
  truncated: entry<{ channel: number; frame: number; at: number; within: string }>({
    exit: 'failed',
    text: ({ channel, frame, at, within }) =>
      `data channel ${channel} ended without a close frame, at byte ${at}: ${within} of frame ${frame}`,
    advice: () => 'See the log of the peer for its reason.',
  }),
});
