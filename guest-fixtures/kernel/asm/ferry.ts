// The instructions of this machine beyond WebAssembly's own (base/abi/platform.ts). Everything else in the kernel goes
// through the Linux-named wrappers in this folder.

// @ts-ignore: decorator
@external("ferry", "mmio_read")
export declare function ferry_mmio_read(addr: u32, width: u32): u32;

// @ts-ignore: decorator
@external("ferry", "mmio_write")
export declare function ferry_mmio_write(addr: u32, width: u32, value: u32): void;

/** The virtual clock in nanoseconds since boot, the same for all vCPUs. */
// @ts-ignore: decorator
@external("ferry", "clock_ns")
export declare function ferry_clock_ns(): f64;

/** Arms this vCPU's one-shot timer: TIMER_VECTOR at `deadline`; negative disarms. */
// @ts-ignore: decorator
@external("ferry", "timer_program")
export declare function ferry_timer_program(deadline: f64): void;

// @ts-ignore: decorator
@external("ferry", "halt")
export declare function ferry_halt(): void;

// @ts-ignore: decorator
@external("ferry", "irq_save")
export declare function ferry_irq_save(): u32;

// @ts-ignore: decorator
@external("ferry", "irq_restore")
export declare function ferry_irq_restore(flags: u32): void;

// @ts-ignore: decorator
@external("ferry", "cpu_id")
export declare function ferry_cpu_id(): u32;
