// This vCPU, and waiting for another.
import { ferry_cpu_id } from './ferry';

/** Number of the vCPU that executes this. */
// @ts-ignore: decorator
@inline export function smp_processor_id(): u32 { return ferry_cpu_id(); }
