/** What an assigned function has behind it on the host's side: the device itself, and where its interrupts go. */
import type { Iova } from '../../base/units.js';

/** The physical function behind it, as the host interface offers it. */
export interface AssignedBackend {
  /** Reads 1, 2 or 4 bytes of a BAR other than the one with the MSI-X table. */
  readBar(bar: number, offset: number, size: number): number;
  writeBar(bar: number, offset: number, size: number, value: number): void;
  setBusMaster(on: boolean): void;
  /**
   * Where the device's vector goes: the guest's message, or `undefined` for nowhere. A message in the interrupt range
   * is the guest's interrupt; one outside it is a memory write that only the guest is to suffer from.
   */
  setVector(vector: number, message: GuestMessage | undefined): void;
  /** Holds the vector's messages back; they become pending in the device. */
  maskVector(vector: number, masked: boolean): void;
  isPending(vector: number): boolean;
  /** Function-level reset. */
  reset(): void;
}

export interface GuestMessage {
  readonly address: Iova;
  readonly data: number;
}

/** The host's interrupt remapping: turns a guest's message into the one that the device is to send. */
export interface MessageRouter {
  /** `undefined` for a message that leads nowhere: the vector is then masked in the device. */
  route(vector: number, message: GuestMessage | undefined): GuestMessage | undefined;
}
