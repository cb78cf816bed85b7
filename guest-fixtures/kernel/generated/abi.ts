// Generated from base/abi by the guest toolchain; do not edit. `npm run build` writes it again.

// units
export const PAGE_SHIFT: u32 = 0xc;
export const PAGE_BYTES: u32 = 0x1000;

// platform
export const ACPI_PCI_HOTPLUG_BASE: u32 = 0xfed03000;
export const ACPI_PCI_HOTPLUG_BYTES: u32 = 0x1000;
export const BAR_WINDOW_BASE: u32 = 0xf0000000;
export const BAR_WINDOW_BYTES: u32 = 0xe000000;
export const CONSOLE_BASE: u32 = 0xfed00000;
export const CONSOLE_BYTES: u32 = 0x1000;
export const ECAM_BASE: u32 = 0xe0000000;
export const ECAM_BYTES: u32 = 0x10000000;
export const FIRST_EXTERNAL_VECTOR: u32 = 0x20;
export const ICR_MODE_FIXED: u32 = 0;
export const ICR_MODE_STARTUP: u32 = 6;
export const ICR_SHORTHAND_OTHERS: u32 = 3;
export const LAPIC_BASE: u32 = 0xfee00000;
export const LAPIC_BYTES: u32 = 0x100000;
export const LAPIC_ICR_HIGH: u32 = 0x310;
export const LAPIC_ICR_LOW: u32 = 0x300;
export const MMIO_BASE: u32 = 0xe0000000;
export const POWER_BASE: u32 = 0xfed01000;
export const POWER_BYTES: u32 = 0x1000;
export const RAM_BYTES_MAX: u32 = 0xe0000000;
export const RAM_BYTES_MIN: u32 = 0x400000;
export const RAM_BYTES_STEP: u32 = 0x10000;
export const RESCHEDULE_VECTOR: u32 = 0xfd;
export const SERIAL_BASE: u32 = 0xfed02000;
export const SERIAL_BYTES: u32 = 0x1000;
export const TIMER_VECTOR: u32 = 0xec;
export const VCPUS_MAX: u32 = 4;

// boot information page
export const BOOT_PARAMS_GPA: u32 = 0x1000;
export const BOOT_PARAMS_MAGIC: u32 = 0x59525246;
export const BOOT_PARAMS_VERSION: u32 = 1;
export const COMMAND_LINE_BYTES_MAX: u32 = 0x800;
export const COMMAND_LINE_GPA: u32 = 0x2000;
export const MEMORY_IMAGE: u32 = 3;
export const MEMORY_MAP_ENTRIES_MAX: u32 = 0x10;
export const MEMORY_RESERVED: u32 = 2;
export const MEMORY_USABLE: u32 = 1;

// byte offsets in struct boot_params
export const BOOT_PARAMS_MAGIC_AT: u32 = 0;
export const BOOT_PARAMS_VERSION_AT: u32 = 4;
export const BOOT_PARAMS_VCPUS: u32 = 6;
export const BOOT_PARAMS_MEMORY_MAP_ENTRIES: u32 = 7;
export const BOOT_PARAMS_RAM_PAGES: u32 = 8;
export const BOOT_PARAMS_COMMAND_LINE_GPA: u32 = 0xc;
export const BOOT_PARAMS_COMMAND_LINE_BYTES: u32 = 0x10;
export const BOOT_PARAMS_IMAGE_GPA: u32 = 0x14;
export const BOOT_PARAMS_IMAGE_BYTES: u32 = 0x18;
export const BOOT_PARAMS_DATA_END: u32 = 0x1c;
export const BOOT_PARAMS_SEED: u32 = 0x20;
export const BOOT_PARAMS_WALL_CLOCK_NS: u32 = 0x28;
export const BOOT_PARAMS_CONSOLE_BASE: u32 = 0x30;
export const BOOT_PARAMS_POWER_BASE: u32 = 0x34;
export const BOOT_PARAMS_ECAM_BASE: u32 = 0x38;
export const BOOT_PARAMS_ECAM_BYTES: u32 = 0x3c;
export const BOOT_PARAMS_LAPIC_BASE: u32 = 0x40;
export const BOOT_PARAMS_HYPERVISOR: u32 = 0x44;
export const BOOT_PARAMS_SERIAL_BASE: u32 = 0x50;
export const BOOT_PARAMS_MEMORY_MAP: u32 = 0x80;
export const BOOT_PARAMS_SIZE: u32 = 0x140;

// byte offsets in struct memory_map_entry
export const MEMORY_MAP_ENTRY_START: u32 = 0;
export const MEMORY_MAP_ENTRY_BYTES: u32 = 4;
export const MEMORY_MAP_ENTRY_TYPE: u32 = 8;
export const MEMORY_MAP_ENTRY_SIZE: u32 = 0xc;
