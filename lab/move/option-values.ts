/** What the options of a move may be, for callers of the library: the command line judges its own words beforehand. */
import * as v from 'valibot';
import { RAM_BYTES_MAX, RAM_BYTES_MIN, RAM_BYTES_STEP, VCPUS_MAX } from '../../base/abi/platform.js';
import { FLOW_PAYLOAD_BYTES_MAX, FLOW_PAYLOAD_BYTES_MIN } from '../../devices/ethernet/flow-payload.js';
import type { Effort } from '../../migration/approach.js';
import { CHANNELS_MAX } from '../../migration/parameters.js';
import { ASSIGNED_MAX, DEVICE_KINDS, IOMMU_LEAVES, IOMMU_STAGES } from '../../vmm/passthrough/records.js';
import { nicChoiceOf, stationsOf } from '../../vmm/process/nic-options.js';
import { labErrors } from '../errors.js';
import { RATE_MAX } from '../fabric/options.js';
import { wrongApproach } from '../options/approaches.js';
import { GUEST_BEHAVIOURS } from './guest-behaviour.js';
import { FLOWS, type MigrateOptions, WORKLOADS } from './scenario.js';

const whole = (min: number, max: number) =>
  v.pipe(v.number(), v.safeInteger(), v.minValue(min), v.maxValue(max));

/** Milliseconds, as the parameters take them. */
const patience = whole(50, 3_600_000);

const approach = (effort: Effort) =>
  v.pipe(
    v.string(),
    v.check(
      (text) => wrongApproach(effort, text) === undefined,
      ({ input }) => wrongApproach(effort, input)!,
    ),
  );

const nic = v.pipe(
  v.string(),
  v.check((kind) => nicChoiceOf(kind) !== undefined, 'is no NIC'),
);

const optionValues = v.strictObject({
  guest: v.optional(v.string()),
  memoryBytes: v.optional(v.pipe(whole(RAM_BYTES_MIN, RAM_BYTES_MAX), v.multipleOf(RAM_BYTES_STEP))),
  prealloc: v.optional(v.boolean()),
  vcpus: v.optional(whole(1, VCPUS_MAX)),
  workload: v.optional(v.picklist(WORKLOADS)),
  dirtyRate: v.optional(v.pipe(v.number(), v.finite(), v.minValue(0))),
  workingSetBytes: v.optional(whole(1, RAM_BYTES_MAX)),
  guestBehaviour: v.optional(v.picklist(GUEST_BEHAVIOURS)),
  nic: v.optional(nic),
  destinationNic: v.optional(nic),
  destinationMac: v.optional(
    v.pipe(
      v.string(),
      v.check((text) => typeof stationsOf(text, ASSIGNED_MAX) !== 'string', 'is no station address'),
    ),
  ),
  device: v.optional(v.picklist(DEVICE_KINDS)),
  iommuLeaves: v.optional(v.picklist(IOMMU_LEAVES)),
  iommuStage: v.optional(v.picklist(IOMMU_STAGES)),
  tracking: v.optional(approach('tracking')),
  stop: v.optional(approach('stop')),
  start: v.optional(approach('start')),
  flows: v.optional(
    v.pipe(
      v.array(v.picklist(FLOWS)),
      v.check((flows) => new Set(flows).size === flows.length, 'a flow is given twice'),
    ),
  ),
  rate: v.optional(whole(1, RATE_MAX)),
  payloadBytes: v.optional(whole(FLOW_PAYLOAD_BYTES_MIN, FLOW_PAYLOAD_BYTES_MAX)),
  pcap: v.optional(v.string()),
  channels: v.optional(whole(1, CHANNELS_MAX)),
  maxBandwidth: v.optional(v.pipe(v.number(), v.finite(), v.minValue(4096))),
  downtimeLimitMs: v.optional(whole(1, 2_000_000)),
  requestTimeoutMs: v.optional(patience),
  deviceStartTimeoutMs: v.optional(patience),
  verify: v.optional(v.picklist(['full', 'after', 'root', 'off'])),
  seed: v.optional(whole(0, 0xffff_ffff)),
  settleMs: v.optional(v.pipe(v.number(), v.finite(), v.minValue(100), v.maxValue(3_600_000))),
  arrivals: v.optional(v.boolean()),
  tlsCreds: v.optional(v.string()),
  tlsHostname: v.optional(v.string()),
  recordTo: v.optional(v.string()),
  traceTo: v.optional(v.string()),
});

/** Throws `lab/usage`, naming the option, for a value that is none or an option that does not exist. */
export function judgeValues(options: MigrateOptions): void {
  const judged = v.safeParse(optionValues, options);
  if (judged.success) return;
  const [issue] = judged.issues;
  const name = v.getDotPath(issue) ?? 'the options';
  throw labErrors.error('usage', { why: `${name}: ${issue.message}`, command: 'ferry migrate' });
}
