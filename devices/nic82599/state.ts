/**
 * What is saved of the NIC. A virtual function's record is complete by itself and names no pool, so that it can be
 * restored as another VF of another NIC: registers, what no register shows (contexts, a half-sent packet, throttling),
 * what the switch keeps for it, and what the physical function's driver knows of it.
 */
import { bytes, f64, layout, u8, u32 } from '../../base/layout.js';
import { nanoseconds, seconds } from '../../base/units.js';
import type { PciFunction } from '../pci/function.js';
import type { Msix } from '../pci/msix.js';
import { registerSection, type StateSection } from '../pci/state.js';
import { DESCRIPTOR_DWORDS } from './descriptors.js';
import type { Pool } from './pool.js';
import { VF_VECTORS } from './registers.js';
import { CONTEXT_SLOTS, type TransmitQueue } from './transmit.js';

export const VF_VERSION = 2;
export const PF_VERSION = 2;

/** What no register of a transmit queue shows. */
const queueLayout = /* @__PURE__ */ layout('transmit_queue', {
  contexts: bytes(CONTEXT_SLOTS * DESCRIPTOR_DWORDS * 4),
  segmentsSent: u32(),
});

/** A packet makes at most one segment a byte of its payload. */
const SEGMENTS_MAX = 2 ** 18;

const throttleLayout = /* @__PURE__ */ layout('interrupt_throttle', {
  /** Vectors whose message is held back, a bit each. */
  held: u8(),
  remainingNs0: f64(8),
  remainingNs1: f64(),
  remainingNs2: f64(),
});
/** EITR's longest interval is about a millisecond; nothing waits longer than this. */
const REMAINING_MAX = seconds(1);

/** Bits that the NIC keeps for a VF in registers of the physical function. */
export interface SwitchState {
  readonly receiveEnabled: number;
  readonly transmitEnabled: number;
  /** Drop-enable and hide-VLAN flags of each queue. */
  readonly queueFlags: number;
  readonly request: number;
  readonly acknowledge: number;
  readonly reset: number;
}

const switchLayout = /* @__PURE__ */ layout('vf_switch', {
  receiveEnabled: u8(),
  transmitEnabled: u8(),
  queueFlags: u8(),
  request: u8(),
  acknowledge: u8(),
  reset: u8(),
});

/** What the physical function's driver knows of a VF, as that driver encodes it. */
export interface DriverStateKeeper {
  save(vf: number): Uint8Array;
  restore(vf: number, state: Uint8Array): string | undefined;
  /** What stands in the way of `restore`, as far as the state alone tells; nothing is changed. */
  judge(vf: number, state: Uint8Array): string | undefined;
  describe(state: Uint8Array): readonly (readonly [string, string])[];
}

export interface VfStateHost {
  saveSwitch(): SwitchState;
  restoreSwitch(state: SwitchState): void;
  /** Tells the driver of what waits for it; it sees that only while the VF is not stopped. */
  attend(): void;
  /** The driver, if one is bound, and the number it knows this VF by. */
  readonly driver: DriverStateKeeper | undefined;
  readonly index: number;
}

const viewOf = (data: Uint8Array): DataView => new DataView(data.buffer, data.byteOffset, data.byteLength);
const words = (record: Record<string, unknown>): (readonly [string, string])[] =>
  Object.entries(record).map(([name, value]) => [
    name,
    value instanceof Uint8Array
      ? [...value].map((b) => b.toString(16).padStart(2, '0')).join('')
      : String(value),
  ]);

function queueSection(name: string, queue: TransmitQueue): StateSection {
  return {
    name,
    save: () =>
      queueLayout.encode({
        contexts: new Uint8Array(queue.contexts.buffer),
        segmentsSent: queue.segmentsSent,
      }),
    restore(data) {
      if (data.length !== queueLayout.size) return `${data.length} bytes where ${queueLayout.size} belong`;
      const saved = queueLayout.read(viewOf(data), 0);
      if (saved.segmentsSent > SEGMENTS_MAX) return `${saved.segmentsSent} segments of one packet sent`;
      new Uint8Array(queue.contexts.buffer).set(saved.contexts);
      queue.segmentsSent = saved.segmentsSent;
      return undefined;
    },
    describe: (data) =>
      data.length === queueLayout.size ? words(queueLayout.read(viewOf(data), 0)) : [['damaged', 'length']],
  };
}

function throttleSection(pool: Pool): StateSection {
  const { interrupts } = pool;
  return {
    name: 'throttle',
    save: () =>
      throttleLayout.encode({
        held: interrupts.heldVectors,
        remainingNs0: interrupts.remaining(0),
        remainingNs1: interrupts.remaining(1),
        remainingNs2: interrupts.remaining(2),
      }),
    restore(data) {
      if (data.length !== throttleLayout.size)
        return `${data.length} bytes where ${throttleLayout.size} belong`;
      const saved = throttleLayout.read(viewOf(data), 0);
      const remaining = [saved.remainingNs0, saved.remainingNs1, saved.remainingNs2];
      const bad = remaining.find((value) => !(value >= 0 && value <= REMAINING_MAX));
      if (bad !== undefined) return `an interrupt held back for ${bad} ns`;
      if (saved.held >= 1 << VF_VECTORS) return `vectors 0x${saved.held.toString(16)} held back`;
      interrupts.reset();
      interrupts.setHeldVectors(saved.held);
      remaining.forEach((value, vector) => {
        interrupts.setRemaining(vector, nanoseconds(value));
      });
      return undefined;
    },
    describe: (data) =>
      data.length === throttleLayout.size
        ? words(throttleLayout.read(viewOf(data), 0))
        : [['damaged', 'length']],
  };
}

function switchSection(host: VfStateHost): StateSection {
  return {
    name: 'switch',
    save: () => switchLayout.encode({ ...host.saveSwitch() }),
    restore(data) {
      if (data.length !== switchLayout.size) return `${data.length} bytes where ${switchLayout.size} belong`;
      const saved = switchLayout.read(viewOf(data), 0);
      for (const [name, value] of Object.entries(saved)) {
        if (value > (name === 'queueFlags' ? 0xff : 1)) return `${name} is ${value}`;
      }
      host.restoreSwitch(saved);
      return undefined;
    },
    describe: (data) =>
      data.length === switchLayout.size ? words(switchLayout.read(viewOf(data), 0)) : [['damaged', 'length']],
  };
}

/** The section that holds what the physical function's driver knows of the VF. */
export const DRIVER_SECTION = 'driver';

function driverSection(host: VfStateHost): StateSection {
  return {
    name: DRIVER_SECTION,
    save: () => host.driver?.save(host.index) ?? new Uint8Array(0),
    restore(data) {
      if (host.driver !== undefined) return host.driver.restore(host.index, data);
      return data.length === 0 ? undefined : 'a driver had configured it there, and here none is bound';
    },
    describe: (data) => host.driver?.describe(data) ?? [['bytes', String(data.length)]],
  };
}

/** What the physical function and its driver keep for a virtual function. */
export const physicalSections = (host: VfStateHost): readonly StateSection[] => [
  switchSection(host),
  driverSection(host),
];

/** Sections of what a pool holds. */
export function poolSections(pool: Pool, prefix: string): readonly StateSection[] {
  return [
    registerSection(`${prefix}registers`, pool.registers),
    ...pool.transmit.map((queue, i) => queueSection(`${prefix}transmit${i}`, queue)),
  ];
}

/** What a virtual function is made of, as far as it is saved. */
export interface VfParts {
  readonly fn: PciFunction;
  readonly msix: Msix;
  readonly pool: Pool;
}

/** Sections of a virtual function's record. */
export function vfSections(vf: VfParts, host: VfStateHost): readonly StateSection[] {
  return [
    registerSection('config', vf.fn.config),
    registerSection('msix', vf.msix.window),
    ...poolSections(vf.pool, ''),
    throttleSection(vf.pool),
    ...physicalSections(host),
    refreshSection(() => {
      vf.fn.refresh();
      if (!vf.pool.stopped) vf.pool.interrupts.start();
      host.attend();
    }),
  ];
}

/** An empty section whose restoring lets the device take in what the sections before it have changed. */
export function refreshSection(refresh: () => void): StateSection {
  return {
    name: 'end',
    save: () => new Uint8Array(0),
    restore(data) {
      if (data.length !== 0) return 'bytes behind the end';
      refresh();
      return undefined;
    },
    describe: () => [],
  };
}
