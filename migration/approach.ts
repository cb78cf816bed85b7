/**
 * What an approach is: one file that exports one descriptor. Each of the three efforts (knowing what a device wrote,
 * stopping it, starting it at the destination) has a registry of them, in order of preference; parameters, monitor, command
 * line, `hello`, help and docs are views of the registries.
 */
import type { AssignedDevice } from './ports.js';

export const EFFORTS = ['tracking', 'stop', 'start'] as const;
export type Effort = (typeof EFFORTS)[number];

/** A part of an assigned device that an approach may need; see `AssignedDevice`. */
export type Facet = Exclude<keyof AssignedDevice, 'name' | 'identity'>;

/** How a destination's device may differ from the source's without a start approach being at a loss. */
export const DIFFERENCES = [
  'queues',
  'revision',
  'vectors',
  'mac-policy',
  'other-device',
  'no-device',
  'link-down',
] as const;
export type Difference = (typeof DIFFERENCES)[number];

export interface Goals {
  /** How long the VM stands still, and how long nothing of the device's traffic comes to its peer, at most. */
  readonly blackoutMs?: number;
  readonly gapMs?: number;
  /** How long the guest takes to let the device go, at least: waits that its kernel has by design, which a run has to show. */
  readonly requestMs?: number;
}

/** What is declared of every approach; each effort adds what it is made of. */
export interface Descriptor {
  /** As users and the peer name it. */
  readonly name: string;
  /** What it does, in a line. */
  readonly text: string;
  /** What happens, one after another: sentences for people, for `ferry explain`. */
  readonly steps: readonly string[];
  /** When to use it, and what it can't cope with or costs: a sentence each. */
  readonly use: string;
  readonly limits: string;
  /** `device`: for machines with assigned devices, `none`: for those without. */
  readonly serves: 'device' | 'none';
  /** Facets that each assigned device must have. */
  readonly needs: readonly Facet[];
  /** Facets that no assigned device may have: where they are, what the approach does goes another way. */
  readonly without?: readonly Facet[];
  /** Facets without which it does better; a comparison gives it a device that has them not. */
  readonly betterWithout?: readonly Facet[];
  /** What the guest must say of itself, by its channel. */
  readonly guestFeatures: readonly string[];
  /** Differences of the destination's device that it copes with. */
  readonly copesWith: readonly Difference[];
  /** Whether its part of a migration ends in bounded time whatever the guest does. */
  readonly bounded: boolean;
  /** What it is meant to reach with the usual guest and traffic, milliseconds; a comparison shows it beside what it did. */
  readonly goals?: Goals;
  /** Why, as things are now, the device can't be used so, in words; undefined if it can. Asked of machines that have all it needs. */
  readonly problem?: (device: AssignedDevice) => Promise<string | undefined>;
  /** Why a machine with the devices `names` can't use it; of approaches that serve none. */
  readonly refuses?: (names: string) => string;
}

/** What most approaches have in common. */
export const ordinary = {
  steps: [],
  use: '',
  limits: '',
  serves: 'device',
  needs: [],
  guestFeatures: [],
  copesWith: [],
  bounded: true,
} as const satisfies Partial<Descriptor>;

/** Of each facet: what a device that has it is like, and what there is to say of one that has it not. */
export const FACETS: Readonly<Record<Facet, { readonly has: string; readonly lacks: string }>> = {
  dma: {
    has: 'its IOMMU tells the host which pages are mapped for it, and which it wrote',
    lacks: 'nothing of the host tells what it writes',
  },
  log: {
    has: 'it keeps a log of what it writes (VFIO DMA logging)',
    lacks: 'it keeps no log of what it writes',
  },
  rings: {
    has: 'its rings are of a kind that the hypervisor can read',
    lacks: 'its rings are of no kind that the hypervisor can read',
  },
  vfio: { has: 'it speaks VFIO migration', lacks: 'it does not speak VFIO migration' },
  slot: {
    has: 'it sits in a slot that the host controls',
    lacks: 'it sits in no slot that the host controls',
  },
  button: {
    has: 'its slot has an attention button',
    lacks: 'its slot has no attention button',
  },
  firmware: {
    has: 'ACPI handles its slot',
    lacks: 'its slot is not one that ACPI handles',
  },
  standby: {
    has: 'a virtio-net standby with its address is beside it',
    lacks: 'no standby with its address is beside it',
  },
  guest: {
    has: 'there is a channel to its driver in the guest',
    lacks: 'there is no channel to its driver in the guest',
  },
  agent: {
    has: 'an agent in the guest may be asked',
    lacks: 'there is no way to an agent in the guest',
  },
  replay: {
    has: 'the host can read its registers, and write them into another',
    lacks: 'the host does not know its registers',
  },
  fn: { has: 'the host has hold of its function', lacks: 'the host has no hold of its function' },
};

/** In words, which facet `device` lacks of those that are needed, or has of those that are in the way; undefined if neither. */
export function unsuited(
  device: AssignedDevice,
  { needs, without = [] }: Pick<Descriptor, 'needs' | 'without'>,
): string | undefined {
  const missing = needs.find((facet) => device[facet] === undefined);
  if (missing !== undefined) return `${device.name}: ${FACETS[missing].lacks}`;
  const inTheWay = without.find((facet) => device[facet] !== undefined);
  return inTheWay === undefined ? undefined : `${device.name}: ${FACETS[inTheWay].has}`;
}
