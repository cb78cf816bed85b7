/** Loads an image into guest RAM, as firmware and boot loader would: code and data, boot information, command line. */
import {
  BOOT_PARAMS_GPA,
  BOOT_PARAMS_MAGIC,
  BOOT_PARAMS_VERSION,
  bootParams,
  COMMAND_LINE_BYTES_MAX,
  COMMAND_LINE_GPA,
  MEMORY_IMAGE,
  MEMORY_RESERVED,
  MEMORY_USABLE,
  memoryMapEntry,
} from '../../base/abi/boot-params.js';
import type { ParsedImage } from '../../base/abi/image-parse.js';
import {
  CONSOLE_BASE,
  ECAM_BASE,
  ECAM_BYTES,
  LAPIC_BASE,
  POWER_BASE,
  SERIAL_BASE,
} from '../../base/abi/platform.js';
import type { ReservedRange } from '../../base/abi/reserved-range.js';
import { invariant } from '../../base/errors.js';
import { gpa, MIB, PAGE_SHIFT } from '../../base/units.js';
import { vmmErrors } from '../errors.js';
import type { GuestRam } from '../ram/guest-ram.js';

/** The image lies at a multiple of this. */
const IMAGE_ALIGN = 64 * 1024;

export interface BootSettings {
  readonly commandLine: string;
  /** Seed for the guest's own random numbers. */
  readonly seed: number;
  readonly wallClockNs: number;
}

/** Where an image of this size lies: as high as possible below the reserved range. Negative if there is no room. */
export function imageAddress(range: ReservedRange, totalBytes: number): number {
  return Math.floor((range.base - totalBytes) / IMAGE_ALIGN) * IMAGE_ALIGN;
}

/**
 * Writes everything a guest finds at its start; returns where the image lies. Throws `vmm/image-refused` if the machine
 * is too small for it, `vmm/machine-option` for a command line that does not fit.
 */
export function loadImage(
  ram: GuestRam,
  range: ReservedRange,
  image: Uint8Array,
  parsed: ParsedImage,
  settings: BootSettings,
): number {
  const { meta } = parsed;
  const refuse = (why: string): never => {
    throw vmmErrors.error('image-refused', { name: meta.name, why });
  };
  const imageGpa = imageAddress(range, parsed.totalBytes);
  if (meta.dataEnd > imageGpa) {
    refuse(`it needs ${parsed.ramBytesMin / MIB} MiB of RAM, the machine has ${ram.u8.length / MIB}`);
  }
  if (range.vcpus.length > 1 && !meta.smp) {
    refuse(`it runs on one vCPU only, the machine has ${range.vcpus.length}`);
  }
  const commandLine = encodeCommandLine(settings.commandLine);

  put(ram, imageGpa, image.subarray(0, parsed.totalBytes));
  for (const { gpa: at, bytes } of parsed.data) put(ram, at, bytes);
  put(ram, COMMAND_LINE_GPA, commandLine);
  put(ram, BOOT_PARAMS_GPA, encodeBootParams(ram, range, imageGpa, parsed, settings, commandLine.length - 1));
  return imageGpa;
}

function encodeBootParams(
  ram: GuestRam,
  range: ReservedRange,
  imageGpa: number,
  parsed: ParsedImage,
  settings: BootSettings,
  commandLineBytes: number,
): Uint8Array {
  const map = [
    { start: 0, bytes: imageGpa, type: MEMORY_USABLE },
    { start: imageGpa, bytes: range.base - imageGpa, type: MEMORY_IMAGE },
    { start: range.base, bytes: range.bytes, type: MEMORY_RESERVED },
  ];
  const page = bootParams.encode({
    magic: BOOT_PARAMS_MAGIC,
    version: BOOT_PARAMS_VERSION,
    vcpus: range.vcpus.length,
    memoryMapEntries: map.length,
    ramPages: ram.u8.length >>> PAGE_SHIFT,
    commandLineGpa: COMMAND_LINE_GPA,
    commandLineBytes,
    imageGpa,
    imageBytes: parsed.totalBytes,
    dataEnd: parsed.meta.dataEnd,
    seed: settings.seed,
    wallClockNs: settings.wallClockNs,
    consoleBase: CONSOLE_BASE,
    powerBase: POWER_BASE,
    ecamBase: ECAM_BASE,
    ecamBytes: ECAM_BYTES,
    lapicBase: LAPIC_BASE,
    hypervisor: 'vf-ferry',
    serialBase: SERIAL_BASE,
  });
  const view = new DataView(page.buffer);
  map.forEach((entry, i) => {
    memoryMapEntry.write(view, bootParams.offset.memoryMap + i * memoryMapEntry.size, entry);
  });
  return page;
}

/** With its NUL. */
function encodeCommandLine(text: string): Uint8Array {
  const refuse = (why: string): never => {
    const value = `'${text.length > 60 ? `${text.slice(0, 60)}...` : text}'`;
    throw vmmErrors.error('machine-option', { option: 'command line', value, why });
  };
  if (text.length >= COMMAND_LINE_BYTES_MAX) {
    refuse(`it has ${text.length} characters, the most is ${COMMAND_LINE_BYTES_MAX - 1}`);
  }
  if (!/^[ -~]*$/.test(text)) refuse('it has characters other than printable ASCII');
  return Uint8Array.from([...text, '\0'], (char) => char.charCodeAt(0));
}

function put(ram: GuestRam, at: number, bytes: Uint8Array): void {
  invariant(ram.write(gpa(at), bytes), 'what is loaded lies in RAM');
}
