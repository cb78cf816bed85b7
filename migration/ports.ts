/**
 * What a migration needs of the world, as interfaces: the machine at either end, and the links between them. `vmm`
 * implements them with threads and sockets; the simulator with one thread and virtual time. Nothing in this folder
 * can tell which.
 */
import type { AtomicBitmap } from '../base/bitmap.js';
import type { Cancel } from '../base/clock.js';
import type { DeviceRecord } from '../base/device-record.js';
import type { Duration } from '../base/units.js';
import type { HashTable } from './hash-table.js';
import type { Timeline } from './timeline.js';

/** What both ends must agree on before a page is sent; compared field by field, each difference is named. */
export interface MachineDescription {
  readonly ramBytes: number;
  readonly vcpus: number;
  /** Pages [0, migratedPages) travel as RAM; the reserved range above does not. */
  readonly migratedPages: number;
  /** Where the image lies in guest RAM, and its content hash (hex): the destination takes its code from there. */
  readonly imageGpa: number;
  readonly imageBytes: number;
  readonly imageHash: string;
  /** Devices in the order their records travel, with the record version each writes. */
  readonly devices: readonly { readonly name: string; readonly version: number }[];
}

/** One vCPU as it travels. Globals are encoded as 8 raw bytes each, in the image's register order. */
export interface VcpuRecord {
  readonly index: number;
  readonly run: 'off' | 'running' | 'halted' | 'crashed';
  readonly registers: Uint8Array;
  /** The unwound call stack: the used bytes of the unwind area. */
  readonly unwind: Uint8Array;
  /** Posted-interrupt requests, 32 bytes. */
  readonly pir: Uint8Array;
  /** Absolute virtual-clock deadline of the one-shot timer in ns, or -1. */
  readonly timerDeadlineNs: number;
}

export interface MachineState {
  readonly vcpus: readonly VcpuRecord[];
  readonly devices: readonly DeviceRecord[];
  /** The virtual clock at the pause, ns since boot. */
  readonly clockNs: number;
}

export interface HarvestReport {
  /** Pages newly set in the target bitmap, by who wrote them: CPU stores only, host writes (DMA, console) only, both. */
  readonly cpuPages: number;
  readonly devicePages: number;
  readonly bothPages: number;
  /** How long each vCPU was away from the guest for this harvest, summed. */
  readonly cost: Duration;
}

/** What tells which pages a device wrote: dirty bits that its writes set, or that the pages are mapped for it at all. */
export type DmaTracking = 'dirty-bits' | 'mapped-pages';

/**
 * A device of the host that the guest was given, as facets: what an approach may ask of it. A machine has those that its
 * device and its slot have; an approach names the ones that it needs, and is refused where one is missing.
 */
export interface AssignedDevice {
  /** Name of the device on this machine: `vf0`. */
  readonly name: string;
  readonly identity: DeviceIdentity;
  readonly dma?: DmaWriter | undefined;
  /** Its own log, VFIO's DMA logging (features 6 to 8), of what is mapped at the start: that is fixed then. */
  readonly log?: WriteReporter | undefined;
  /** What the host reads from its rings. */
  readonly rings?: WriteReporter | undefined;
  readonly vfio?: VfioDevice | undefined;
  readonly slot?: DeviceSlot | undefined;
  readonly button?: AttentionButton | undefined;
  readonly firmware?: SlotFirmware | undefined;
  readonly guest?: GuestChannel | undefined;
  readonly agent?: GuestAgent | undefined;
  readonly fn?: HostFunction | undefined;
  readonly standby?: StandbyDevice | undefined;
  readonly replay?: FunctionReplay | undefined;
}

/**
 * What of a function the host reads before a reset, and puts back after one, with no help of VFIO's: configuration space and
 * interrupt table as the guest set them up, the registers of the function itself, and what the physical function's driver
 * knows of it.
 */
export interface FunctionReplay {
  /** As the function was when it was isolated. */
  readOut(): Promise<Uint8Array>;
  /** What another host read out, to be put back here. Throws a FerryError that names what does not fit. */
  take(record: Uint8Array): Promise<void>;
  /**
   * Puts back what was read out, once: only `configuration`, so that the function answers at its place but is as after
   * reset; or its `registers` and what the physical function's driver knows too. It begins no DMA before `release`. Throws
   * a FerryError that names what does not fit.
   */
  putBack(what: 'configuration' | 'registers'): Promise<void>;
  /** It works from here on, and sends each of its interrupts, in the place of those that went lost. */
  release(): Promise<void>;
}

/** What a host can do to a function that it has given away, whether that speaks VFIO migration or not. */
export interface HostFunction {
  /**
   * The function begins no DMA and sends no interrupt from here on, whatever the guest's registers say. Resolves with whether
   * those let it. Harmless while the gate is closed.
   */
  closeGate(): Promise<boolean>;
  /** What it may do is what the guest's registers say. Harmless while the gate is open. */
  openGate(): Promise<void>;
  /**
   * No bus mastering, no mappings, reset: it writes no more, and what it would still write is blocked and recorded. The guest
   * reads all ones from it, and is told nothing. Harmless if it is so already.
   */
  isolate(): Promise<void>;
  /** It answers again, at its place, as after power-on: its driver's settings are gone. Harmless if it was not isolated. */
  restore(): Promise<void>;
  /** Its root port reports an error of it (PCI Express 6.2). False if the guest has not enabled that, and never hears of it. */
  reportError(severity: 'fatal' | 'nonfatal'): Promise<boolean>;
  /** Calls `listener` when the driver begins or ends to take what comes for the device, until cancelled. */
  onReceiver(listener: (on: boolean) => void): Cancel;
  /** Tells the network that the function's station is here. */
  announce(): Promise<void>;
  /** The same at the moment at which its driver next begins to take what comes for it. Isolating it takes that back. */
  announceOnceReceiving(): Promise<void>;
}

/** What a driver may rely on of its device, and finds changed where another took its place. */
export interface DeviceIdentity {
  /** Vendor and device id, as `lspci -n` writes them: `8086:10ed`. */
  readonly kind: string;
  readonly revision: number;
  /** MSI-X vectors. */
  readonly vectors: number;
  /** Queue pairs, 0 of a device that is no NIC. */
  readonly queues: number;
  /** The address that the host's administrator set, `none` of a device that is no NIC. */
  readonly mac: string;
}

/**
 * What writes guest memory without a CPU. What it wrote is reported with the machine's own host writes: `readDirty` moves
 * it there, the machine's next `harvest` takes it.
 */
export interface DmaWriter {
  /** Every write that the device begins after this resolves is reported by a later `readDirty`; `undefined` ends it. */
  track(how: DmaTracking | undefined): Promise<void>;
  /**
   * Moves what the device wrote since the last call into the machine's log of host writes. When it resolves, the
   * clearing of the dirty bits has been invalidated and drained, so that the pages may be copied.
   */
  readDirty(): Promise<void>;
}

/** What tells of one device which pages it writes, in the machine's log of host writes, as with `DmaWriter`. */
export interface WriteReporter {
  /** Every write that the device begins after this resolves is in a later report. */
  start(): Promise<void>;
  /** Moves what was written since the last call into the machine's log; those writes are visible then. */
  report(): Promise<void>;
  /** Harmless while it does not watch. */
  stop(): Promise<void>;
}

/** What VFIO lets migrate, by its migration protocol v2. */
export interface VfioDevice {
  /** Goes to (or stays in) PRE_COPY, where it runs on; resolves with what its data stream has to give now. */
  preCopy(): Promise<Uint8Array>;
  /** Goes to PRE_COPY_P2P: it starts no DMA from here on, registers are answered. */
  quiesce(): Promise<void>;
  /** Goes to STOP_COPY, while no vCPU runs; resolves with the rest of its data stream. */
  stopCopy(): Promise<Uint8Array>;
  /** Goes back, from wherever it is, to what it was before `preCopy`: RUNNING, unless the machine was paused then. */
  resume(): Promise<void>;
  /** Destination: the next piece of the stream (RESUMING). Throws a FerryError that names what does not fit. */
  write(piece: Uint8Array): Promise<void>;
  /** Destination: the stream is whole; all of it is judged and taken over (STOP). The machine's `run` starts it. */
  load(): Promise<void>;
  /** Its complete state, while it is stopped: for verification and inspection. */
  save(): Promise<readonly DeviceRecord[]>;
  /** VFIO_DEVICE_RESET: as after power-on, RUNNING, whatever state it was in, ERROR too. The guest's driver notices. */
  reset(): Promise<void>;
}

/** The hot-plug slot that the device sits in, as the host moves it. PCI Express 6.7 */
export interface DeviceSlot {
  /** Whether a device is present, has power and a link, as the slot is now. */
  state(): Promise<SlotState>;
  /** Takes the device out; the guest notices by events alone. It is kept, for `insert`. */
  remove(): Promise<void>;
  /** As soon as the guest has turned the slot off the device is taken out; at once if it has. */
  takeOutWhenOff(): Promise<void>;
  /**
   * Takes that back: the device stays, or comes back, whatever the guest has come to with what it was asked. True if it had
   * turned the slot off.
   */
  keep(): Promise<boolean>;
  /** Puts the device back. `announce`: what tells the guest besides presence. */
  insert(announce: 'button' | 'link'): Promise<void>;
  /** Calls `listener` after each change by either side until cancelled; changes in quick succession count as one. */
  onChange(listener: (state: SlotState) => void): Cancel;
}

/** The attention button of the device's slot. 6.7.1.5 */
export interface AttentionButton {
  /** Asks the guest to turn the slot off (or on, if it is off): it may take its time, or not answer. */
  press(): Promise<void>;
}

/** ACPI, where it handles the device's slot. ACPI 6.5, 6.3 */
export interface SlotFirmware {
  /** Asks the guest to eject the device: it may take its time, or not answer. */
  requestEject(): Promise<void>;
}

export interface SlotState {
  readonly present: boolean;
  readonly powered: boolean;
  readonly link: boolean;
  readonly powerIndicator: SlotIndicator;
  readonly attentionIndicator: SlotIndicator;
}

export type SlotIndicator = 'on' | 'blink' | 'off';

/**
 * Words between an approach and the guest's driver of the device: one to four printable ASCII characters each, for a register
 * holds one. The guest has one request before it at a time, and the next once it has answered.
 */
export interface GuestChannel {
  /** What the guest says that it can do; empty until it has spoken. */
  features(): Promise<readonly string[]>;
  /**
   * Puts a request with up to four numbers (32 bits each) before the guest, when it has answered those before, and resolves
   * with its number. The answer comes as a message of that number, or not at all: see `askGuest`. One that the guest has not been
   * shown yet gives way to another of the same word, and is never answered. Rejects with `devices/channelFull` if very many wait.
   */
  request(word: string, args?: readonly number[]): Promise<number>;
  /** Calls `listener` with what the guest says, until cancelled; of messages in quick succession that answer nothing with the last. */
  onMessage(listener: (message: GuestMessage) => void): Cancel;
}

export interface GuestMessage {
  /** Of the request that it answers. */
  readonly sequence: number;
  readonly word: string;
  /** Four numbers, 32 bits each. */
  readonly args: readonly number[];
}

/** A program in the guest that the host may ask, in the protocol of QEMU's guest agent. One for all devices. */
export interface GuestAgent {
  /** Whether there is one, by what the guest says. */
  listens(): Promise<boolean>;
  /**
   * Has it execute the command. Resolves with its reply, or with undefined if `givenUp` resolves before that: the command may be
   * carried out all the same.
   */
  execute(command: string, args: object, givenUp: Promise<void>): Promise<AgentReply | undefined>;
}

/** A guest says it: of what it returns nothing is known, and texts are of any kind. */
export type AgentReply =
  | { readonly return: unknown }
  | { readonly error: { readonly class: string; readonly desc: string } };

/** Another device, with the same address, by which the guest can go on while this one is away. Virtio 1.2, 5.1.3 (STANDBY) */
export interface StandbyDevice {
  /** Why the guest could not go on by it now, in words; undefined if it can. */
  problem(): Promise<string | undefined>;
  /** The device is about to be taken away: whoever listens hears of it. */
  takeOver(): Promise<void>;
}

export interface SourceMachine {
  /** From here on, until `undefined`, what the machine's threads do for a migration is put down as well. */
  observe?(timeline: Timeline | undefined): void;
  readonly description: MachineDescription;
  readonly ram: Uint8Array;
  /** The assigned devices. `pause` and `resume` stop and start each unless it is stopped already. */
  readonly devices: readonly AssignedDevice[];
  /** Pages that the host's log (the devices' writes) named in any harvest since `startDirtyLog`. For the record. */
  readonly deviceDirtied?: AtomicBitmap | undefined;
  /** Turns CPU dirty logging on: every store from before this resolves is either logged or already in RAM. */
  startDirtyLog(): Promise<void>;
  stopDirtyLog(): Promise<void>;
  /**
   * Publishes and clears the dirty log into `into` (bits are set, never cleared). A page stored to before this call
   * and after the previous one has its bit set when it resolves.
   */
  harvest(into: AtomicBitmap): Promise<HarvestReport>;
  /** Auto-converge: percent of its time each vCPU is kept from running, 0 to 99. */
  throttle(percent: number): void;
  /** Stops every vCPU at a safepoint, unwound. */
  pause(): Promise<void>;
  /** Continues after `pause`; the virtual clock goes on from where it stood. */
  resume(): Promise<void>;
  /** Only while paused. */
  save(): Promise<MachineState>;
  /** After commit: this side never runs the guest again. */
  relinquish(): void;
}

export interface DestinationMachine {
  /** Valid after `accept`; see `SourceMachine`. */
  observe?(timeline: Timeline | undefined): void;
  /** Valid after `accept`. */
  readonly devices: readonly AssignedDevice[];
  /** How much of `run` went by until the assigned devices worked; there after `run`. */
  readonly deviceStart?: Duration | undefined;
  /** Refuses (FerryError) a source that this machine can't take over, naming every difference. */
  accept(description: MachineDescription): Promise<void>;
  /** Valid after `accept`. */
  readonly ram: Uint8Array;
  /** Starts workers and compiles the code from the pages that have arrived; idempotent. False: its pages are not here as they will be. */
  prepareCode(): Promise<boolean>;
  /** What comes from now on may be the last: what is done once in a while, and beside others, is done now or much later. */
  lastMayCome?(): void;
  /**
   * After `prepareCode`: asks of the machine's threads what `load` or `run` will ask of them, as far as that changes nothing.
   * How long it takes is how long they are expected to take.
   */
  rehearse?(what: 'load' | 'run'): Promise<void>;
  /**
   * Restores devices and vCPUs, and checks the image's hash. After it resolves, `run` can't fail for reasons of state.
   * `ramArrived`, if given, resolves when the last page is here: until then RAM says nothing; `load` rejects if it does.
   */
  load(state: MachineState, ramArrived?: Promise<void>): Promise<void>;
  /** State as loaded, read back from the machine itself, for verification. */
  save(): Promise<MachineState>;
  run(): Promise<void>;
  discard(): Promise<void>;
}

/** Ordered, reliable message link; `receive` resolves to undefined after the peer closed in good order. */
export interface ControlLink {
  send(message: Uint8Array): Promise<void>;
  /** One whole message. Rejects with a FerryError when the link breaks or a frame is not well-formed. */
  receive(): Promise<Uint8Array | undefined>;
  close(): void;
  /** Breaks it at once, for `reason`: what is on its way is lost, and what waits at either end fails. */
  cut?(reason: string): void;
}

/**
 * Where the destination's page workers connect to; travels in a control message. A socket can't be handed from one
 * thread to another, so each page worker of the source listens for itself: one port a channel.
 */
export interface DataEndpoint {
  readonly host: string;
  /** The port of each channel, in channel order. */
  readonly ports: readonly number[];
  /** Random secret of this migration, 32 hex digits: the first thing a data channel must present. */
  readonly token: string;
}

export interface DataPlaneOptions {
  readonly channels: number;
  /** Hash every page as it is sent and as it arrives, for the integrity root. */
  readonly integrity: boolean;
  /** Key of the page hash, chosen anew for each migration. */
  readonly hashSeed: number;
  /** Pages that may travel: [0, migratedPages). */
  readonly migratedPages: number;
  /** Pages that go before all others, since the destination can begin something with them. */
  readonly firstPages?: PageRange;
  /** What each channel does is put down here, under `channel0` and so on. */
  readonly timeline?: Timeline;
}

export interface PageRange {
  readonly firstPage: number;
  readonly pageCount: number;
}

/** What went over the data channels, this round or so far. Bytes are wire bytes, headers included. */
export interface TransferCount {
  /** Pages whose bytes travelled; `zeroPages` come on top. */
  readonly pages: number;
  readonly zeroPages: number;
  readonly bytes: number;
}

/**
 * The source's half of the data plane: N page workers that claim batches of a round's pages from shared memory, and
 * write straight from guest RAM to their channels.
 */
export interface SourceDataPlane {
  /** Starts listening; resolves with where the destination must connect. */
  open(options: DataPlaneOptions): Promise<DataEndpoint>;
  /** Resolves when all channels have connected and presented the token. */
  connected(): Promise<void>;
  /**
   * Sends every page whose bit is set in `pages`, clearing the bits as it claims them, then an end-of-round frame on
   * every channel; resolves when all of it was handed to the sockets. Rejects (FerryError) when a channel breaks.
   * After `stop()` it resolves early, end-of-round frames sent, with the bits of unsent pages still set.
   * Rounds count 1, 2, 3, ...; one at a time. The receivers hold back a round's frames until every channel has
   * delivered the round before, so that an older copy of a page never lands on a newer one.
   *
   * `channels`: the round is sent on the first so many only. For a last round too small to be worth waking more; no
   * other may follow it.
   */
  sendRound(round: number, pages: AtomicBitmap, channels?: number): Promise<TransferCount>;
  /** Bytes per second over all channels together; undefined lifts the limit. Takes effect within a batch. */
  limitBandwidth(bytesPerSecond: number | undefined): void;
  /** Live totals since `open`, cheap enough to poll for a progress display. */
  progress(): TransferCount;
  /** Makes a running `sendRound` return after the batches in hand. */
  stop(): void;
  /** Of each page as last sent. There from `open` on, if integrity was asked for; of no pages otherwise. */
  readonly hashes: HashTable;
  /** Ends all channels; a running `sendRound` or `connected` rejects. Valid in any state, also before `open` and twice. */
  close(): Promise<void>;
}

/** The destination's half: N page workers that connect to the source and read straight into guest RAM. */
export interface DestinationDataPlane {
  connect(endpoint: DataEndpoint, options: DataPlaneOptions): Promise<void>;
  /**
   * Resolves when every channel has delivered its end-of-round frame for `round`, or so many as `channels` says that it
   * was sent on; rejects if a channel breaks.
   */
  received(round: number, channels?: number): Promise<TransferCount>;
  /**
   * Resolves when as many of `firstPages` have come as there are, which is when each has come once; rejects if a channel breaks
   * before.
   */
  firstArrived(): Promise<void>;
  progress(): TransferCount;
  /** As on the source, of each page as last received. */
  readonly hashes: HashTable;
  /** Ends all channels; a waiting `connect` or `received` rejects. Valid in any state, also before `connect` and twice. */
  close(): Promise<void>;
}

/** Hashes of pages as they are in RAM now (not as sent), for verifying runs; two words a page. */
export interface PageHasher {
  /** `inBackground`: nobody waits, and other work of the host comes first. */
  hashAll(firstPage: number, pageCount: number, seed: number, inBackground?: boolean): Promise<Uint32Array>;
  /** Ends what it kept for the next time; called once the guest runs again, wherever. Harmless when called twice. */
  close(): Promise<void>;
}
