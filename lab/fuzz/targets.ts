/** Everything that takes input from strangers. */
import { agentTarget } from './agent.js';
import { deviceStateTarget } from './device-state.js';
import type { FuzzTarget } from './engine.js';
import { experimentTarget } from './experiment.js';
import { imageTarget } from './image.js';
import { monitorTarget } from './monitor.js';
import { pagesTarget } from './pages.js';
import { streamTarget } from './stream.js';
import { tlsTarget } from './tls.js';
import { vfioUserTarget } from './vfio-user.js';
import { virtioTarget } from './virtio.js';

/** Each makes a target of its own: what it attacks is not shared. */
export const INPUT_TARGETS = {
  stream: () => streamTarget(),
  pages: () => pagesTarget(),
  'device-state': () => deviceStateTarget(),
  virtio: () => virtioTarget(),
  'vfio-user': () => vfioUserTarget(),
  tls: () => tlsTarget(),
  monitor: () => monitorTarget(),
  agent: () => agentTarget(),
  image: () => imageTarget(),
  experiment: () => experimentTarget(),
} as const satisfies Record<string, () => FuzzTarget>;

export type InputTargetName = keyof typeof INPUT_TARGETS;
