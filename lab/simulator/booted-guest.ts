/**
 * A guest that has booted once and goes on from there in as many machines as one likes: each takes it over as it would a
 * guest that was moved there, which takes a hundredth of a boot.
 */
import { milliseconds } from '../../base/units.js';
import { PORT_ECHO } from '../../devices/ethernet/peer.js';
import type { AssignedDevice, MachineDescription, MachineState } from '../../migration/ports.js';
import type { Machine } from '../../vmm/machine/machine.js';
import { simulatedMachine } from './machine.js';
import { GUEST_IP, SimulatedNetwork } from './network.js';
import { simulatedWorld } from './run.js';
import { PLAIN, type Shape } from './shape.js';

/** It answers packets, prints now and then what it counted, and can be told to be no help. */
const COMMAND_LINE = 'workload=udp-echo status_ms=20 behaviour=told';
/** Until the link is up and the first packets went around; and until the last ones have. */
const SETTLE = milliseconds(40);
const ECHOES = { rate: 2000, payloadBytes: 64, count: 20 };

export interface BootedGuest {
  readonly shape: Shape;
  readonly description: MachineDescription;
  /** All pages that migrate. */
  readonly ram: Uint8Array;
  readonly state: MachineState;
  /** VFIO's data stream of each assigned device, whole. */
  readonly devices: readonly Uint8Array[];
}

/** Boots `image` with a NIC and lets it answer packets, so that no driver and no neighbour table is new. */
export async function bootGuest(image: Uint8Array, shape = PLAIN): Promise<BootedGuest> {
  const world = simulatedWorld(0);
  const { scheduler } = world;
  const boot = async (): Promise<BootedGuest> => {
    const network = new SimulatedNetwork(world);
    const machine = simulatedMachine(world, network, 'booted', shape);
    await machine.boot(image, COMMAND_LINE);
    await scheduler.sleep(SETTLE);
    for (let i = 0; i < shape.nic.macs.length; i++) {
      network.peer.startFlow({ kind: 'echo', ip: GUEST_IP + i, port: PORT_ECHO, ...ECHOES });
    }
    await scheduler.sleep(SETTLE);
    await machine.pause();
    const { description } = machine;
    const booted = {
      shape,
      description,
      ram: machine.ram.slice(0, description.migratedPages * 4096),
      state: await machine.save(),
      devices: await Promise.all(machine.devices.map((device) => device.vfio!.stopCopy())),
    };
    await machine.destroy();
    return booted;
  };
  return scheduler.run(boot());
}

/** `machine`, which is new, takes the guest over; it stands still until it is resumed. */
export async function takeBooted(machine: Machine, booted: BootedGuest): Promise<void> {
  const { incoming } = machine;
  await incoming.accept(booted.description);
  machine.ram.set(booted.ram);
  await incoming.load(booted.state);
  const take = async ({ vfio }: AssignedDevice, i: number): Promise<void> => {
    await vfio!.write(booted.devices[i]!);
    await vfio!.load();
  };
  await Promise.all(machine.devices.map(take));
  await incoming.hold();
}
