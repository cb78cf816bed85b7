// The guest kernel's module: what the machine calls (base/abi/platform.ts). vCPU 0 enters start_kernel, the others
// secondary_start, and interrupts enter irq_entry.
export { start_kernel } from './init/main';
export { secondary_start } from './arch/smpboot';
export { irq_entry } from './arch/entry';
