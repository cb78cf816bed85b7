/** What a destination takes over beside what its source has left: RAM, registers, and records of devices, each difference by its name. */
import type { DeviceRecord } from '../../base/device-record.js';
import { PAGE_BYTES } from '../../base/units.js';
import { compareStates } from '../../migration/compare-states.js';
import { sameBytes } from '../../migration/integrity.js';
import type { MachineState } from '../../migration/ports.js';
import type { Machine } from '../../vmm/machine/machine.js';
import { describeDevice } from '../report/describe-device.js';
import { unconnectedAssigned } from '../report/unconnected.js';

const PAGES_NAMED = 16;
const FIELDS_NAMED = 8;

export interface Left {
  readonly machine: Machine;
  /** Its process is gone: only memory can still be looked at. */
  readonly gone: boolean;
  /** Resolves when it is ended. */
  readonly killed: Promise<undefined>;
}

/** Differences between the machine that was `left` and the one that was `taken` over. `carriesDevices`: the other device goes on as the one that was left. */
export async function compareHandOver(
  { machine: left, gone, killed }: Left,
  taken: Machine,
  carriesDevices: boolean,
): Promise<readonly string[]> {
  const { migratedPages } = left.description;
  const pages = differentPages(left.ram, taken.ram, migratedPages);
  const differences: string[] = [];
  if (pages.length > 0) {
    const more = pages.length > PAGES_NAMED ? ', ...' : '';
    differences.push(`${pages.length} pages: ${pages.slice(0, PAGES_NAMED).join(', ')}${more}`);
  }
  if (gone) return differences;
  const stateOf = carriesDevices ? wholeState : (machine: Machine) => machine.save();
  // Nor is it waited for if it is ended right now.
  const was = await Promise.race([stateOf(left), killed]);
  if (was === undefined) return differences;
  const is = await stateOf(taken);
  const found = compareStates(was, is);
  return found.length === 0 ? differences : [...differences, ...found, ...differentFields(was, is)];
}

async function wholeState(machine: Machine): Promise<MachineState> {
  const state = await machine.save();
  const records = await Promise.all(machine.devices.map(async ({ vfio }) => (await vfio?.save()) ?? []));
  return { ...state, devices: [...state.devices, ...records.flat()] };
}

function differentPages(left: Uint8Array, taken: Uint8Array, pages: number): readonly number[] {
  const same = (from: number, to: number): boolean =>
    Buffer.compare(left.subarray(from, to), taken.subarray(from, to)) === 0;
  if (same(0, pages * PAGE_BYTES)) return [];
  return Array.from({ length: pages }, (_, page) => page).filter(
    (page) => !same(page * PAGE_BYTES, (page + 1) * PAGE_BYTES),
  );
}

/** Of each record that differs, in its device's words. */
function differentFields(was: MachineState, is: MachineState): readonly string[] {
  return was.devices.flatMap((before, i) => {
    const after = is.devices[i];
    if (after === undefined || before.name !== after.name || sameBytes(before.state, after.state)) return [];
    const [fields, others] = [inWords(before), inWords(after)];
    const different = fields.flatMap(([name, value], at) => {
      const now = others[at]?.[1];
      return now === value ? [] : [`${name}: ${value} left, ${now ?? 'nothing'} taken over`];
    });
    return different.slice(0, FIELDS_NAMED).map((text) => `${before.name} ${text}`);
  });
}

function inWords(record: DeviceRecord): readonly (readonly [name: string, value: string])[] {
  const device = record.name.replace(/-function$/, '');
  return describeDevice(record) ?? unconnectedAssigned(device).describeRecord(record) ?? [];
}
