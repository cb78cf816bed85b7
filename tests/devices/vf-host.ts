/** A host with one VF and the guest that has it; how the two part, and the VF goes to another host. */
import { microseconds } from '../../base/units.js';
import type { VfPolicy } from '../../devices/nic82599/pf-driver/policy.js';
import { vfMac } from './frames.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const GUEST_BASE = 0x10_0000;

/** A host that has one VF, under `policy`. */
export const host = (policy: Partial<VfPolicy> = {}, frameBytesMax?: number): TestMachine =>
  new TestMachine({ vfs: [{ mac: vfMac(0), ...policy }], ...(frameBytesMax ? { frameBytesMax } : {}) });

/** The guest that has it, with its driver at work. */
export const guestAt = (machine: TestMachine): GuestVf =>
  new GuestVf(machine, machine.vf(0), GUEST_BASE).start();

/** Both, where nothing about the host matters. */
export function hostWithGuest(): { machine: TestMachine; guest: GuestVf } {
  const machine = host();
  return { machine, guest: guestAt(machine) };
}

/** Moves VF 0, stopped or not, with its guest; what the guest finds in its mailbox is what it was told on arrival. */
export function move(source: TestMachine, guest: GuestVf, target: TestMachine): GuestVf {
  source.vf(0).stop();
  const vf = target.vf(0);
  vf.stop();
  vf.restore(source.vf(0).save());
  target.memory.bytes.set(source.memory.bytes);
  vf.start();
  target.driver.arrived(0);
  target.time.advance(microseconds(5000));
  return guest.movedTo(target, vf);
}
