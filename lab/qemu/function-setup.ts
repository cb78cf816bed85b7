/**
 * How a guest has set its function up in what QEMU emulates of it: base addresses, command, the MSI-X table. QEMU moves the
 * port above a vfio-user device and forgets these; a function that is to be found as it was left has to have them put back.
 * PCI Express 7.5.1, PCI 6.8.2.
 */
import type { PciPlace, Qtest } from './qtest.js';

const COMMAND = 0x04;
const CACHE_LINE = 0x0c;
const BARS = [0x10, 0x14, 0x18, 0x1c, 0x20, 0x24] as const;
const CAPABILITIES = 0x34;
const INTERRUPT_LINE = 0x3c;
const MEMORY_SPACE = 0x0002;
const CAPABILITY_PCIE = 0x10;
const CAPABILITY_MSIX = 0x11;
const DEVICE_CONTROL = 0x08;
const DEVICE_CONTROL_2 = 0x28;
/** Of Device Control: starts a function-level reset. */
const INITIATE_RESET = 0x8000;
const CONFIG_DWORDS = 64;
/** Capabilities that configuration space has room for. */
const CAPABILITIES_MAX = 48;
const ENTRY_BYTES = 16;
const ENTRY_DWORDS = [0, 4, 8, 12] as const;
const ADDRESS_64 = 0x4;

export interface FunctionSetup {
  /** Configuration space, the part that mechanism 1 reaches. */
  readonly config: readonly number[];
  /** The MSI-X table, dword by dword; empty where the function decodes no memory, or has none. */
  readonly table: readonly number[];
}

interface Msix {
  readonly at: number;
  readonly entries: number;
  readonly address: number;
}

/** Reads it of the function at `place`, whose vCPUs stand still. Rejects as `Qtest` does. */
export async function readSetup(host: Qtest, place: PciPlace): Promise<FunctionSetup> {
  const config: number[] = [];
  for (let i = 0; i < CONFIG_DWORDS; i++) config.push(await host.readConfig(place, i * 4));
  const msix = msixOf(config);
  const table: number[] = [];
  if (msix !== undefined && (config[COMMAND / 4]! & MEMORY_SPACE) !== 0) {
    for (let i = 0; i < (msix.entries * ENTRY_BYTES) / 4; i++)
      table.push(await host.readMemory(msix.address + i * 4));
  }
  return { config, table };
}

/** Puts it back. The function answers at its addresses and sends its interrupts afterwards, as far as it is set up itself. */
export async function writeSetup(
  host: Qtest,
  place: PciPlace,
  { config, table }: FunctionSetup,
): Promise<void> {
  const word = (offset: number): number => (config[offset >> 2]! >>> ((offset & 2) * 8)) & 0xffff;
  for (const bar of BARS) await host.writeConfig(place, bar, 4, config[bar / 4]!);
  await host.writeConfig(place, CACHE_LINE, 2, word(CACHE_LINE));
  await host.writeConfig(place, INTERRUPT_LINE, 1, word(INTERRUPT_LINE) & 0xff);
  const pcie = capability(config, CAPABILITY_PCIE);
  if (pcie !== undefined) {
    await host.writeConfig(place, pcie + DEVICE_CONTROL, 2, word(pcie + DEVICE_CONTROL) & ~INITIATE_RESET);
    await host.writeConfig(place, pcie + DEVICE_CONTROL_2, 2, word(pcie + DEVICE_CONTROL_2));
  }
  await host.writeConfig(place, COMMAND, 2, word(COMMAND));
  const msix = msixOf(config);
  if (msix === undefined || table.length === 0) return;
  // Its vectors before the switch: QEMU hands over at once those that are not masked then.
  for (let entry = 0; entry < msix.entries; entry++) {
    for (const at of ENTRY_DWORDS) {
      const offset = entry * ENTRY_BYTES + at;
      await host.writeMemory(msix.address + offset, table[offset / 4]!);
    }
  }
  await host.writeConfig(place, msix.at + 2, 2, word(msix.at + 2));
}

/** Offset of the capability; undefined if there is none. */
function capability(config: readonly number[], id: number): number | undefined {
  let at = config[CAPABILITIES / 4]! & 0xfc;
  for (let seen = 0; at !== 0 && seen < CAPABILITIES_MAX; seen++) {
    const head = config[at / 4]!;
    if ((head & 0xff) === id) return at;
    at = (head >>> 8) & 0xfc;
  }
  return undefined;
}

function msixOf(config: readonly number[]): Msix | undefined {
  const at = capability(config, CAPABILITY_MSIX);
  if (at === undefined) return undefined;
  const pointer = config[at / 4 + 1]!;
  const bar = BARS[pointer & 0x7];
  if (bar === undefined) return undefined;
  const low = config[bar / 4]!;
  const high = (low & ADDRESS_64) === 0 ? 0 : (config[bar / 4 + 1] ?? 0);
  return {
    at,
    entries: ((config[at / 4]! >>> 16) & 0x7ff) + 1,
    address: high * 2 ** 32 + ((low & 0xffff_fff0) >>> 0) + ((pointer & 0xffff_fff8) >>> 0),
  };
}
