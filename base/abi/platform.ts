/**
 * The guest-visible platform: where things are, which vectors they use, what a guest module imports and exports.
 * Host and guest both take these from here (the toolchain writes them out as AssemblyScript constants).
 *
 * ## The guest module
 * Imports, all from module `ferry`:
 *
 * | name | type | meaning |
 * |---|---|---|
 * | `memory` | shared memory | guest RAM; ends exactly where RAM ends |
 * | `mmio_read` | (addr i32, width i32) -> i32 | `readb`/`readw`/`readl`: width 1, 2 or 4 bytes, zero-extended |
 * | `mmio_write` | (addr i32, width i32, value i32) | `writeb`/`writew`/`writel` |
 * | `clock_ns` | () -> f64 | the virtual clock, nanoseconds since boot |
 * | `timer_program` | (deadline f64) | one-shot timer: vector TIMER_VECTOR at `deadline` ns; a negative value disarms |
 * | `halt` | () | waits for an interrupt (`hlt`); returns after it was handled, or at once if one is pending |
 * | `irq_save` | () -> i32 | disables interrupts, returns the former flag (0 or 1) |
 * | `irq_restore` | (flags i32) | sets the interrupt flag; a pending interrupt is then taken at the next safepoint |
 * | `cpu_id` | () -> i32 | number of this vCPU |
 *
 * Exports: `start_kernel(boot_params i32)` entry of vCPU 0; `secondary_start(cpu i32)` entry of the others (may be
 * absent); `irq_entry(vector i32)` the interrupt handler, entered with interrupts disabled. A vCPU whose entry
 * function returns has halted for good. vCPUs start with interrupts disabled.
 */

/** RAM may not reach above this; MMIO lies between here and 4 GiB. */
export const MMIO_BASE = 0xe000_0000;
/** PCIe configuration space: 1 MiB a bus, 4 KiB a function. */
export const ECAM_BASE = 0xe000_0000;
export const ECAM_BYTES = 0x1000_0000;
/** Windows for BARs below 4 GiB. */
export const BAR_WINDOW_BASE = 0xf000_0000;
export const BAR_WINDOW_BYTES = 0x0e00_0000;
/** The console device (`devices/console`). */
export const CONSOLE_BASE = 0xfed0_0000;
export const CONSOLE_BYTES = 0x1000;
/** The power device (`devices/power`): shutdown and guest panic. */
export const POWER_BASE = 0xfed0_1000;
export const POWER_BYTES = 0x1000;
/** The serial ports (`devices/serial`): byte streams between programs of the guest and of the host. */
export const SERIAL_BASE = 0xfed0_2000;
export const SERIAL_BYTES = 0x1000;
/** Hot-plug of PCI slots by ACPI (`devices/acpi`), on machines whose slots it handles. */
export const ACPI_PCI_HOTPLUG_BASE = 0xfed0_3000;
export const ACPI_PCI_HOTPLUG_BYTES = 0x1000;
/** The local APIC's page, one per vCPU at the same address; also the MSI window for devices. */
export const LAPIC_BASE = 0xfee0_0000;
export const LAPIC_BYTES = 0x10_0000;

/** Interrupt Command Register, as in the x2APIC's xAPIC mode (Intel SDM vol. 3, 11.6.1): write high, then low. */
export const LAPIC_ICR_LOW = 0x300;
export const LAPIC_ICR_HIGH = 0x310;
/** ICR low: vector [7:0], delivery mode [10:8] (0 fixed, 6 start-up), shorthand [19:18] (3 = all but self). */
export const ICR_MODE_FIXED = 0;
export const ICR_MODE_STARTUP = 6;
export const ICR_SHORTHAND_OTHERS = 3;

/** Vectors, as Linux lays them out on x86. Device vectors are FIRST_EXTERNAL_VECTOR and up. */
export const FIRST_EXTERNAL_VECTOR = 0x20;
export const TIMER_VECTOR = 0xec;
export const RESCHEDULE_VECTOR = 0xfd;

export const VCPUS_MAX = 4;
export const RAM_BYTES_MIN = 4 * 1024 * 1024;
export const RAM_BYTES_MAX = 3584 * 1024 * 1024;
/** RAM comes in WebAssembly pages. */
export const RAM_BYTES_STEP = 64 * 1024;
