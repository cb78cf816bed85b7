/**
 * What a destination takes of a device from a peer: VFIO's data stream of an assigned function, and the records of the
 * machine's own devices. An input names a device, and then holds its stream or record.
 *
 * A device that refuses holds what it held before. One that accepts saves a state that it accepts again, and saves again;
 * and goes on: frames, time, register accesses and its own work are answered whatever the state says.
 */
import type { SaveableDevice } from '../../base/device-record.js';
import type { GuestMemory } from '../../base/guest-memory.js';
import type { SeededRandom } from '../../base/random.js';
import { microseconds } from '../../base/units.js';
import { ConsoleDevice } from '../../devices/console/device.js';
import { assignEdu } from '../../devices/edu/assigned.js';
import { EduDevice } from '../../devices/edu/device.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { FuzzMemory, FuzzTime, hostWithNic, MAC_VF0 } from '../../devices/nic82599/fuzz-world.js';
import { HostBridge } from '../../devices/pci/host-bridge.js';
import { decodeSections, encodeSections } from '../../devices/pci/state.js';
import { PowerDevice } from '../../devices/power/device.js';
import { RootPort } from '../../devices/root-port/device.js';
import { SerialDevice } from '../../devices/serial/device.js';
import { AssignedEdu } from '../../devices/vfio/assigned-edu.js';
import type { AssignedHardware } from '../../devices/vfio/assigned-hardware.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { RESUMING, RUNNING, STOP } from '../../devices/vfio/states.js';
import { type MigrationSection, StreamWriter } from '../../devices/vfio/stream.js';
import { VirtioNet } from '../../devices/virtio/net.js';
import { cut, type FuzzTarget, type Outcome, refusal } from './engine.js';
import { edgeWord, joined, mutateBytes } from './mutate.js';

/** Requests that one device may make while it is driven once. */
const REQUESTS_MAX = 64 * 256;
const RUN_BUDGET = 64;
const FRAME_BYTES = 300;

/** One device under attack. */
interface Victim {
  readonly sample: (random: SeededRandom) => Uint8Array;
  /** Gives it an input; the code of the refusal, or undefined. */
  readonly take: (input: Uint8Array) => string | undefined;
  /** All that it holds; and what it holds when an input is about to come. */
  readonly held: () => Uint8Array;
  readonly before: () => Uint8Array;
  /** Gives it what it saves. */
  readonly again: () => string | undefined;
  /** Explains an input, as `ferry inspect` does. */
  readonly describe: (input: Uint8Array) => unknown;
  /** What happens to any device that runs. */
  readonly drive: () => void;
  /** As it was made. */
  readonly renew: () => void;
}

class World {
  readonly memory = new FuzzMemory();
  readonly time = new FuzzTime();
  readonly victims: readonly Victim[];

  constructor(tamper: (device: AssignedHardware | SaveableDevice) => void) {
    const { memory, time } = this;
    const { nic } = hostWithNic(memory, time, () => {});
    const router = { route: <M>(_vector: number, message: M): M => message };
    const upstream = { open: true, bus: 1, dma: memory, msi: memory, decodeChanged() {}, errorMessage() {} };

    const vf = assignVf('vf0', nic.vf(0), router);
    vf.attach(upstream);
    const frame = new Uint8Array(FRAME_BYTES);
    frame.set([...MAC_VF0, 2, 0, 0, 0, 0, 9, 0x08, 0x00, 0x45]);
    const drivenVf = new AssignedVf(nic.vf(0), vf);
    const vfVictim = this.stream(drivenVf, () => {
      nic.receive({ bytes: frame, length: FRAME_BYTES });
      nic.run(RUN_BUDGET);
      time.advance(microseconds(500));
      for (let offset = 0; offset < 0x1100; offset += 0x40) vf.fn.behaviour.readBar(0, offset, 4);
      nic.run(RUN_BUDGET);
    });

    const edu = new EduDevice({ name: 'edu', wake() {} });
    edu.attach(upstream);
    const assignedEdu = assignEdu('edu0', edu, router);
    assignedEdu.attach(upstream);
    const drivenEdu = new AssignedEdu(edu, assignedEdu);
    const eduVictim = this.stream(drivenEdu, () => {
      for (let i = 0; i < RUN_BUDGET; i++) edu.run();
      for (let offset = 0; offset < 0xa0; offset += 4) assignedEdu.fn.behaviour.readBar(0, offset, 4);
    });

    const virtio = new VirtioNet({
      name: 'virtio-net0',
      mac: Uint8Array.from(MAC_VF0),
      standby: false,
      send: () => {},
      ready: () => true,
      wake: () => {},
    });
    virtio.transport.attach(upstream);
    const port = new RootPort('root-port0', { number: 1, surprise: true });
    const guest: GuestMemory = {
      slots: [],
      contains: () => false,
      view: () => undefined,
      write: () => false,
      markDirty() {},
    };
    const machineDevices: readonly [SaveableDevice, () => void][] = [
      [
        virtio.transport,
        () => {
          virtio.receive(frame, 0, FRAME_BYTES);
          virtio.run(RUN_BUDGET);
          for (let offset = 0; offset < 64; offset += 4) virtio.transport.fn.behaviour.readBar(4, offset, 4);
        },
      ],
      [
        port,
        () => {
          port.requestUnplug();
          for (let offset = 0; offset < 0x100; offset += 4) port.fn.configRead(offset, 4);
        },
      ],
      [new HostBridge(), () => {}],
      [new ConsoleDevice({ memory: guest, clock: time, print: () => {} }), () => {}],
      [new SerialDevice({ memory: guest, changed: () => {}, interrupt: () => {} }), () => {}],
      [new PowerDevice({ request: () => {}, interrupt: () => {} }), () => {}],
    ];
    for (const device of [drivenVf, drivenEdu, ...machineDevices.map(([device]) => device)]) tamper(device);
    this.victims = [vfVictim, eduVictim, ...machineDevices.map(([device, drive]) => record(device, drive))];
  }

  /** A device that takes VFIO's stream. */
  private stream(device: AssignedHardware, drive: () => void): Victim {
    const migration = new VfioMigration(device);
    const made = device.save();
    const settle = (): string | undefined => refusal(() => migration.setState(STOP));
    const writeAll = (pieces: readonly Uint8Array[]): string | undefined => {
      migration.reset();
      const session = migration.setState(RESUMING)!;
      const refused = refusal(() => {
        for (const piece of pieces) session.write(piece);
      });
      return refused ?? settle();
    };
    return {
      sample: (random) => streamOf(device, mutatedSections(device.save(), random), random),
      take: (input) => {
        const whole = writeAll([input]);
        const held = sectionBytes(device);
        const pieces = writeAll(cut(input));
        if (whole !== pieces) throw new Error(`${whole} in one piece, and ${pieces} in several`);
        if (!same(held, sectionBytes(device))) throw new Error('another state in several pieces');
        return whole;
      },
      held: () => sectionBytes(device),
      before: () => {
        migration.reset();
        migration.setState(RESUMING);
        return sectionBytes(device);
      },
      again: () => refusal(() => device.restore(device.save())),
      describe: (input) => device.describe([{ name: device.save()[0]!.name, version: 1, bytes: input }]),
      drive: () => {
        migration.setState(RUNNING);
        drive();
      },
      renew: () => {
        migration.reset();
        device.restore(made);
      },
    };
  }
}

const same = (a: Uint8Array, b: Uint8Array): boolean => Buffer.compare(a, b) === 0;

const sectionBytes = (device: AssignedHardware): Uint8Array =>
  joined(device.save().map(({ bytes }) => bytes));

/** Sections of which some are changed in content, place, number, name or version. */
function mutatedSections(saved: readonly MigrationSection[], random: SeededRandom): MigrationSection[] {
  const sections = saved.map(({ name, version, bytes }) => ({ name, version, bytes }));
  for (let changes = random.below(3); changes > 0; changes--) {
    const at = random.below(sections.length);
    const section = sections[at]!;
    const kind = random.below(12);
    if (kind === 0) sections.splice(at, 1);
    else if (kind === 1) sections.splice(at, 0, section);
    else if (kind === 2) sections.push(...sections.splice(at, 1));
    else if (kind === 3)
      sections[at] = {
        ...section,
        name: random.pick(['', 'vf', 'x'.repeat(32), `${section.name}x`.slice(0, 32)]),
      };
    else if (kind === 4) sections[at] = { ...section, version: edgeWord(random) };
    else if (kind < 10) sections[at] = { ...section, bytes: mutatedWords(section.bytes, random) };
    else sections[at] = { ...section, bytes: mutateBytes(section.bytes, random) };
    if (sections.length === 0) break;
  }
  return sections;
}

/** The same length with other contents: what a register file takes, if anything is. */
function mutatedWords(bytes: Uint8Array, random: SeededRandom): Uint8Array {
  const changed = bytes.slice();
  const view = new DataView(changed.buffer);
  for (let changes = 1 + random.below(6); changes > 0 && changed.length >= 4; changes--) {
    view.setUint32(random.below(changed.length >> 2) * 4, edgeWord(random), true);
  }
  return changed;
}

function streamOf(
  device: AssignedHardware,
  sections: readonly MigrationSection[],
  random: SeededRandom,
): Uint8Array {
  const writer = new StreamWriter();
  const identity = random.chance(0.03) ? { ...device.identity, queues: random.below(4) } : device.identity;
  const pieces = [
    writer.start(),
    writer.identity(identity),
    ...sections.map((section) => writer.section(section)),
  ];
  if (random.chance(0.98)) pieces.push(writer.end());
  if (random.chance(0.02)) pieces.splice(random.below(pieces.length), 1);
  return joined(pieces);
}

/** A device of the machine's own, and its record. */
function record(device: SaveableDevice, drive: () => void): Victim {
  const made = device.save();
  const of = (state: Uint8Array) => ({ name: made.name, version: made.version, state });
  return {
    sample: (random) => {
      const { sections, problem } = decodeSections(made.state);
      if (problem !== undefined || sections.length === 0) {
        return random.chance(0.6) ? mutatedWords(made.state, random) : mutateBytes(made.state, random);
      }
      const parts = sections.map(([name, bytes]) => ({ name, version: 1, bytes }));
      return encodeSections(mutatedSections(parts, random));
    },
    take: (input) => refusal(() => device.restore(of(input))),
    held: () => device.save().state,
    before: () => device.save().state,
    again: () => refusal(() => device.restore(device.save())),
    describe: (input) => device.describe(of(input)),
    drive,
    renew: () => device.restore(made),
  };
}

/** `tamper` lets a test break a device on purpose. */
export function deviceStateTarget(
  tamper: (device: AssignedHardware | SaveableDevice) => void = () => {},
): FuzzTarget {
  const world = new World(tamper);
  const { victims, memory } = world;
  return {
    name: 'device-state',
    make(random) {
      // Most of it is for the function, which has most state.
      const at = random.chance(0.6) ? 0 : random.below(victims.length);
      const sample = victims[at]!.sample(random);
      return joined([Uint8Array.of(at), random.chance(0.1) ? mutateBytes(sample, random) : sample]);
    },
    run(input): Outcome {
      const victim = victims[(input[0] ?? 0) % victims.length]!;
      const content = input.subarray(1);
      victim.renew();
      const before = victim.before();
      victim.describe(content);
      if (victim.take(content) !== undefined) {
        return same(victim.held(), before) ? 'refused' : { problem: 'refused, and changed all the same' };
      }
      const held = victim.held();
      const refused = victim.again();
      if (refused !== undefined) return { problem: `refuses what it has saved: ${refused}` };
      if (!same(victim.held(), held)) return { problem: 'saves another state than the one that it took' };
      const requests = memory.requests;
      victim.drive();
      if (memory.requests - requests > REQUESTS_MAX) {
        return { problem: `${memory.requests - requests} requests of a device that was driven once` };
      }
      return 'accepted';
    },
  };
}
