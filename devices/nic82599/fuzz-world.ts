/** The world of a fuzz run: time that it moves itself, and memory that counts what devices ask of it. */
import type { Cancel, Scheduler } from '../../base/clock.js';
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { type Duration, type Instant, instant } from '../../base/units.js';
import { enableVirtualFunctions, enumerate } from '../pci/enumerate.js';
import { hostBridge } from '../pci/host-bridge.js';
import { RootComplex } from '../pci/topology.js';
import { RootPort } from '../root-port/device.js';
import { Nic82599 } from './device.js';
import { PfDriver } from './pf-driver/driver.js';

export const MEMORY_BYTES = 0x20_0000;
/** Where memory BARs are. */
export const BAR_BASE = 0xf000_0000;
export const BAR_BYTES = 0x0e00_0000;
export const VFS = 2;
export const MAC_VF0 = [2, 0, 0, 0, 0, 1] as const;

/** Time that passes when the run says so. */
export class FuzzTime implements Scheduler {
  private clock = 0;
  private timers = new Set<{ at: number; callback: () => void }>();

  now(): Instant {
    return instant(this.clock);
  }

  after(duration: Duration, callback: () => void): Cancel {
    const timer = { at: this.clock + duration, callback };
    this.timers.add(timer);
    return () => this.timers.delete(timer);
  }

  sleep(duration: Duration): Promise<void> {
    return new Promise((resolve) => {
      this.after(duration, resolve);
    });
  }

  async yield(): Promise<void> {}

  advance(duration: number): void {
    this.clock += duration;
    const due = [...this.timers].filter((t) => t.at <= this.clock).sort((a, b) => a.at - b.at);
    for (const timer of due) if (this.timers.delete(timer)) timer.callback();
  }
}

/** Memory from address 0, requests beyond it blocked; everything counted. */
export class FuzzMemory implements DmaPort, MsiPort {
  readonly bytes = new Uint8Array(MEMORY_BYTES);
  requests = 0;
  blocked = 0;
  messages = 0;
  onMessage: (requester: number) => void = () => {};

  read(_requester: number, address: number, target: Uint8Array, at: number, length: number): boolean {
    if (!this.allows(address, length)) return false;
    target.set(this.bytes.subarray(address, address + length), at);
    return true;
  }

  write(_requester: number, address: number, source: Uint8Array, at: number, length: number): void {
    if (this.allows(address, length)) this.bytes.set(source.subarray(at, at + length), address);
  }

  writeDescriptor(_requester: number, address: number, d0: number, d1: number, d2: number, d3: number): void {
    if (!this.allows(address, 16)) return;
    const view = new DataView(this.bytes.buffer);
    [d0, d1, d2, d3].forEach((dword, i) => {
      view.setUint32(address + i * 4, dword, true);
    });
  }

  send(requester: number): void {
    this.messages++;
    this.onMessage(requester);
  }

  private allows(address: number, length: number): boolean {
    this.requests++;
    if (address >= 0 && address + length <= MEMORY_BYTES) return true;
    this.blocked++;
    return false;
  }
}

/** A host with a NIC, its virtual functions, and the driver of its physical function at work. */
export function hostWithNic(
  memory: FuzzMemory,
  time: FuzzTime,
  sent: () => void,
): { host: RootComplex; nic: Nic82599; driver: PfDriver } {
  const host = new RootComplex(memory, memory);
  host.addFunction(0, hostBridge());
  const hostPort = new RootPort('host-port', { number: 1, surprise: true });
  host.addPort(8, hostPort);
  const nic = new Nic82599({
    name: 'nic',
    mac: Uint8Array.from([2, 0, 0, 0, 0, 0xff]),
    scheduler: time,
    wire: { send: sent },
    wake: () => {},
  });
  hostPort.populate(nic);
  enumerate(host, { base: BAR_BASE, bytes: BAR_BYTES });
  enableVirtualFunctions(host, 1, 0, VFS);
  const driver = new PfDriver({
    port: {
      read: (offset) => nic.pf.read(offset, 4),
      write: (offset, value) => nic.pf.write(offset, 4, value),
    },
    scheduler: time,
    mac: [2, 0, 0, 0, 0, 0xff],
    vfs: [
      { mac: MAC_VF0, spoofCheck: false, trusted: true },
      { spoofCheck: false, rssQuery: true },
    ],
    stopped: (vf) => nic.pools.at(vf).stopped,
  });
  nic.driver = driver;
  // The driver is called whenever it might have been interrupted, whatever a guest has done to the host's MSI-X.
  memory.onMessage = (requester) => {
    if (requester === nic.pf.fn.routingId) driver.interrupt();
  };
  driver.start();
  nic.setLink(true);
  return { host, nic, driver };
}
