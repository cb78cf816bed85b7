/**
 * Memory that only messages reach. What the device is going to read is asked for ahead, and it begins its work when the answers
 * are there (decision 53); what it writes is sent without waiting, and whoever has to come behind it, an interrupt or a reply, is held
 * back until the client has carried it out (`whenWritten`). Decision 60.
 */
import { DMA_READS, DMA_WRITES } from '../../base/dma.js';
import { KIB, MIB } from '../../base/units.js';
import { AskedMemory } from './asked-memory.js';
import { COMMAND, dmaAccess } from './protocol.js';

/** The client, as who has memory. */
export interface MemoryMessages {
  /** Sends a command; `then` has the payload of its answer, undefined for an error, and is not called once the client is gone. */
  request(command: number, payload: Uint8Array, then: (answer: Uint8Array | undefined) => void): void;
}

/**
 * Of one message. QEMU writes a reply to its socket once and takes what of it was written for the whole: a longer one would be
 * cut, and all that follows misread.
 */
const MESSAGE_DATA_BYTES_MAX = 128 * KIB;
/** Requests for memory that are under way at a time. */
const READS_MAX = 64;
/** What is kept of answers, and of those to come: twice the longest packets that two queues can ask for, and some. */
const ASKED_BYTES_MAX = 8 * MIB;
const PIECES_MAX = 2048;
/** What was written and is not answered; a piece of work that was begun may write more. */
const WRITTEN_BYTES_MAX = 256 * KIB;

const EVERYTHING_BYTES = Number.MAX_SAFE_INTEGER;

interface Fence {
  /** All writes up to this one. */
  readonly write: number;
  readonly then: () => void;
}

export class MessageMemory {
  /** Told when a range that was asked for in vain is worth another look. */
  arrived: (address: number, length: number) => void = () => {};
  #client: MemoryMessages | undefined;
  readonly #asked = new AskedMemory();
  readonly #gap = { address: 0, end: 0 };
  #reads = 0;
  /** Writes without an answer, by number, with their length; in the order in which they were sent. */
  readonly #written = new Map<number, number>();
  #writtenBytes = 0;
  #writes = 0;
  readonly #fences: Fence[] = [];
  /** Somebody was turned away for want of room. */
  #full = false;
  #refused = 0;

  /** Whom to ask; with undefined, or with another one, all that the last one was asked is forgotten. */
  set client(client: MemoryMessages | undefined) {
    this.#client = client;
    this.#asked.clear();
    this.#reads = 0;
    this.#written.clear();
    this.#writtenBytes = 0;
    this.#full = false;
    this.#passFences();
    this.arrived(0, EVERYTHING_BYTES);
  }

  /** Writes that the client has refused. */
  get refused(): number {
    return this.#refused;
  }

  /** As `DmaPresence`. */
  present(address: number, length: number, access: number): boolean {
    if (this.#client === undefined) return true;
    if ((access & DMA_WRITES) !== 0 && this.#writtenBytes >= WRITTEN_BYTES_MAX) {
      this.#full = true;
      return false;
    }
    // No device needs so much at once; who asks for it is refused when it reads.
    if ((access & DMA_READS) === 0 || length > ASKED_BYTES_MAX / 4) return true;
    const end = address + length;
    while (this.#client !== undefined && this.#asked.findGap(address, end, this.#gap)) {
      if (this.#reads >= READS_MAX) {
        this.#full = true;
        return false;
      }
      this.#ask(this.#gap.address, Math.min(this.#gap.end - this.#gap.address, MESSAGE_DATA_BYTES_MAX));
    }
    return this.#client === undefined || this.#asked.held(address, end) !== 'awaited';
  }

  /** What was asked for and is there. False if it was refused, or not asked for. */
  read(address: number, target: Uint8Array, at: number, length: number): boolean {
    if (this.#asked.read(address, length, target, at)) return true;
    // Whoever tries again asks again.
    this.#asked.drop(address, address + length);
    return false;
  }

  write(address: number, source: Uint8Array, at: number, length: number): void {
    this.#asked.drop(address, address + length);
    // Sending may be what shows that the client is gone.
    for (let done = 0; done < length && this.#client !== undefined; ) {
      const count = Math.min(length - done, MESSAGE_DATA_BYTES_MAX);
      const payload = new Uint8Array(dmaAccess.size + count);
      payload.set(dmaAccess.encode({ address: address + done, count }));
      payload.set(source.subarray(at + done, at + done + count), dmaAccess.size);
      const write = ++this.#writes;
      this.#written.set(write, count);
      this.#writtenBytes += count;
      this.#client.request(COMMAND.DMA_WRITE, payload, (answer) => this.#wrote(write, answer !== undefined));
      done += count;
    }
  }

  /** What was asked for there is to be asked for anew. */
  release(address: number, length: number): void {
    this.#asked.drop(address, address + length);
  }

  /** `then` is called when the client has answered all that was written so far, or is gone; at once if that is so already. */
  whenWritten(then: () => void): void {
    if (this.#written.size === 0) then();
    else this.#fences.push({ write: this.#writes, then });
  }

  #ask(address: number, length: number): void {
    if (this.#asked.bytes + length > ASKED_BYTES_MAX || this.#asked.count >= PIECES_MAX) this.#asked.clear();
    const asked = this.#asked.add(address, length);
    this.#reads++;
    this.#client?.request(COMMAND.DMA_READ, dmaAccess.encode({ address, count: length }), (answer) => {
      this.#reads--;
      if (answer?.length === dmaAccess.size + length) asked.bytes = answer.subarray(dmaAccess.size);
      else asked.failed = true;
      // Also if it is stale by now: who waits for it asks anew.
      this.#roomOr(address, length);
    });
  }

  #wrote(write: number, carriedOut: boolean): void {
    if (!carriedOut) this.#refused++;
    this.#writtenBytes -= this.#written.get(write)!;
    this.#written.delete(write);
    this.#passFences();
    if (this.#full && this.#writtenBytes <= WRITTEN_BYTES_MAX / 2) this.#roomOr(0, 0);
  }

  /** Tells of a range, or of all, if some could not even be asked for. */
  #roomOr(address: number, length: number): void {
    const { arrived } = this;
    if (this.#full) {
      this.#full = false;
      arrived(0, EVERYTHING_BYTES);
    } else if (length > 0) arrived(address, length);
  }

  #passFences(): void {
    const oldest: number = this.#written.keys().next().value ?? Number.POSITIVE_INFINITY;
    while ((this.#fences[0]?.write ?? Number.POSITIVE_INFINITY) < oldest) this.#fences.shift()!.then();
  }
}
