/**
 * The interrupt vectors of an assigned function as its guest programs them: MSI-X in a window of a BAR, or the one message of
 * MSI in configuration space. Either tells the backend where each vector of the device itself goes, and whether it is masked.
 */
import { iovaOf } from '../../base/dma.js';
import { RegisterFile, type RegisterHooks, type RegisterTable } from '../../base/registers.js';
import type { AssignedBackend, GuestMessage } from './assigned-backend.js';
import type { Registers } from './capability.js';
import type { MsiRegisters } from './msi.js';
import { type MsixWindow, msixWindow } from './msix.js';
import type { BarSpec, MsixPlace, MsixRegisters } from './registers.js';
import { registerSection, type StateSection } from './state.js';

/** What `AssignedFunction` has of them. */
export interface AssignedVectors {
  /** Vectors that the guest sees. */
  readonly count: number;
  /** Of registers in configuration space. */
  readonly hooks: Readonly<Record<string, RegisterHooks>>;
  /** What is kept outside of configuration space. */
  readonly sections: readonly StateSection[];
  /** The BAR that is the guest's alone, if there is one. */
  readonly bar: number | undefined;
  read(offset: number, size: number): number;
  write(offset: number, size: number, value: number): void;
  /** Wires all vectors to what the guest's registers say. */
  routeAll(): void;
  /** Of what is kept outside of configuration space. */
  reset(): void;
}

type WindowSpecs = MsixWindow extends RegisterTable<infer T> ? T : never;

/**
 * Where the vectors go if the host says so instead of the guest's table: a VMM of another process emulates the table, and the
 * device never sees it. A vector without a message is held back: what it asks for becomes pending.
 */
export type HostVectors = (vector: number) => GuestMessage | undefined;

export interface VectorsOwner {
  readonly name: string;
  readonly hostVectors?: HostVectors | undefined;
  readonly bars: readonly BarSpec[];
  readonly backend: AssignedBackend;
  /** The function's configuration space, once there is one. */
  config(): RegisterFile;
}

export class MsixVectors implements AssignedVectors {
  readonly count: number;
  readonly bar: number;
  readonly hooks: AssignedVectors['hooks'];
  readonly sections: readonly StateSection[];
  private readonly owner: VectorsOwner;
  private readonly capability: Registers<MsixRegisters>;
  private readonly window: RegisterFile<WindowSpecs>;
  private readonly table: MsixWindow['reg'];

  constructor(owner: VectorsOwner, place: MsixPlace, capability: Registers<MsixRegisters>) {
    this.owner = owner;
    this.capability = capability;
    this.count = place.vectors;
    this.bar = place.bar;
    const { bytes } = owner.bars.find(({ index }) => index === place.bar)!;
    const table = msixWindow(`${owner.name}-msix`, bytes, place);
    this.table = table.reg;
    this.window = new RegisterFile(table, {
      PENDING: { read: (_stored, word) => this.pendingWord(word) },
      CONTROL: { write: (_written, _before, vector) => this.route(vector) },
      // An entry that is changed while unmasked takes effect as a whole when its data is written.
      DATA: { write: (_written, _before, vector) => this.route(vector) },
    });
    this.hooks = { 'msix.CONTROL': { write: () => this.routeAll() } };
    this.sections = [registerSection('msix', this.window)];
  }

  read(offset: number, size: number): number {
    return this.window.read(offset, size);
  }

  write(offset: number, size: number, value: number): void {
    this.window.write(offset, size, value);
  }

  routeAll(): void {
    for (let vector = 0; vector < this.count; vector++) this.route(vector);
  }

  reset(): void {
    this.window.reset('function');
  }

  /** Wires a vector to what its entry says. It stays wired while masked, so that messages become pending. */
  private route(vector: number): void {
    const { window, owner, table } = this;
    if (owner.hostVectors !== undefined) {
      const message = owner.hostVectors(vector);
      owner.backend.setVector(vector, message);
      owner.backend.maskVector(vector, message === undefined);
      return;
    }
    const { CONTROL } = this.capability;
    const config = owner.config();
    const enabled = config.getField(CONTROL, CONTROL.fields.ENABLE) === 1;
    const masked =
      config.getField(CONTROL, CONTROL.fields.FUNCTION_MASK) === 1 ||
      window.getField(table.CONTROL, table.CONTROL.fields.MASK, vector) === 1;
    const address = iovaOf(window.get(table.ADDRESS, vector), window.get(table.ADDRESS_UPPER, vector));
    const message: GuestMessage = { address, data: window.get(table.DATA, vector) };
    owner.backend.setVector(vector, enabled ? message : undefined);
    owner.backend.maskVector(vector, masked);
  }

  private pendingWord(word: number): number {
    let bits = 0;
    for (let vector = word * 32; vector < Math.min(this.count, word * 32 + 32); vector++) {
      if (this.owner.backend.isPending(vector)) bits |= 1 << (vector & 31);
    }
    return bits >>> 0;
  }
}

export class MsiVectors implements AssignedVectors {
  readonly count = 1;
  readonly bar = undefined;
  readonly hooks: AssignedVectors['hooks'];
  readonly sections: readonly StateSection[] = [];
  private readonly owner: VectorsOwner;
  private readonly capability: Registers<MsiRegisters>;

  constructor(owner: VectorsOwner, capability: Registers<MsiRegisters>) {
    this.owner = owner;
    this.capability = capability;
    const routed = { write: () => this.routeAll() };
    this.hooks = {
      'msi.CONTROL': routed,
      'msi.ADDRESS': routed,
      'msi.ADDRESS_UPPER': routed,
      'msi.DATA': routed,
      'msi.MASK': routed,
      'msi.PENDING': { read: () => (owner.backend.isPending(0) ? 1 : 0) },
    };
  }

  read(_offset: number, size: number): number {
    return size === 4 ? 0xffff_ffff : 2 ** (size * 8) - 1;
  }

  write(): void {}

  /** The message stays wired while masked, so that it becomes pending. */
  routeAll(): void {
    const { CONTROL, ADDRESS, ADDRESS_UPPER, DATA, MASK } = this.capability;
    const config = this.owner.config();
    const address = iovaOf(config.get(ADDRESS), config.get(ADDRESS_UPPER));
    const enabled = config.getField(CONTROL, CONTROL.fields.ENABLE) === 1;
    this.owner.backend.setVector(0, enabled ? { address, data: config.get(DATA) } : undefined);
    this.owner.backend.maskVector(0, config.getField(MASK, MASK.fields.VECTOR_0) === 1);
  }

  reset(): void {}
}
