/** `--nic` of several commands. */
import { functionsOf, NIC_KINDS, type NicKind } from '../../vmm/process/nic-options.js';
import { BadValue } from './quantities.js';

/** Throws BadValue for what is no NIC. */
export function parseNic(text: string): NicKind {
  if (functionsOf(text) === undefined) {
    throw new BadValue(`'${text.slice(0, 40)}' is no NIC; write ${NIC_KINDS}`);
  }
  return text as NicKind;
}
