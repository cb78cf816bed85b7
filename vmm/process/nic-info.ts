/** What the host knows of one of the guest's network devices, as `x-ferry-query-nic` tells it. */
import type { NicInfo } from '../monitor/control.js';
import type { PassthroughReport } from '../passthrough/report.js';

export function nicInfo({ faults, drops, ...report }: PassthroughReport): NicInfo {
  const { stopped, noDescriptor, malformed, cable } = drops;
  return {
    ...report,
    drops: { stopped, 'no-descriptor': noDescriptor, malformed, cable },
    'iommu-faults': faults,
  };
}
