/**
 * Interrupt remapping (VT-d 5.1): what a device writes into the interrupt range names a table entry, and the entry,
 * not the device, says which vector goes where. Present, valid entries are cached until software invalidates them.
 */

import { bits } from '../base/bits.js';
import {
  breaksReserved,
  IRTE_BYTES,
  postedEntry,
  remappedEntry,
  reservedWords,
  SVT_BUS_RANGE,
  SVT_NONE,
  SVT_SOURCE_ID,
} from './entries.js';
import { FAULT } from './fault-reasons.js';
import { type FaultLog, REQUEST_WRITE } from './faults.js';
import type { HostMemory } from './host-memory.js';
import type { InterruptSink } from './interrupt-sink.js';
import { postInterrupt } from './posted.js';

/** 5.1.2.2: address and data of an interrupt request in remappable format. */
export const requestAddress = bits({ HANDLE_HIGH: [2, 1], SHV: [3, 1], FORMAT: [4, 1], HANDLE_LOW: [5, 15] });
const SUBHANDLE_BITS = 16;

/** Source-id bits that each qualifier leaves out of the comparison (9.9, SQ). */
const QUALIFIER_IGNORES = [0b000, 0b100, 0b110, 0b111];
/** Delivery modes that exist; 3 and 6 do not. */
const DELIVERY_MODES = 0b1011_0111;

/** A cached table entry. */
interface RemappingEntry {
  readonly posted: boolean;
  readonly vector: number;
  readonly destination: number;
  readonly deliveryMode: number;
  readonly logical: boolean;
  readonly level: boolean;
  readonly descriptor: number;
  readonly urgent: boolean;
  readonly validation: number;
  readonly qualifier: number;
  readonly source: number;
  readonly faultsDisabled: boolean;
}

export class InterruptRemapper {
  enabled = false;
  /** GSTS.CFIS: compatibility-format requests pass while remapping is enabled. */
  compatibility = false;
  /** Table as latched by the set-interrupt-table-pointer command. */
  table = 0;
  entryCount = 0;
  /** EIME: 32-bit destination ids. */
  extended = false;

  private readonly memory: HostMemory;
  private readonly faults: FaultLog;
  private readonly sink: InterruptSink;
  private readonly words = new Uint32Array(4);
  private readonly reservedRemapped: Uint32Array;
  private readonly reservedPosted: Uint32Array;
  private readonly cache = new Map<number, RemappingEntry>();

  constructor(memory: HostMemory, faults: FaultLog, sink: InterruptSink) {
    this.memory = memory;
    this.faults = faults;
    this.sink = sink;
    this.reservedRemapped = reservedWords(remappedEntry, 4, 64);
    this.reservedPosted = reservedWords(postedEntry, 4, 64);
  }

  /** An interrupt request of `source`: a dword written to `address`, which lies in the interrupt range. */
  request(source: number, address: number, data: number): void {
    if (!this.enabled) {
      this.sink.message(address, 0, data);
      return;
    }
    if (requestAddress.FORMAT.get(address) === 0) {
      if (this.compatibility && !this.extended) this.sink.message(address, 0, data);
      else this.block(FAULT.IR_COMPATIBILITY_BLOCKED, source, 0, false);
      return;
    }
    const withSubhandle = requestAddress.SHV.get(address) === 1;
    const handle = requestAddress.HANDLE_LOW.get(address) | (requestAddress.HANDLE_HIGH.get(address) << 15);
    const subhandle = data & (2 ** SUBHANDLE_BITS - 1);
    const index = withSubhandle ? handle + subhandle : handle;
    if (withSubhandle ? data >>> SUBHANDLE_BITS !== 0 : data !== 0) {
      this.block(FAULT.IR_REQUEST_RESERVED, source, index, false);
      return;
    }
    if (index >= this.entryCount) {
      this.block(FAULT.IR_INDEX_BEYOND_TABLE, source, index, false);
      return;
    }
    const entry = this.cache.get(index) ?? this.fetch(source, index);
    if (entry === undefined) return;
    if (!admits(entry, source)) {
      this.block(FAULT.IR_SOURCE_VERIFICATION, source, index, entry.faultsDisabled);
      return;
    }
    const { descriptor, vector, urgent } = entry;
    if (!entry.posted) {
      this.sink.remapped(entry.destination, vector, entry.deliveryMode, entry.logical, entry.level);
    } else if (!postInterrupt(this.memory, descriptor, vector, urgent, this.extended, this.sink)) {
      this.block(FAULT.IR_POSTED_DESCRIPTOR_ACCESS, source, index, entry.faultsDisabled);
    }
  }

  invalidateAll(): void {
    this.cache.clear();
  }

  /** Entries whose index equals `index` but for the lowest `maskBits` bits. */
  invalidateIndex(index: number, maskBits: number): void {
    const span = 2 ** Math.min(maskBits, 16);
    const first = index - (index % span);
    if (span > this.cache.size) {
      for (const cached of this.cache.keys()) {
        if (cached >= first && cached < first + span) this.cache.delete(cached);
      }
      return;
    }
    for (let i = first; i < first + span; i++) this.cache.delete(i);
  }

  private fetch(source: number, index: number): RemappingEntry | undefined {
    const { words } = this;
    const common = remappedEntry;
    if (!this.memory.load(this.table + index * IRTE_BYTES, words, 4)) {
      return this.block(FAULT.IR_TABLE_ACCESS, source, index, false);
    }
    const faultsDisabled = common.FPD.read(words, 0) === 1;
    if (common.P.read(words, 0) === 0) {
      return this.block(FAULT.IR_ENTRY_NOT_PRESENT, source, index, faultsDisabled);
    }
    const posted = common.IM.read(words, 0) === 1;
    const validation = common.SVT.read(words, 0);
    const destination = common.DST.read(words, 0);
    const deliveryMode = common.DLM.read(words, 0);
    const broken =
      breaksReserved(words, posted ? this.reservedPosted : this.reservedRemapped) ||
      validation > SVT_BUS_RANGE ||
      (!posted && !this.extended && (destination & ~0xff00) !== 0) ||
      (!posted && ((DELIVERY_MODES >>> deliveryMode) & 1) === 0);
    if (broken) return this.block(FAULT.IR_ENTRY_RESERVED, source, index, faultsDisabled);
    const entry = {
      posted,
      vector: common.VECTOR.read(words, 0),
      destination: this.extended ? destination : destination >>> 8,
      deliveryMode,
      logical: common.DM.read(words, 0) === 1,
      level: common.TM.read(words, 0) === 1,
      descriptor: postedEntry.PDA_HIGH.read(words, 0) * 2 ** 32 + postedEntry.PDA_LOW.readInPlace(words, 0),
      urgent: postedEntry.URG.read(words, 0) === 1,
      validation,
      qualifier: common.SQ.read(words, 0),
      source: common.SID.read(words, 0),
      faultsDisabled,
    };
    this.cache.set(index, entry);
    return entry;
  }

  /** Records a blocked request; the index of its entry stands in the upper 16 bits of the fault information. */
  private block(reason: number, source: number, index: number, faultsDisabled: boolean): undefined {
    this.faults.record(
      reason,
      source,
      (index & 0xffff) * 2 ** 48,
      -1,
      REQUEST_WRITE,
      false,
      false,
      faultsDisabled,
    );
    return undefined;
  }
}

/** Whether the entry may be used by `source` (9.9, SVT). */
function admits(entry: RemappingEntry, source: number): boolean {
  switch (entry.validation) {
    case SVT_NONE:
      return true;
    case SVT_SOURCE_ID:
      return ((entry.source ^ source) & 0xffff & ~QUALIFIER_IGNORES[entry.qualifier]!) === 0;
    default: {
      const bus = source >>> 8;
      return bus >= entry.source >>> 8 && bus <= (entry.source & 0xff);
    }
  }
}
