/**
 * A machine of QEMU as its host reaches it, whatever its vCPUs do: I/O ports and physical memory, device registers among them, over
 * QEMU's qtest protocol (docs/devel/testing/qtest: a line for each command, answered by `OK` and a value).
 */
import type { Socket } from 'node:net';
import { afterMs } from '../../vmm/timers.js';
import { labErrors } from '../errors.js';

/** Nothing that is asked here waits for anything but QEMU's main loop. */
const PATIENCE_MS = 60_000;
/** Ports of PCI's configuration mechanism 1. */
const ADDRESS_PORT = 0xcf8;
const DATA_PORT = 0xcfc;
const ENABLE = 0x8000_0000;

/** A function of PCI, as configuration addresses name it. */
export interface PciPlace {
  readonly bus: number;
  readonly slot: number;
  readonly function: number;
}

interface Waiting {
  readonly line: string;
  readonly resolve: (value: string) => void;
  readonly reject: (error: Error) => void;
}

export class Qtest {
  readonly #socket: Socket;
  readonly #waiting: Waiting[] = [];
  #text = '';
  #closed = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding('latin1');
    socket.on('data', (text: string) => this.#heard(text));
    socket.on('error', () => {});
    socket.on('close', () => {
      this.#closed = true;
      for (const { line, reject } of this.#waiting.splice(0)) reject(lost(line));
    });
  }

  /** Reads 4 bytes of configuration space. Rejects with `lab/monitor-lost` or `lab/timeout`, as all here. */
  readConfig(place: PciPlace, offset: number): Promise<number> {
    return this.#addressed(place, offset, () => this.#number(`inl ${hex(DATA_PORT)}`));
  }

  /** Writes `bytes` (1, 2 or 4) of configuration space. */
  async writeConfig(place: PciPlace, offset: number, bytes: 1 | 2 | 4, value: number): Promise<void> {
    const port = hex(DATA_PORT + (offset & 3));
    await this.#addressed(place, offset, () => this.#ask(`out${letter(bytes)} ${port} ${hex(value)}`));
  }

  /** Reads 4 bytes of physical memory. */
  readMemory(address: number): Promise<number> {
    return this.#number(`readl ${hex(address)}`);
  }

  async writeMemory(address: number, value: number): Promise<void> {
    await this.#ask(`writel ${hex(address)} ${hex(value)}`);
  }

  /** The address register is the guest's as well, which may be between its two accesses. */
  async #addressed<T>(place: PciPlace, offset: number, access: () => Promise<T>): Promise<T> {
    const before = await this.#number(`inl ${hex(ADDRESS_PORT)}`);
    const { bus, slot, function: fn } = place;
    const address = (ENABLE | (bus << 16) | (slot << 11) | (fn << 8) | (offset & 0xfc)) >>> 0;
    await this.#ask(`outl ${hex(ADDRESS_PORT)} ${hex(address)}`);
    try {
      return await access();
    } finally {
      await this.#ask(`outl ${hex(ADDRESS_PORT)} ${hex(before)}`);
    }
  }

  async #number(line: string): Promise<number> {
    return Number(BigInt((await this.#ask(line)) || '0') & 0xffff_ffffn);
  }

  /** Sends a command, and resolves with what stands behind `OK`. Commands are answered in their order. */
  #ask(line: string): Promise<string> {
    if (this.#closed) return Promise.reject(lost(line));
    this.#socket.write(`${line}\n`);
    return new Promise((resolve, reject) => {
      const waiting: Waiting = {
        line,
        resolve: (value) => {
          cancel();
          resolve(value);
        },
        reject: (error) => {
          cancel();
          reject(error);
        },
      };
      const cancel = afterMs(PATIENCE_MS, () => {
        // What comes later would be taken for the answer to another command.
        this.#socket.destroy();
        reject(labErrors.error('timeout', { what: `'${line}' of qtest`, waitedMs: PATIENCE_MS }));
      });
      this.#waiting.push(waiting);
    });
  }

  #heard(text: string): void {
    const lines = (this.#text + text).split('\n');
    this.#text = lines.pop()!;
    for (const line of lines) {
      const waiting = this.#waiting.shift();
      if (waiting === undefined) continue;
      const [word, value = ''] = line.trim().split(/\s+/);
      if (word === 'OK') waiting.resolve(value);
      else {
        const { line: command } = waiting;
        waiting.reject(labErrors.error('monitor-refused', { command, class: 'qtest', desc: line }));
      }
    }
  }
}

const lost = (line: string): Error =>
  labErrors.error('monitor-lost', { address: 'qtest', why: `QEMU closed it before it answered '${line}'` });

/** Addresses may be wider than 32 bits. */
const hex = (value: number): string => `0x${value.toString(16)}`;
const letter = (bytes: 1 | 2 | 4): string => ({ 1: 'b', 2: 'w', 4: 'l' })[bytes];
