/** `--nic` of several commands. */
import { NIC_KINDS, type NicKind, nicChoiceOf } from '../../vmm/process/nic-options.js';
import { BadValue } from './quantities.js';

/** Throws BadValue for what is no NIC. */
export function parseNic(text: string): NicKind {
  if (nicChoiceOf(text) === undefined) {
    throw new BadValue(`'${text.slice(0, 40)}' is no NIC; write ${NIC_KINDS}`);
  }
  return text as NicKind;
}
