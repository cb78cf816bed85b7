/** What of a root port is saved: its configuration space, and what its host has still to ask the guest. Link, decode and interrupt condition follow from it. */
import type { RegisterFile } from '../../base/registers.js';
import { registerSection, type StateSection } from '../pci/state.js';
import type { RootPortLayout } from './registers.js';

export const ROOT_PORT_VERSION = 4;

/** The configuration space, refused when it says that the slot is occupied and there is nothing here that belongs into it. */
export function rootPortSections(
  config: RegisterFile,
  layout: RootPortLayout,
  requests: StateSection,
  occupy: (present: boolean) => boolean,
  restored: () => void,
): readonly StateSection[] {
  const registers = registerSection('config', config);
  const { SLOT_STATUS } = layout.cap.pcie;
  return [
    {
      ...registers,
      restore(bytes) {
        const before = config.save();
        const difference = registers.restore(bytes);
        if (difference !== undefined) return difference;
        const present = config.getField(SLOT_STATUS, SLOT_STATUS.fields.PRESENCE) === 1;
        if (!occupy(present)) {
          registers.restore(before);
          return 'the slot holds a device there and none here';
        }
        restored();
        return undefined;
      },
    },
    requests,
  ];
}
