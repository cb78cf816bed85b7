// What the boot loader left, as data: the boot information page, copied. Everything else may look at it.
import {
  BOOT_PARAMS_COMMAND_LINE_BYTES,
  BOOT_PARAMS_COMMAND_LINE_GPA,
  BOOT_PARAMS_CONSOLE_BASE,
  BOOT_PARAMS_DATA_END,
  BOOT_PARAMS_ECAM_BASE,
  BOOT_PARAMS_ECAM_BYTES,
  BOOT_PARAMS_HYPERVISOR,
  BOOT_PARAMS_IMAGE_BYTES,
  BOOT_PARAMS_IMAGE_GPA,
  BOOT_PARAMS_LAPIC_BASE,
  BOOT_PARAMS_MAGIC,
  BOOT_PARAMS_MAGIC_AT,
  BOOT_PARAMS_MEMORY_MAP,
  BOOT_PARAMS_MEMORY_MAP_ENTRIES,
  BOOT_PARAMS_POWER_BASE,
  BOOT_PARAMS_RAM_PAGES,
  BOOT_PARAMS_SEED,
  BOOT_PARAMS_SERIAL_BASE,
  BOOT_PARAMS_VCPUS,
  BOOT_PARAMS_WALL_CLOCK_NS,
  COMMAND_LINE_BYTES_MAX,
  MEMORY_MAP_ENTRIES_MAX,
  VCPUS_MAX,
} from '../generated/abi';

const COMMAND_LINE_COPY: u32 = 2048;

/** The kernel's own copy: the page itself is ordinary RAM once the kernel runs. */
// @ts-ignore: decorator
@unmanaged export class BootParams {
  vcpus: u32;
  ram_pages: u32;
  /** Raw bytes with a NUL. */
  command_line: usize;
  command_line_bytes: u32;
  image: u32;
  image_bytes: u32;
  data_end: u32;
  seed: u32;
  wall_clock_ns: u64;
  console_base: u32;
  power_base: u32;
  ecam_base: u32;
  ecam_bytes: u32;
  lapic_base: u32;
  /** 0: there are no serial ports. */
  serial_base: u32;
  /** Name of the hypervisor, raw bytes with a NUL. */
  hypervisor: usize;
  memory_map: u32;
  memory_map_entries: u32;
}

const params = changetype<BootParams>(memory.data(128, 64));
const command_line_copy = memory.data(2048 + 16, 16);
const memory_map_copy = memory.data(16 * 12, 16);
const hypervisor = memory.data(16, 16);

// @ts-ignore: decorator
@inline export function boot_params(): BootParams { return params; }

/** Copies the page at `page`. Until this has run there is no console; with a wrong magic there will be none. */
export function copy_boot_params(page: u32): void {
  if (load<u32>(page + BOOT_PARAMS_MAGIC_AT) != BOOT_PARAMS_MAGIC) unreachable();
  params.console_base = load<u32>(page + BOOT_PARAMS_CONSOLE_BASE);
  params.power_base = load<u32>(page + BOOT_PARAMS_POWER_BASE);
  params.lapic_base = load<u32>(page + BOOT_PARAMS_LAPIC_BASE);
  params.ecam_base = load<u32>(page + BOOT_PARAMS_ECAM_BASE);
  params.ecam_bytes = load<u32>(page + BOOT_PARAMS_ECAM_BYTES);
  params.serial_base = load<u32>(page + BOOT_PARAMS_SERIAL_BASE);
  params.vcpus = min<u32>(max<u32>(load<u8>(page + BOOT_PARAMS_VCPUS), 1), VCPUS_MAX);
  params.ram_pages = load<u32>(page + BOOT_PARAMS_RAM_PAGES);
  params.image = load<u32>(page + BOOT_PARAMS_IMAGE_GPA);
  params.image_bytes = load<u32>(page + BOOT_PARAMS_IMAGE_BYTES);
  params.data_end = load<u32>(page + BOOT_PARAMS_DATA_END);
  params.seed = load<u32>(page + BOOT_PARAMS_SEED);
  params.wall_clock_ns = <u64>load<f64>(page + BOOT_PARAMS_WALL_CLOCK_NS);
  params.hypervisor = hypervisor;
  memory.copy(hypervisor, page + BOOT_PARAMS_HYPERVISOR, 12);

  const limit = min<u32>(COMMAND_LINE_BYTES_MAX, COMMAND_LINE_COPY);
  const bytes = min<u32>(load<u32>(page + BOOT_PARAMS_COMMAND_LINE_BYTES), limit);
  memory.copy(command_line_copy, load<u32>(page + BOOT_PARAMS_COMMAND_LINE_GPA), bytes);
  let length: u32 = 0;
  while (length < bytes && load<u8>(command_line_copy + length) != 0) length++;
  store<u8>(command_line_copy + length, 0);
  params.command_line = command_line_copy;
  params.command_line_bytes = length;

  params.memory_map_entries = min<u32>(load<u8>(page + BOOT_PARAMS_MEMORY_MAP_ENTRIES), MEMORY_MAP_ENTRIES_MAX);
  params.memory_map = <u32>memory_map_copy;
  memory.copy(memory_map_copy, page + BOOT_PARAMS_MEMORY_MAP, MEMORY_MAP_ENTRIES_MAX * 12);
}
