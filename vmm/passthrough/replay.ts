/**
 * An assigned virtual function read out before it is reset, and put back into one that was: what its guest sees of it, what
 * the physical function keeps for it, and its registers. VFIO's migration has no part in it.
 */
import { deviceErrors } from '../../devices/errors.js';
import { readRegisters, writeRegisters } from '../../devices/nic82599/replay.js';
import { VF_VERSION } from '../../devices/nic82599/state.js';
import type { VirtualFunction } from '../../devices/nic82599/vf.js';
import { ASSIGNED_VERSION, type AssignedFunction } from '../../devices/pci/assigned-function.js';
import { decodeSections, encodeSections } from '../../devices/pci/state.js';

/** Version of the record that travels. */
const VERSION = 1;

interface ReadOut {
  /** Configuration space and interrupt table as the guest set them up. */
  readonly configuration: Uint8Array;
  readonly physical: Uint8Array;
  readonly registers: Uint8Array;
}

const PARTS = ['configuration', 'physical', 'registers'] as const satisfies readonly (keyof ReadOut)[];

export class FunctionReplay {
  readonly #vf: VirtualFunction;
  readonly #assigned: AssignedFunction;
  readonly #arrived: () => void;
  #read: ReadOut | undefined;
  /** What of it was put back. */
  #put: 'configuration' | 'registers' | undefined;

  /** `arrived`: the function goes on with what it was elsewhere. */
  constructor(vf: VirtualFunction, assigned: AssignedFunction, arrived: () => void) {
    this.#vf = vf;
    this.#assigned = assigned;
    this.#arrived = arrived;
  }

  /** Reads the function out, which is about to be reset: events in its registers are cleared by that. */
  remember(): void {
    this.#put = undefined;
    this.#read = {
      configuration: this.#assigned.save().state,
      physical: this.#vf.physicalPart.save().state,
      registers: readRegisters(this.#vf.pool),
    };
  }

  /** As the function was when it was reset last. */
  readOut(): Uint8Array {
    const read = this.#read;
    const parts = read === undefined ? [] : PARTS.map((name) => ({ name, bytes: read[name] }));
    const record = encodeSections(parts);
    return Uint8Array.of(VERSION, ...record);
  }

  /** Takes what another host has read out. Throws a FerryError that says what does not fit. */
  take(record: Uint8Array): void {
    const [version] = record;
    const device = this.#assigned.name;
    if (version !== VERSION) {
      throw deviceErrors.error('recordVersion', { device, version: version ?? 0, supported: VERSION });
    }
    const { sections, problem } = decodeSections(record.subarray(1));
    const names = sections.map(([name]) => name).join(', ');
    const [configuration, physical, registers] = sections.map(([, bytes]) => bytes);
    const wrong =
      problem ?? (names === PARTS.join(', ') ? undefined : `it consists of ${names || 'nothing'}`);
    if (wrong !== undefined) this.#refuse(wrong);
    this.#read = { configuration: configuration!, physical: physical!, registers: registers! };
    this.#put = undefined;
  }

  /** See `FunctionReplay` of the ports. Harmless if it is done. Throws a FerryError that says what does not fit. */
  putBack(what: 'configuration' | 'registers'): void {
    const read = this.#read;
    if (read === undefined || this.#put !== undefined) return;
    const { name } = this.#assigned;
    this.#assigned.setGate(false);
    this.#assigned.adopt({ name, version: ASSIGNED_VERSION, state: read.configuration });
    if (what === 'registers') {
      this.#vf.physicalPart.restore({ name: this.#vf.name, version: VF_VERSION, state: read.physical });
      const problem = writeRegisters(this.#vf.pool, read.registers);
      if (problem !== undefined) this.#refuse(problem);
    }
    this.#put = what;
  }

  /** It masters the bus as its registers say, and sends each of its interrupts in the place of those that went lost. */
  release(): void {
    this.#assigned.setGate(true);
    if (this.#put === 'registers') this.#arrived();
    for (let vector = 0; vector < this.#assigned.vectors; vector++) this.#vf.msix.trigger(vector);
  }

  #refuse(difference: string): never {
    throw deviceErrors.error('recordRefused', { device: this.#assigned.name, difference });
  }
}
