import type { ControlLink } from '../../migration/ports.js';

/** A link that could not be made, for `reason`: a flow tells of it like of any other that breaks. */
export function brokenLink(reason: unknown): ControlLink {
  return { send: () => Promise.reject(reason), receive: () => Promise.reject(reason), close: () => {} };
}
