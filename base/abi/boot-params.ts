/**
 * The boot information page: what firmware and boot loader would tell a kernel. The VMM writes it at
 * BOOT_PARAMS_GPA before `start_kernel(BOOT_PARAMS_GPA)`; it is ordinary RAM afterwards.
 */
import { ascii, f64, layout, u8, u16, u32 } from '../layout.js';

/** Guest physical address of the boot information page. The guest's own data starts at 64 KiB or above. */
export const BOOT_PARAMS_GPA = 0x1000;
/** The kernel command line, NUL-terminated, right behind the boot information page. */
export const COMMAND_LINE_GPA = 0x2000;
export const COMMAND_LINE_BYTES_MAX = 2048;

export const BOOT_PARAMS_MAGIC = 0x59525246; // "FRRY"
export const BOOT_PARAMS_VERSION = 1;
export const MEMORY_MAP_ENTRIES_MAX = 16;

export const bootParams = layout(
  'boot_params',
  {
    magic: u32(),
    version: u16(),
    vcpus: u8(),
    memoryMapEntries: u8(),
    /** All of RAM in 4 KiB pages, reserved ranges included. */
    ramPages: u32(),
    commandLineGpa: u32(),
    commandLineBytes: u32(),
    imageGpa: u32(),
    imageBytes: u32(),
    /** End of the initial data that the image loaded: free RAM starts at the next page. */
    dataEnd: u32(),
    /** Seed for the guest's own random numbers. */
    seed: u32(),
    wallClockNs: f64(0x28),
    consoleBase: u32(),
    powerBase: u32(),
    ecamBase: u32(),
    ecamBytes: u32(),
    lapicBase: u32(),
    hypervisor: ascii(12),
    /** 0: there are no serial ports. */
    serialBase: u32(),
    /** memoryMapEntry records start here. */
    memoryMap: u8(0x80),
  },
  { size: 0x80 + MEMORY_MAP_ENTRIES_MAX * 12 },
);

/** As e820: usable RAM, firmware-reserved, or the kernel image. */
export const MEMORY_USABLE = 1;
export const MEMORY_RESERVED = 2;
export const MEMORY_IMAGE = 3;

export const memoryMapEntry = layout('memory_map_entry', { start: u32(), bytes: u32(), type: u32() });
