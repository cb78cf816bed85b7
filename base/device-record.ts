/**
 * The one contract by which a device is saved, restored and inspected. A record is self-describing (name, version)
 * and opaque in between; `restore` judges every byte of it, because it comes from a peer.
 */
export interface DeviceRecord {
  /** Instance name on this machine: `console`, `root-port0`, `vf0`. */
  readonly name: string;
  /** Version of the record's format; a device states which versions it can restore. */
  readonly version: number;
  readonly state: Uint8Array;
}

export interface SaveableDevice {
  readonly name: string;
  readonly version: number;
  /** The complete state. Called only while nothing runs the device. */
  save(): DeviceRecord;
  /** Takes over `record`; throws a FerryError naming the difference and changes nothing if it can't. */
  restore(record: DeviceRecord): void;
  /** The record in words: register or field names and values, for `ferry inspect`. Never throws for bad bytes. */
  describe(record: DeviceRecord): readonly (readonly [name: string, value: string])[];
}
