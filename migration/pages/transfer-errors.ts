/** What can go wrong with data channels as connections and workers, whatever carries them. */
import { catalogue, entry } from '../../base/errors.js';

export const transferErrors = catalogue('transfer', {
  'channel-broken': entry<{ side: string; channel: number; peer: string; bytes: number; reason: string }>({
    exit: 'failed',
    text: ({ side, channel, peer, bytes, reason }) =>
      `${side}: data channel ${channel} with ${peer} broke after ${bytes} bytes: ${reason}`,
    advice: () => `Check the network and the log of the peer, and start the migration again.`,
  }),
  'connect-failed': entry<{ channel: number; peer: string; reason: string }>({
    exit: 'failed',
    text: ({ channel, peer, reason }) =>
      `destination: can't connect data channel ${channel} to ${peer}: ${reason}`,
    advice: () => "The destination opens the data channels: the source's address must be reachable from it.",
  }),
  'listen-failed': entry<{ channel: number; host: string; reason: string }>({
    exit: 'environment',
    text: ({ channel, host, reason }) =>
      `source: can't listen for data channel ${channel} at ${host}: ${reason}`,
    advice: () => 'Give an address of this host for the data channels.',
  }),
  'worker-lost': entry<{ side: string; channel: number; reason: string }>({
    exit: 'failed',
    text: ({ side, channel, reason }) => `${side}: the page worker of channel ${channel} ended: ${reason}`,
    advice: () => 'Check that this host has memory to spare.',
  }),
  'recording-failed': entry<{ file: string; reason: string }>({
    exit: 'environment',
    text: ({ file, reason }) => `can't record the migration stream to ${file}: ${reason}`,
    advice: () => 'Choose a folder that exists, may be written and has room, or do not record.',
  }),
  closed: entry<{ side: string; operation: string }>({
    exit: 'failed',
    text: ({ side, operation }) => `${side}: the data channels were closed during ${operation}`,
    advice: () => 'See what ended the migration at this side or the other.',
  }),
});
