/** What the machines of a simulated migration are like: both have the same, and a guest of their own that has booted in one. */
import { MIB } from '../../base/units.js';
import type { Facet } from '../../migration/approach.js';
import { hotUnplugQuick } from '../../migration/stop/hot-unplug-quick.js';
import type { StopDescriptor } from '../../migration/stop/stop.js';
import type { NicOptions } from '../../vmm/passthrough/records.js';
import { macOf } from './machine.js';

export interface Shape {
  readonly name: string;
  /** What it has beside a vCPU, a function and an ordinary slot. */
  readonly text: string;
  readonly ramBytes: number;
  readonly vcpus: number;
  readonly nic: NicOptions;
  /** What its devices have not. */
  readonly absent: readonly Facet[];
  /** What nothing in its guest does when it is asked to. */
  readonly undone: readonly StopDescriptor[];
}

/**
 * The least with which everything that is simulated works. Of it the image takes 2 MiB, the reserved range 320 KiB, kernel
 * data and page tables 200 KiB, the driver's rings and buffers 1 MiB; below it the image has no room beside the data.
 */
const RAM_BYTES = 4 * MIB;
/** For a second function, vCPU or driver. */
const MORE_BYTES = 8 * MIB;

const ONE: NicOptions = { macs: [macOf(0)] };

export const PLAIN: Shape = {
  name: 'plain',
  text: 'nothing',
  ramBytes: RAM_BYTES,
  vcpus: 1,
  nic: ONE,
  absent: ['standby', 'firmware'],
  undone: [],
};

/** The first is drawn most often. */
export const SHAPES: readonly Shape[] = [
  PLAIN,
  { ...PLAIN, name: 'two-vcpus', text: 'two vCPUs', ramBytes: MORE_BYTES, vcpus: 2 },
  {
    ...PLAIN,
    name: 'two-functions',
    text: 'two virtual functions',
    ramBytes: MORE_BYTES,
    nic: { macs: [macOf(0), macOf(1)] },
  },
  {
    ...PLAIN,
    name: 'standby',
    text: 'a virtio-net standby, and a slot without button',
    ramBytes: MORE_BYTES,
    nic: { ...ONE, slot: 'quick', virtio: [{ mac: macOf(0), standby: true }] },
    absent: ['firmware', 'button'],
  },
  {
    ...PLAIN,
    name: 'acpi',
    text: 'a slot that ACPI handles',
    nic: { ...ONE, slot: 'acpi' },
    absent: ['standby', 'button'],
    // The request goes to the driver of native slots.
    undone: [hotUnplugQuick],
  },
];

export const shapeOfName = (name: string): Shape | undefined => SHAPES.find((shape) => shape.name === name);
