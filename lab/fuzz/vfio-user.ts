/**
 * A virtual function served over vfio-user, under clients that do what none may: an input is a list of steps (messages with descriptors,
 * cut anywhere, answers to the device's own commands or none, a socket that is not read, frames, time, leaving), and most inputs begin
 * as a client does.
 *
 * What is held to be wrong, beside exceptions: a command without its reply, or with two; a descriptor that stays open; memory that is
 * touched and was not mapped for it, or after its client has gone; work that asks for more than a message may; a client after all that
 * is not served as the first one.
 */
import {
  closeSync,
  fstatSync,
  ftruncateSync,
  mkdtempSync,
  openSync,
  readSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { crc32 } from '../../base/crc32.js';
import { type SeededRandom, seededRandom } from '../../base/random.js';
import { FuzzTime } from '../../devices/nic82599/fuzz-world.js';
import { VENDOR_INTEL } from '../../devices/pci/identities.js';
import { RUNNING, STOP_COPY } from '../../devices/vfio/states.js';
import { ClientInterrupts } from '../../vmm/vfio-user/client-interrupts.js';
import { ClientMemory } from '../../vmm/vfio-user/client-memory.js';
import { VfioUserDevice } from '../../vmm/vfio-user/device.js';
import { COMMAND, CONFIG_REGION, regionAccess, version } from '../../vmm/vfio-user/protocol.js';
import { type ServedVf, serveVf } from '../../vmm/vfio-user/served-vf.js';
import { serveClient } from '../../vmm/vfio-user/server.js';
import type { FuzzTarget, Outcome } from './engine.js';
import { MemorySockets } from './memory-sockets.js';
import { joined, mutateBytes } from './mutate.js';
import { FD, MEMORY_BYTES, STEP, STEP_HEAD, stepsOf } from './vfio-user-client.js';
import { TestClient } from './vfio-user-session.js';

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
const VECTORS = 3;
const BUDGET = 64;
/** A device that always has something to do gives others their turn all the same. */
const TURNS_MAX = 8;
const MS = 1e6;
const PAGE = 4096;
/** What no device writes. */
const GUARD = 0xee;

function frameOf(length: number): Uint8Array {
  const frame = new Uint8Array(Math.max(14, length)).fill(0x5a);
  frame.set([...MAC, 2, 0, 0, 0, 0, 9, 0x08, 0x00]);
  return frame;
}

/** Guest memory as it lies before a client comes: rings whose descriptors lead to buffers in it. */
function template(): Uint8Array {
  const bytes = new Uint8Array(MEMORY_BYTES).fill(GUARD);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < 64; i++) {
    for (const ring of [0x1000, 0x2000]) {
      view.setUint32(ring + 16 * i, 0x4000 + i * 0x800, true);
      view.setUint32(ring + 16 * i + 4, 0, true);
    }
    // A whole frame of 100 bytes, with a report when it is sent.
    view.setUint32(0x2000 + 16 * i + 8, 0x2b30_0064, true);
    view.setUint32(0x2000 + 16 * i + 12, 100 << 14, true);
  }
  return bytes;
}
const TEMPLATE = template();

class World {
  readonly sockets = new MemorySockets();
  readonly memory = new ClientMemory();
  readonly time = new FuzzTime();
  readonly served: ServedVf;
  readonly interrupts: ClientInterrupts;
  readonly device: VfioUserDevice;
  readonly eventfds = new Set<number>();
  /** What every descriptor that was handed over is of, by its number. */
  readonly given = new Map<number, string>();
  readonly #file: number;

  constructor(file: number) {
    this.#file = file;
    this.interrupts = new ClientInterrupts(VECTORS, this.sockets, (fd) => this.eventfds.has(fd));
    this.served = serveVf(
      { policy: { mac: MAC } },
      {
        scheduler: this.time,
        dma: this.memory,
        interrupts: this.interrupts,
        send: () => true,
        wireReady: () => true,
        wake: () => {},
      },
    );
    this.served.nic.setLink(true);
    const { served, memory, interrupts } = this;
    this.device = new VfioUserDevice({ served, memory, interrupts });
  }

  /** A client has come. */
  open(): TestClient {
    const connection = this.sockets.open();
    this.#give(connection.fd);
    serveClient(this.sockets, connection.fd, this.device, { handled: () => {}, ended: () => {} });
    return new TestClient(connection, TEMPLATE);
  }

  /** Descriptors as a step says them. */
  descriptors(detail: number): { readonly fds: number[]; readonly memory: boolean } {
    const kinds = [0, 2, 4, 6].map((shift) => (detail >> shift) & 3).filter((kind) => kind !== FD.none);
    const fds = kinds.map((kind) => {
      const path =
        kind === FD.memory ? `/proc/self/fd/${this.#file}` : kind === FD.eventfd ? '/dev/null' : '/';
      const fd = openSync(path, kind === FD.other ? 'r' : 'r+');
      if (kind === FD.eventfd) this.eventfds.add(fd);
      else this.eventfds.delete(fd);
      this.#give(fd);
      return fd;
    });
    return { fds, memory: kinds[0] === FD.memory };
  }

  run(): void {
    for (let turns = 0; turns < TURNS_MAX && this.served.nic.run(BUDGET); turns++);
  }

  receive(length: number): void {
    const frame = frameOf(length);
    this.served.nic.receiveBytes(frame, 0, frame.length);
  }

  /** Descriptors that were handed over and are still open. They are closed. */
  leaked(): number {
    let count = 0;
    for (const [fd, identity] of this.given) {
      if (identityOf(fd) !== identity) continue;
      count++;
      closeSync(fd);
    }
    return count;
  }

  #give(fd: number): void {
    this.given.set(fd, identityOf(fd)!);
  }
}

/** Which file a descriptor is of; undefined if it is of none. */
function identityOf(fd: number): string | undefined {
  try {
    const { dev, ino } = fstatSync(fd);
    return `${dev}/${ino}`;
  } catch {
    return undefined;
  }
}

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

class Run {
  readonly #world: World;
  readonly #file: number;
  #client: TestClient;
  problem: string | undefined;
  /** Replies without an error, and with one. */
  taken = 0;
  refused = 0;
  /** Pages of the file that a client may have mapped for writing. */
  readonly #writable = new Set<number>();

  constructor(world: World, file: number) {
    this.#world = world;
    this.#file = file;
    this.#client = world.open();
  }

  async step(kind: number, detail: number, bytes: Uint8Array, random: SeededRandom): Promise<void> {
    switch (kind) {
      case STEP.send: {
        const { fds, memory } = this.#world.descriptors(detail);
        this.#client.send(bytes, fds, memory, random);
        break;
      }
      case STEP.frame:
        this.#world.receive(10 * detail);
        break;
      case STEP.time:
        this.#world.time.advance(detail * MS);
        break;
      case STEP.leave:
        await this.#leave();
        this.#client = this.#world.open();
        break;
      case STEP.answer:
        this.#client.answers = detail;
        break;
      case STEP.deaf:
        this.#client.connection.room = detail === 0 ? Number.POSITIVE_INFINITY : 10 * detail;
        break;
    }
    await this.#settle();
  }

  async end(): Promise<void> {
    await this.#leave();
    await this.#serveAnother();
    const { memory, interrupts } = this.#world;
    if (memory.count > 0 || interrupts.count > 0)
      this.#wrong(`${memory.count} ranges and ${interrupts.count} vectors stay when nobody is there`);
    const leaked = this.#world.leaked();
    if (leaked > 0) this.#wrong(`${leaked} descriptors stay open`);
    const now = this.#contents();
    for (let page = 0; page * PAGE < MEMORY_BYTES; page++) {
      if (this.#writable.has(page)) continue;
      const [is, was] = [now, TEMPLATE].map((all) => all.subarray(page * PAGE, (page + 1) * PAGE));
      if (Buffer.compare(is!, was!) !== 0)
        this.#wrong(`wrote to page ${page} of the file, which nobody mapped for it`);
    }
  }

  /** Until nothing more happens by itself. */
  async #settle(): Promise<void> {
    // What waits for answers goes on in a later turn of the event loop.
    for (let quiet = 0; quiet < 2; ) {
      let rounds = 0;
      do this.#world.run();
      while (this.#client.deliver() && ++rounds);
      if (!this.#client.isAsked) break;
      await turn();
      quiet = rounds > 0 ? 0 : quiet + 1;
    }
    this.problem ??= this.#client.problem;
  }

  /** The client reads what there is, and leaves; what it had is nobody's any more. */
  async #leave(): Promise<void> {
    const client = this.#client;
    client.connection.room = Number.POSITIVE_INFINITY;
    await this.#settle();
    await turn();
    await this.#settle();
    client.judgeReplies();
    this.problem ??= client.problem;
    this.taken += client.taken;
    this.refused += client.refused;
    for (const page of client.writable) this.#writable.add(page);
    client.connection.leave();
    while (client.connection.turn());
    const before = this.#contents();
    for (const length of [60, 1000]) this.#world.receive(length);
    this.#world.run();
    if (Buffer.compare(before, this.#contents()) !== 0)
      this.#wrong('memory is written to after its client has gone');
  }

  /** One that means it gets what the first one gets. */
  async #serveAnother(): Promise<void> {
    const client = this.#world.open();
    this.#client = client;
    const ask = async (command: number, payload: Uint8Array): Promise<Uint8Array> => {
      const reply = client.ask(command, payload);
      await this.#settle();
      const { errno, payload: answer } = reply();
      if (errno !== 0) this.#wrong(`the next client's command ${command} is refused with ${errno}`);
      return answer;
    };
    await ask(COMMAND.VERSION, version.encode({}));
    await ask(COMMAND.RESET, new Uint8Array(0));
    const config = await ask(COMMAND.REGION_READ, regionAccess.encode({ region: CONFIG_REGION, count: 2 }));
    const vendor = config.subarray(regionAccess.size);
    if ((vendor[0]! | (vendor[1]! << 8)) !== VENDOR_INTEL)
      this.#wrong('the next client finds another device');
    if (this.#world.served.migration.state !== RUNNING)
      this.#wrong('a reset leaves the device out of RUNNING');
    await this.#leave();
  }

  #contents(): Uint8Array {
    const bytes = new Uint8Array(MEMORY_BYTES);
    readSync(this.#file, bytes, 0, MEMORY_BYTES, 0);
    return bytes;
  }

  #wrong(what: string): void {
    this.problem ??= what;
  }
}

/** What a device that was just set up saves. */
function sampleState(file: number): Uint8Array {
  const { served } = new World(file);
  const session = served.migration.setState(STOP_COPY)!;
  const pieces: Uint8Array[] = [];
  for (;;) {
    const piece = new Uint8Array(PAGE);
    const read = session.read(piece);
    if (typeof read !== 'number' || read === 0) return joined(pieces);
    pieces.push(piece.subarray(0, read));
  }
}

/** `tamper` lets a test break the way to the client's memory on purpose. */
export function vfioUserTarget(tamper: (memory: ClientMemory) => void = () => {}): FuzzTarget {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-fuzz-'));
  const file = openSync(join(folder, 'memory'), 'wx+');
  rmSync(folder, { recursive: true });
  const state = sampleState(file);
  return {
    name: 'vfio-user',
    make(random) {
      const steps = stepsOf(random, state);
      return random.chance(0.05) ? mutateBytes(steps, random) : steps;
    },
    async run(input): Promise<Outcome> {
      ftruncateSync(file, MEMORY_BYTES);
      writeSync(file, TEMPLATE, 0, MEMORY_BYTES, 0);
      const random = seededRandom(crc32(input, 0, input.length));
      const world = new World(file);
      tamper(world.memory);
      const run = new Run(world, file);
      let number = 0;
      for (let at = 0; at + STEP_HEAD <= input.length && run.problem === undefined; number++) {
        const length = input[at + 2]! | (input[at + 3]! << 8);
        const bytes = input.subarray(at + STEP_HEAD, at + STEP_HEAD + length);
        await run.step(input[at]! % Object.keys(STEP).length, input[at + 1]!, bytes, random);
        at += STEP_HEAD + length;
        if (run.problem !== undefined) return { problem: `step ${number}: ${run.problem}` };
      }
      await run.end();
      if (run.problem !== undefined) return { problem: run.problem };
      return run.refused === 0 ? 'accepted' : 'refused';
    },
    close: () => closeSync(file),
  };
}
