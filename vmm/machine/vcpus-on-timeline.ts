/** vCPUs that put down what they are asked to do for a migration, each under its own name. */
import { observed, type Timeline } from '../../migration/timeline.js';
import type { VcpuHandle } from '../vcpu/handle.js';

/** `timeline`: undefined while nobody looks. */
export const vcpusOnTimeline = (
  vcpus: readonly VcpuHandle[],
  timeline: () => Timeline | undefined,
): readonly VcpuHandle[] =>
  vcpus.map((vcpu) =>
    observed(vcpu, `vcpu${vcpu.index}`, timeline, ['setCode', 'pause', 'resume', 'publish', 'save', 'load']),
  );
