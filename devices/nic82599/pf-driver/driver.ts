/**
 * The physical function's driver: what Linux's ixgbe does for virtual functions, on the host side. It reaches its
 * device only through registers, and acts only when the device interrupts; no vCPU is needed for it to answer.
 */
import type { Scheduler } from '../../../base/clock.js';
import { invariant } from '../../../base/errors.js';
import { type Duration, microseconds, milliseconds } from '../../../base/units.js';
import { formatMac } from '../../ethernet/addresses.js';
import {
  CAUSE_LINK,
  MAX_FRAME_RESET,
  POOLS,
  pfRegisters as reg,
  VLAN_INSERT_DEFAULT,
} from '../pf-registers.js';
import { QUEUES_PER_POOL, vfRegisters } from '../registers.js';
import type { DriverStateKeeper } from '../state.js';
import { FilterTables, isZero, type MacAddress, macWords } from './filters.js';
import {
  MESSAGE_ACK,
  MESSAGE_CTS,
  MESSAGE_NACK,
  messageHeader,
  OP_CONTROL,
  OP_RESET,
  opcodeSince,
  XCAST_BROADCAST,
} from './messages.js';
import { type Missed, MissedChanges } from './missed.js';
import { beyondPolicy, DEFAULT_POLICY, type VfPolicy } from './policy.js';
import { change, offsetOf, poolBit, poolHalf, poolOffset, type RegisterPort } from './register-port.js';
import {
  applyXcast,
  changeReceiveMode,
  FILTER_REQUESTS,
  handlers,
  JUMBO_FRAME_BYTES,
  STANDARD_FRAME_BYTES,
} from './requests.js';
import { setUpDevice, startDevice } from './setup.js';
import { decodeVfInfo, encodeVfInfo, MAILBOX_WORDS, newVfInfo, type VfInfo } from './vf-info.js';

export interface PfDriverOptions {
  readonly port: RegisterPort;
  readonly scheduler: Scheduler;
  readonly mac: MacAddress;
  /** Policy of each VF; their number is how many the driver serves. */
  readonly vfs: readonly Partial<VfPolicy>[];
  /** Largest frame of the host itself, FCS included. */
  readonly frameBytesMax?: number;
  /** Words of the RSS key and 0 or 1 for each of the 128 entries of the redirection table. */
  readonly rssKey?: readonly number[];
  /** A VF stands still, as in a migration: its mailbox is left alone, and for it no time passes. */
  readonly stopped: (vf: number) => boolean;
  /** A VF's driver has changed which frames it lets in, or has reset the VF, which lets none in then. */
  readonly filterChanged?: (vf: number) => void;
}

const RETRY_AFTER = microseconds(50);
/** A VF that holds the mailbox for a second does not get its answer. */
const RETRIES_MAX = 20_000;
/** How often it is looked whether a VF that stands still goes on. */
const LOOK_AFTER = milliseconds(1);
const mailboxWord = (vf: number, word: number): number => poolOffset(offsetOf(vfRegisters.MBMEM, word), vf);

export class PfDriver implements DriverStateKeeper {
  private readonly options: PfDriverOptions;
  private readonly port: RegisterPort;
  private readonly filters: FilterTables;
  private readonly vfs: VfInfo[];
  private readonly retries: number[];
  private readonly retryArmed: boolean[];
  private readonly missed: MissedChanges;
  private readonly message = new Uint32Array(MAILBOX_WORDS);

  constructor(options: PfDriverOptions) {
    invariant(options.vfs.length < POOLS, `${options.vfs.length} VFs leave no pool to the host`);
    this.options = options;
    this.port = options.port;
    this.filters = new FilterTables(options.port);
    this.vfs = options.vfs.map((policy) => newVfInfo({ ...DEFAULT_POLICY, ...policy }));
    this.retries = this.vfs.map(() => 0);
    this.retryArmed = this.vfs.map(() => false);
    this.missed = new MissedChanges(this.vfs.length);
  }

  private get frameBytesMax(): number {
    return this.options.frameBytesMax ?? MAX_FRAME_RESET;
  }

  /** What is known of a VF, for monitors and tests. */
  info(vf: number): Readonly<VfInfo> {
    return this.vfs[vf]!;
  }

  /** Resets the device and sets it up for virtual functions; they get to work once each has asked for its reset. */
  start(): void {
    const { port, filters } = this;
    const own = this.vfs.length;
    port.write(reg.EIMC.offset, 0xffff_ffff);
    port.write(reg.CTRL.offset, reg.CTRL.fields.RST.mask);
    filters.clear();
    for (const [vf, info] of this.vfs.entries()) {
      this.vfs[vf] = { ...newVfInfo(info.policy), mac: info.policy.mac };
    }
    setUpDevice(port, { ownPool: own, frameBytes: this.frameBytesMax, rssKey: this.options.rssKey });
    for (let vf = 0; vf < this.vfs.length; vf++) {
      this.setSpoofCheck(vf);
      this.program(vf);
    }
    this.startOwnPool(own);
    startDevice(port);
  }

  /** The device's interrupt. Handles what is there now; what comes meanwhile interrupts again. */
  interrupt(): void {
    const { port } = this;
    const causes = port.read(reg.EICR.offset);
    for (let vf = 0; vf < this.vfs.length; vf++) {
      const [reset, acknowledged] = [this.takeReset(vf), this.takeCause(vf, 'acknowledge')];
      const asked = this.takeCause(vf, 'request');
      // A reset takes back what was asked before: what is asked now is newer, and lies in the mailbox.
      if (reset) this.resetEvent(vf, asked);
      if (acknowledged) this.acknowledged(vf);
      if (asked) this.receive(vf);
    }
    if ((causes & CAUSE_LINK) !== 0) this.pingAll();
  }

  /** Tells every VF that something about the link has changed. */
  pingAll(): void {
    for (let vf = 0; vf < this.vfs.length; vf++) this.unlessStopped(vf, 'link', () => this.ping(vf));
  }

  /** Now, or when a VF that stands still goes on. */
  private unlessStopped(vf: number, what: Missed, tell: () => void): void {
    if (this.options.stopped(vf)) {
      this.missed.add(vf, what);
      this.deliverLater(vf, LOOK_AFTER);
    } else tell();
  }

  /**
   * Changes what of a VF's policy may change while it runs. With another link or trust the guest is to start over: its
   * right to send is taken back, and a ping tells it to ask.
   */
  setPolicy(vf: number, change: Partial<Omit<VfPolicy, 'mac' | 'portVlan'>>): void {
    const info = this.vfs[vf]!;
    const before = info.policy;
    info.policy = { ...before, ...change };
    this.setSpoofCheck(vf);
    const { linkEnabled, trusted } = info.policy;
    if (linkEnabled === before.linkEnabled && trusted === before.trusted) return;
    this.unlessStopped(vf, 'policy', () => this.startOver(vf));
  }

  /** Tells a VF to reset itself, so that it works as its policy has it now. */
  private startOver(vf: number): void {
    const info = this.vfs[vf]!;
    this.enableQueues(vf, info.policy.linkEnabled && info.clearToSend);
    info.clearToSend = false;
    this.ping(vf);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // State of a VF that moves

  save(vf: number): Uint8Array {
    return encodeVfInfo(this.vfs[vf]!);
  }

  judge(vf: number, state: Uint8Array): string | undefined {
    const known = this.takeOver(vf, state);
    return typeof known === 'string' ? known : undefined;
  }

  /** What another host's driver knew, under the policy here; a string says what stands in the way. */
  private takeOver(vf: number, state: Uint8Array): VfInfo | string {
    const { policy } = this.vfs[vf]!;
    const known = decodeVfInfo(state, policy);
    if (typeof known === 'string') return known;
    const granted = this.frameBytesMax > MAX_FRAME_RESET ? JUMBO_FRAME_BYTES : STANDARD_FRAME_BYTES;
    if (known.frameBytesMax > granted) {
      return `it takes frames of ${known.frameBytesMax} bytes there, and this host grants ${granted} at most`;
    }
    return beyondPolicy(known, policy) ?? known;
  }

  /** Takes over what another host's driver knew; returns what stands in the way. */
  restore(vf: number, state: Uint8Array): string | undefined {
    const before = this.vfs[vf]!;
    const after = this.takeOver(vf, state);
    if (typeof after === 'string') return after;
    this.vfs[vf] = after;
    this.retries[vf] = 0;
    this.missed.take(vf);
    if (this.program(vf)) return undefined;
    this.vfs[vf] = before;
    this.program(vf);
    return 'the address or VLAN filters of this NIC are used up';
  }

  /** A VF whose state came from another host goes on here: is told if its link is not what it was there. */
  arrived(vf: number): void {
    const { policy, clearToSend, knownLink } = this.vfs[vf]!;
    const hasOther = this.missed.take(vf) === 'policy';
    // What came with it says what the policy there was; only a reset has it ask for its link again.
    const half = poolHalf(vf);
    const sent = (this.port.read(offsetOf(reg.VFTE, half)) & poolBit(vf, half)) !== 0;
    if (hasOther || (sent !== policy.linkEnabled && (sent || clearToSend))) this.startOver(vf);
    else if (this.hasLink(vf) !== knownLink) this.ping(vf);
  }

  private hasLink(vf: number): boolean {
    const up = reg.LINKS.fields.UP.get(this.port.read(reg.LINKS.offset)) === 1;
    return up && this.vfs[vf]!.policy.linkEnabled;
  }

  describe(state: Uint8Array): readonly (readonly [string, string])[] {
    const info = decodeVfInfo(state, DEFAULT_POLICY);
    if (typeof info === 'string') return [['damaged', info]];
    return [
      ['mac', info.mac === undefined ? 'none' : formatMac(Uint8Array.from(info.mac))],
      ['apiVersion', String(info.apiVersion)],
      ['clearToSend', String(info.clearToSend)],
      ['receiveMode', String(info.xcast)],
      ['vlans', [...info.vlans].join(' ')],
      ['multicastHashes', String(info.hashes.length)],
      ['additionalAddresses', String(info.macvlans.length)],
      ['frameBytesMax', String(info.frameBytesMax)],
      ['pendingReply', String(info.pendingReply !== undefined)],
      ['unreadReply', String(info.unread)],
      ['pendingPing', String(info.pingWaits)],
      ['knownLink', String(info.knownLink)],
    ];
  }

  /** Programs the tables from what is known of the VF; false if they have no room. */
  private program(vf: number): boolean {
    const info = this.vfs[vf]!;
    const { filters, port } = this;
    filters.removeAllAddresses(vf);
    filters.removeAllVlans(vf);
    this.setPortVlan(vf);
    let room = true;
    for (const mac of [...(info.mac === undefined ? [] : [info.mac]), ...info.macvlans]) {
      room = filters.addAddress(vf, mac) && room;
    }
    for (const vlan of info.vlans) room = filters.addVlan(vf, vlan) && room;
    applyXcast(port, vf, info.xcast);
    this.multicastChanged();
    if (info.frameBytesMax > reg.MAXFRS.fields.BYTES.get(port.read(reg.MAXFRS.offset))) {
      port.write(reg.MAXFRS.offset, reg.MAXFRS.fields.BYTES.set(0, info.frameBytesMax));
    }
    this.deliver(vf);
    return room;
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Resets

  /** A VF was reset: it starts anew, without queues, filters and agreed API version. */
  private resetEvent(vf: number, asked = false): void {
    const { filters, port } = this;
    const info = this.vfs[vf]!;
    filters.removeAllVlans(vf);
    info.vlans.clear();
    filters.removeAllAddresses(vf);
    info.macvlans = [];
    info.hashes = [];
    info.xcast = XCAST_BROADCAST;
    info.frameBytesMax = 0;
    info.pendingReply = undefined;
    info.unread = false;
    info.apiVersion = 0;
    this.multicastChanged();
    this.setPortVlan(vf);
    applyXcast(port, vf, XCAST_BROADCAST);
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) {
      // A reset of the VF does not stop its queues; switching one on and off does. What else is set there is the guest's, and
      // a queue that nobody has set up is left alone.
      const offset = poolOffset(offsetOf(vfRegisters.TXDCTL, queue), vf);
      const { ENABLE } = vfRegisters.TXDCTL.fields;
      if (port.read(offset) === 0) continue;
      change(port, offset, 0, ENABLE.mask);
      change(port, offset, ENABLE.mask, 0);
    }
    for (let i = 0; !asked && i < MAILBOX_WORDS; i++) port.write(mailboxWord(vf, i), 0);
    this.options.filterChanged?.(vf);
  }

  /** RESET: the VF gets its address and may use its queues. */
  private answerReset(vf: number): void {
    const { port, filters, message } = this;
    this.resetEvent(vf);
    const info = this.vfs[vf]!;
    const receives = info.mac !== undefined && !isZero(info.mac) && filters.addAddress(vf, info.mac);
    // Only an address that the host gave is told; a VF that chose its own is to choose again.
    const given = receives && info.policy.mac !== undefined;
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) {
      // Head write-back survives a VF's reset and would go to memory that is no longer the ring's.
      port.write(poolOffset(offsetOf(vfRegisters.TDWBAL, queue), vf), 0);
      port.write(poolOffset(offsetOf(vfRegisters.TDWBAH, queue), vf), 0);
    }
    this.enableQueues(vf, info.policy.linkEnabled);
    info.clearToSend = true;
    info.knownLink = this.hasLink(vf);
    const [low, high] = given ? macWords(info.mac!) : [0, 0];
    message.fill(0);
    message[0] = (OP_RESET | (given ? MESSAGE_ACK : MESSAGE_NACK)) >>> 0;
    message[1] = low;
    message[2] = high;
    message[3] = 0;
    this.reply(vf, 4);
  }

  private enableQueues(vf: number, on: boolean): void {
    const bit = poolBit(vf, poolHalf(vf));
    for (const register of [reg.VFTE, reg.VFRE]) {
      change(this.port, offsetOf(register, poolHalf(vf)), bit, on ? bit : 0);
    }
  }

  /** VLAN 0 for every VF, or the port's VLAN, which then is all it has, and which it does not see. */
  private setPortVlan(vf: number): void {
    const { portVlan } = this.vfs[vf]!.policy;
    const { AUPE } = reg.VMOLR.fields;
    this.filters.addVlan(vf, portVlan ?? 0);
    if (portVlan === undefined) changeReceiveMode(this.port, vf, 0, AUPE.mask);
    else changeReceiveMode(this.port, vf, AUPE.mask, 0);
    const { TAG, ACTION } = reg.VMVIR.fields;
    const value = portVlan === undefined ? 0 : ACTION.set(TAG.set(0, portVlan), VLAN_INSERT_DEFAULT);
    this.port.write(offsetOf(reg.VMVIR, vf), value);
    for (let queue = 0; queue < QUEUES_PER_POOL; queue++) {
      const { ENABLE, WRITE, QUEUE, HIDE_VLAN } = reg.QDE.fields;
      const flags = ENABLE.mask | WRITE.mask | (portVlan === undefined ? 0 : HIDE_VLAN.mask);
      this.port.write(reg.QDE.offset, QUEUE.set(flags, vf * QUEUES_PER_POOL + queue));
    }
  }

  /** It may send from addresses and in VLANs that are its own. */
  private setSpoofCheck(vf: number): void {
    const offset = offsetOf(reg.VFSPOOF, vf >>> 3);
    const { MAC, VLAN } = reg.VFSPOOF.fields;
    const bit = 1 << (vf & 7);
    const both = MAC.set(VLAN.set(0, bit), bit);
    change(this.port, offset, both, this.vfs[vf]!.policy.spoofCheck ? both : 0);
  }

  /** The pool behind the last VF is the host's own. */
  private startOwnPool(pool: number): void {
    const { port, filters } = this;
    filters.addAddress(pool, this.options.mac);
    filters.addVlan(pool, 0);
    const { AUPE, BAM, ROMPE } = reg.VMOLR.fields;
    changeReceiveMode(port, pool, 0, AUPE.mask | BAM.mask | ROMPE.mask);
    this.enableQueues(pool, true);
  }

  private multicastChanged(): void {
    const all = new Set<number>();
    for (const info of this.vfs) for (const hash of info.hashes) all.add(hash);
    this.filters.setMulticast(all);
  }

  // -------------------------------------------------------------------------------------------------------------------
  // Mailbox

  private takeReset(vf: number): boolean {
    const half = poolHalf(vf);
    const register = half === 0 ? reg.VFLRE0 : reg.VFLRE1;
    if ((this.port.read(register.offset) & poolBit(vf, half)) === 0) return false;
    this.port.write(offsetOf(reg.VFLREC, half), poolBit(vf, half));
    return true;
  }

  private takeCause(vf: number, kind: 'request' | 'acknowledge'): boolean {
    const { VFREQ, VFACK } = reg.MBICR.fields;
    const offset = offsetOf(reg.MBICR, vf >>> 4);
    const field = kind === 'request' ? VFREQ : VFACK;
    const bit = (1 << ((vf & 15) + field.shift)) >>> 0;
    if ((this.port.read(offset) & bit) === 0) return false;
    this.port.write(offset, bit);
    return true;
  }

  /** Takes the lock; false while the VF holds it. */
  private lock(vf: number): boolean {
    const { PFU } = reg.MAILBOX.fields;
    const offset = offsetOf(reg.MAILBOX, vf);
    this.port.write(offset, PFU.mask);
    return PFU.get(this.port.read(offset)) === 1;
  }

  /** Reads a request and answers it. A VF that keeps the lock until it is acknowledged is read without. */
  private receive(vf: number): void {
    const { port, message } = this;
    const info = this.vfs[vf]!;
    this.lock(vf);
    for (let i = 0; i < MAILBOX_WORDS; i++) message[i] = port.read(mailboxWord(vf, i));
    port.write(offsetOf(reg.MAILBOX, vf), reg.MAILBOX.fields.ACK.mask);
    const header = message[0]!;
    if ((header & (MESSAGE_ACK | MESSAGE_NACK)) !== 0) return;
    const opcode = messageHeader.OPCODE.get(header);
    if (opcode === OP_RESET) {
      this.answerReset(vf);
      return;
    }
    if (!info.clearToSend) {
      message[0] = (header | MESSAGE_NACK) >>> 0;
      this.reply(vf, 1);
      return;
    }
    const handler = handlers[opcode];
    const since = opcodeSince[opcode];
    const words =
      handler === undefined || since === undefined || info.apiVersion < since
        ? 0
        : handler({
            vf,
            info,
            port,
            filters: this.filters,
            words: message,
            hostJumbo: this.frameBytesMax > MAX_FRAME_RESET,
            multicastChanged: () => this.multicastChanged(),
          });
    if (words > 0 && FILTER_REQUESTS.has(opcode)) this.options.filterChanged?.(vf);
    message[0] = (header | (words > 0 ? MESSAGE_ACK : MESSAGE_NACK) | MESSAGE_CTS) >>> 0;
    this.reply(vf, Math.max(1, words));
  }

  /** It goes out when no answer waits, or lies there unread, that it would replace. */
  private ping(vf: number): void {
    const info = this.vfs[vf]!;
    info.pingWaits = true;
    this.retries[vf] = 0;
    this.deliver(vf);
  }

  private acknowledged(vf: number): void {
    this.vfs[vf]!.unread = false;
    this.deliver(vf);
  }

  /** Sends the first `count` words of the message, now or when the VF lets go of the mailbox. */
  private reply(vf: number, count: number): void {
    this.vfs[vf]!.pendingReply = this.message.slice(0, count);
    this.retries[vf] = 0;
    this.deliver(vf);
  }

  /** Puts what waits for the VF into its mailbox, the answer first, or tries again later. */
  private deliver(vf: number): void {
    const info = this.vfs[vf]!;
    const stopped = this.options.stopped(vf);
    if (!stopped && this.missed.has(vf)) this.arrived(vf);
    const { pendingReply } = info;
    if (pendingReply === undefined && !info.pingWaits && !this.missed.has(vf)) return;
    if (stopped) {
      this.deliverLater(vf, LOOK_AFTER);
      return;
    }
    const patient = this.retries[vf]! < RETRIES_MAX;
    const mayWrite = pendingReply !== undefined || !info.unread || !patient;
    if (mayWrite && this.lock(vf)) {
      this.put(vf, pendingReply ?? this.pingOf(info));
      if (pendingReply === undefined) {
        info.pingWaits = false;
        info.knownLink = this.hasLink(vf);
      }
      info.pendingReply = undefined;
      info.unread = pendingReply !== undefined;
    } else if (!patient) {
      info.pendingReply = undefined;
      info.pingWaits = false;
    }
    this.retries[vf]!++;
    if (info.pendingReply !== undefined || info.pingWaits) this.deliverLater(vf, RETRY_AFTER);
  }

  private pingOf({ clearToSend }: VfInfo): Uint32Array {
    return Uint32Array.of((OP_CONTROL | (clearToSend ? MESSAGE_CTS : 0)) >>> 0);
  }

  private put(vf: number, words: Uint32Array): void {
    for (let i = 0; i < words.length; i++) this.port.write(mailboxWord(vf, i), words[i]!);
    this.port.write(offsetOf(reg.MAILBOX, vf), reg.MAILBOX.fields.STS.mask);
  }

  /** One timer a VF, however many requests it floods us with. */
  private deliverLater(vf: number, after: Duration): void {
    if (this.retryArmed[vf]) return;
    this.retryArmed[vf] = true;
    this.options.scheduler.after(after, () => {
      this.retryArmed[vf] = false;
      this.deliver(vf);
    });
  }
}
