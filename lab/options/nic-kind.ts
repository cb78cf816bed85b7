/** `--nic` and `--mac` of several commands. */
import { ASSIGNED_MAX } from '../../vmm/passthrough/records.js';
import { NIC_KINDS, type NicKind, nicChoiceOf, stationsOf } from '../../vmm/process/nic-options.js';
import { BadValue } from './quantities.js';

/** Throws BadValue for what is no NIC. */
export function parseNic(text: string): NicKind {
  if (nicChoiceOf(text) === undefined) {
    throw new BadValue(`'${text.slice(0, 40)}' is no NIC; write ${NIC_KINDS}`);
  }
  return text as NicKind;
}

/** Throws BadValue for what no stations can have as their addresses. */
export function parseStations(text: string): string {
  const stations = stationsOf(text, ASSIGNED_MAX);
  if (typeof stations === 'string') throw new BadValue(stations);
  return text;
}
