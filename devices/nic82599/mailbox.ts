/**
 * The mailbox between one virtual function and the physical function's driver: sixteen dwords of memory, a lock that
 * one side holds at a time, and events. 82599 datasheet, 7.10.2.9
 *
 * Both handshakes work on it: the older one, where a side's event write lets go of the lock, and the newer one, where
 * the virtual function keeps it until it sees PFACK.
 */
import type { RegisterFile } from '../../base/registers.js';
import { pfRegisters } from './pf-registers.js';
import { vfRegisters } from './registers.js';

const vf = vfRegisters.MAILBOX.fields;
const pf = pfRegisters.MAILBOX.fields;

export interface MailboxOwner {
  /** Words of the virtual function's registers. */
  readonly words: Uint32Array;
  /** Nobody may change the mailbox from the other side now: its driver finds it locked. */
  stopped(): boolean;
  /** The virtual function sent a request or an acknowledgement. */
  virtualFunctionEvent(kind: 'request' | 'acknowledge'): void;
  /** The physical function's driver wants to drop what the virtual function has sent. */
  revoke(): void;
  /** The virtual function's mailbox cause. */
  interrupt(): void;
}

export class Mailbox {
  private readonly owner: MailboxOwner;
  private readonly word = vfRegisters.MAILBOX.word;

  constructor(owner: MailboxOwner) {
    this.owner = owner;
  }

  /** The virtual function wrote VFMAILBOX. */
  virtualFunctionWrote(written: number): void {
    // The lock first: a request written without VFU lets go of it in the same write.
    if (vf.VFU.get(written) === 0) this.set(vf.VFU.mask, false);
    else if (!this.has(vf.PFU.mask)) this.set(vf.VFU.mask, true);
    if (vf.ACK.get(written) === 1) this.owner.virtualFunctionEvent('acknowledge');
    if (vf.REQ.get(written) === 1) this.owner.virtualFunctionEvent('request');
  }

  /** The physical function's driver wrote PFMAILBOX. */
  physicalFunctionWrote(written: number): void {
    if (pf.RVFU.get(written) === 1) {
      this.set(vf.VFU.mask, false);
      this.owner.revoke();
    }
    if (pf.PFU.get(written) === 0) this.set(vf.PFU.mask, false);
    else if (!this.has(vf.VFU.mask) && !this.owner.stopped()) this.set(vf.PFU.mask, true);
    const status = pf.STS.get(written) === 1;
    const acknowledge = pf.ACK.get(written) === 1;
    if (status) this.set(vf.PFSTS.mask, true);
    if (acknowledge) this.set(vf.PFACK.mask, true);
    if (status || acknowledge) this.owner.interrupt();
  }

  /** What the physical function's driver reads: who holds the lock. */
  physicalFunctionRead(): number {
    return (this.has(vf.VFU.mask) ? pf.VFU.mask : 0) | (this.has(vf.PFU.mask) ? pf.PFU.mask : 0);
  }

  /** The physical function is being reset. */
  resetBegins(): void {
    this.set(vf.RSTI.mask, true);
    this.set(vf.PFU.mask, false);
  }

  /** Its driver is ready again. */
  resetDone(): void {
    if (!this.has(vf.RSTI.mask)) return;
    this.set(vf.RSTI.mask, false);
    this.set(vf.RSTD.mask, true);
  }

  private has(mask: number): boolean {
    return (this.owner.words[this.word]! & mask) !== 0;
  }

  private set(mask: number, on: boolean): void {
    if (on) this.owner.words[this.word]! |= mask;
    else this.owner.words[this.word]! &= ~mask;
  }
}

/** Sixteen requests and sixteen acknowledgements share a register of PFMBICR. */
const VFS_PER_REGISTER = 16;

/** Which virtual functions want the physical function's attention: PFMBICR and VFLRE. */
export class MailboxCauses {
  private readonly registers: RegisterFile<unknown>;

  constructor(registers: RegisterFile<unknown>) {
    this.registers = registers;
  }

  /** Sets the bit; true if its interrupt is not masked. */
  set(vfIndex: number, kind: 'request' | 'acknowledge'): boolean {
    const bit = bitOf(vfIndex, kind);
    const at = Math.floor(vfIndex / VFS_PER_REGISTER);
    const { words } = this.registers;
    words[pfRegisters.MBICR.word + at]! |= bit;
    return (words[pfRegisters.MBIMR.word + at]! & bit) !== 0;
  }

  clear(vfIndex: number): void {
    const at = Math.floor(vfIndex / VFS_PER_REGISTER);
    const both = bitOf(vfIndex, 'request') | bitOf(vfIndex, 'acknowledge');
    this.registers.words[pfRegisters.MBICR.word + at]! &= ~both;
  }

  has(vfIndex: number, kind: 'request' | 'acknowledge'): boolean {
    const at = Math.floor(vfIndex / VFS_PER_REGISTER);
    return (this.registers.words[pfRegisters.MBICR.word + at]! & bitOf(vfIndex, kind)) !== 0;
  }

  setReset(vfIndex: number): void {
    this.registers.words[resetWord(vfIndex)]! |= 1 << (vfIndex & 31);
  }

  clearReset(vfIndex: number): void {
    this.registers.words[resetWord(vfIndex)]! &= ~(1 << (vfIndex & 31));
  }

  hasReset(vfIndex: number): boolean {
    return (this.registers.words[resetWord(vfIndex)]! & (1 << (vfIndex & 31))) !== 0;
  }

  /** VFLREC: writing one clears. */
  clearResets(written: number, index: number): void {
    this.registers.words[index === 0 ? pfRegisters.VFLRE0.word : pfRegisters.VFLRE1.word]! &= ~written;
  }
}

const bitOf = (vfIndex: number, kind: 'request' | 'acknowledge'): number =>
  1 << ((vfIndex % VFS_PER_REGISTER) + (kind === 'request' ? 0 : VFS_PER_REGISTER));

const resetWord = (vfIndex: number): number =>
  vfIndex < 32 ? pfRegisters.VFLRE0.word : pfRegisters.VFLRE1.word;
