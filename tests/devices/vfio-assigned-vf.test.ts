/** The real thing: a VF of the 82599 under traffic, moved to another VF of another NIC through VFIO's states. */
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../base/crc32.js';
import type { FerryError } from '../../base/errors.js';
import { seededRandom } from '../../base/random.js';
import { iova, microseconds } from '../../base/units.js';
import { assignVf } from '../../devices/nic82599/assigned.js';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { AssignedVf } from '../../devices/vfio/assigned-vf.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { PRE_COPY, RESUMING, RUNNING, RUNNING_P2P, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import { chunkHeader, streamStart, viewOf } from '../../devices/vfio/stream.js';
import { bytesOf, ethernet, PEER, vfMac } from './frames.js';
import { OPEN_UPSTREAM, TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';
import { drain, feed, joined } from './vfio-world.js';

const MAC = vfMac(0);

/** A host whose VF `index` is assigned; each host has interrupt routes of its own. */
class Host {
  readonly machine: TestMachine;
  readonly index: number;
  readonly device: AssignedVf;
  readonly migration: VfioMigration;
  readonly assigned: ReturnType<typeof assignVf>;
  private readonly routes: number;

  constructor(index: number, routes: number) {
    const vfs = Array.from({ length: 4 }, (_, n) => ({
      trusted: true,
      ...(n === index ? {} : { mac: vfMac(20 + n) }),
    }));
    if (index === 0) vfs[0] = { trusted: true, mac: MAC };
    this.machine = new TestMachine({ vfs });
    this.index = index;
    this.routes = routes;
    this.assigned = assignVf('vf0', this.vf, {
      route: (vector, message) =>
        message && { address: iova(0xfee0_0000 + routes * 32), data: routes + vector },
    });
    this.assigned.attach(OPEN_UPSTREAM);
    this.device = new AssignedVf(this.vf, this.assigned);
    this.migration = new VfioMigration(this.device);
  }

  get vf() {
    return this.machine.vf(this.index);
  }

  /** What a guest does from probe to open, through the function that it sees. */
  boot(): GuestVf {
    const { fn } = this.assigned;
    fn.configWrite(4, 2, 6);
    for (let vector = 0; vector < 3; vector++) {
      fn.behaviour.writeBar(3, vector * 16, 4, 0xfee0_0000);
      fn.behaviour.writeBar(3, vector * 16 + 8, 4, 0x30 + vector);
      fn.behaviour.writeBar(3, vector * 16 + 12, 4, 0);
    }
    fn.configWrite(0x72, 2, 0x8000);
    const guest = new GuestVf(this.machine, this.vf, 0x10_0000);
    guest.negotiate();
    guest.open();
    return guest;
  }

  arrive(n: number): void {
    const frame = ethernet(MAC, PEER, bytesOf(60 + (n % 900), n));
    this.machine.nic.receive({ bytes: frame, length: frame.length });
  }

  /** Vectors whose messages have left since the last call. */
  vectors(): number[] {
    const { messages } = this.machine.memory;
    const own = messages.filter(({ requester }) => requester === this.vf.fn.routingId);
    this.machine.memory.messages = [];
    return own.map(({ data }) => data - this.routes);
  }

  /** Everything that the host keeps of the VF. */
  everything(): Record<string, string> {
    const { nic, driver } = this.machine;
    const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');
    return {
      vf: hex(this.vf.save().state),
      assigned: hex(this.assigned.save().state),
      nic: hex(nic.save().state),
      driver: hex(driver.save(this.index)),
      sent: String(this.machine.sent.length),
    };
  }
}

/** A script of traffic; what the guest got, sent and was interrupted for is its result. */
class Life {
  host: Host;
  guest: GuestVf;
  readonly received: string[] = [];
  readonly interrupts: number[][] = [];
  readonly sent: Uint8Array[] = [];

  constructor(host: Host) {
    this.host = host;
    this.guest = host.boot();
    host.machine.sent.length = 0;
  }

  step(n: number): void {
    const { host, guest } = this;
    host.arrive(n);
    if (n % 3 === 0) host.arrive(n + 1000);
    guest.putContext({ MAC_BYTES: 14, VLAN: n & 0xfff, INDEX: n & 1 });
    guest.putData(ethernet(PEER, MAC, bytesOf(50 + (n % 500), n)));
    guest.ring();
    host.machine.nic.run(2 + (n % 3));
    if (n % 4 === 0) this.poll();
    // A VLAN more: the driver's part of the state changes as well.
    if (n % 5 === 0) guest.request(4 | (1 << 16), 100 + n);
    host.machine.time.advance(microseconds(20));
    this.note();
  }

  poll(): void {
    for (let got = this.guest.receive(); got !== undefined; got = this.guest.receive()) {
      this.received.push(Buffer.from(got.data).toString('hex'));
    }
    this.guest.write(reg.EIMS, 3);
  }

  note(): void {
    this.interrupts.push(this.host.vectors());
    this.sent.push(...this.host.machine.sent.splice(0));
  }

  finish() {
    this.host.machine.settle();
    this.poll();
    this.host.machine.time.advance(microseconds(2000));
    this.note();
    const { vf } = this.host;
    const counters = [reg.GPRC, reg.GPTC, reg.GOTC_LSB, reg.GORC_LSB, reg.TDH, reg.RDH].map((r) =>
      vf.pool.read(r.offset, 4),
    );
    return {
      received: this.received,
      sent: this.sent.map((frame) => Buffer.from(frame).toString('hex')),
      interrupts: this.interrupts.flat(),
      counters,
      vlans: [...this.host.machine.driver.info(this.host.index).vlans],
    };
  }
}

/** Moves a life to `target` while it goes on: pre-copy, a few steps more, stop, the rest. */
function move(life: Life, target: Host, stepsFrom: number): Uint8Array {
  const source = life.host;
  const session = source.migration.setState(PRE_COPY)!;
  const pieces = [drain(session, 333).bytes];
  for (let n = stepsFrom; n < stepsFrom + 4; n++) {
    life.step(n);
    pieces.push(drain(session).bytes);
  }
  source.migration.setState(STOP_COPY);
  pieces.push(drain(session).bytes);
  target.machine.memory.bytes.set(source.machine.memory.bytes);
  const state = joined(pieces);
  feed(target.migration.setState(RESUMING)!, state, 1000);
  target.migration.setState(STOP);
  life.note();
  life.host = target;
  life.guest = life.guest.movedTo(target.machine, target.vf);
  target.machine.sent.length = 0;
  target.vectors();
  target.migration.setState(RUNNING);
  return state;
}

function lived(throttled: boolean, moveAt: number): ReturnType<Life['finish']> {
  const life = new Life(new Host(0, 0x50));
  if (throttled) life.guest.write(reg.EITR, 400);
  for (let n = 0; n < 40; n++) {
    if (n !== moveAt) {
      life.step(n);
      continue;
    }
    move(life, new Host(3, 0x90), n);
    n += 3;
  }
  return life.finish();
}

describe('a VF under traffic', () => {
  it('goes on as another VF of another NIC: same frames, interrupts, rings and counters as if it had stayed', () => {
    for (const throttled of [false, true]) {
      const stayed = lived(throttled, -1);
      expect(stayed.sent).toHaveLength(40);
      expect(stayed.received).toHaveLength(54);
      expect(stayed.interrupts.length).toBeGreaterThan(throttled ? 4 : 8);
      for (const at of [1, 17, 30]) expect(lived(throttled, at), `moved at ${at}`).toEqual(stayed);
    }
  });

  it('a ring that goes on one descriptor off is noticed (the check can fail)', () => {
    const life = new Life(new Host(0, 0x50));
    for (let n = 0; n < 5; n++) life.step(n);
    const target = new Host(3, 0x90);
    move(life, target, 5);
    target.vf.pool.words[reg.RDH.word]!++;
    for (let n = 9; n < 40; n++) life.step(n);
    expect(life.finish()).not.toEqual(lived(false, -1));
  });

  it('can be taken back by its source, which goes on as if nothing had been asked', () => {
    const life = new Life(new Host(0, 0x50));
    for (let n = 0; n < 40; n++) {
      life.step(n);
      if (n % 10 !== 5) continue;
      drain(life.host.migration.setState(PRE_COPY)!);
      life.host.migration.setState(STOP_COPY);
      drain(life.host.migration.session!);
      life.host.migration.setState(RUNNING);
    }
    expect(life.finish()).toEqual(lived(false, -1));
  });

  it('sends in STOP_COPY a fraction of what pre-copy has sent', () => {
    const life = new Life(new Host(0, 0x50));
    life.step(0);
    const { migration } = life.host;
    const session = migration.setState(PRE_COPY)!;
    const early = drain(session).bytes.length;
    life.step(1);
    const expected = migration.stopCopyBytes;
    migration.setState(STOP_COPY);
    const late = drain(session).bytes.length;
    expect(late).toBe(expected);
    migration.setState(STOP);
    expect(drain(migration.setState(STOP_COPY)!).bytes.length).toBeGreaterThan(late + early / 2);
  });
});

describe('a state that is not right', () => {
  const source = new Life(new Host(0, 0x50));
  for (let n = 0; n < 6; n++) source.step(n);
  // A request to the driver that has not been seen yet: a refused state must not have it answered.
  source.host.migration.setState(STOP);
  source.guest.write(reg.MBMEM, 9);
  source.guest.write(reg.MAILBOX, 5);
  const state = drain(source.host.migration.setState(STOP_COPY)!).bytes;
  const target = new Host(3, 0x90);
  target.migration.setState(STOP);
  const before = target.everything();

  const offer = (stream: Uint8Array): FerryError | undefined => {
    const migration = new VfioMigration(target.device);
    try {
      feed(migration.setState(RESUMING)!, stream);
      migration.setState(STOP);
      return undefined;
    } catch (error) {
      expect(target.everything()).toEqual(before);
      return error as FerryError;
    }
  };
  const chunks: { name: string; at: number; end: number }[] = [];
  for (let at = streamStart.size; at < state.length; ) {
    const { name, length } = chunkHeader.read(viewOf(state), at);
    chunks.push({ name, at, end: at + chunkHeader.size + length });
    at += chunkHeader.size + length;
  }

  it('with any byte changed is refused, and the device is as it was', () => {
    const random = seededRandom(77);
    for (let i = 0; i < 250; i++) {
      const damaged = state.slice();
      damaged[random.below(damaged.length)]! ^= 1 << random.below(8);
      expect(offer(damaged)?.code).toBe('devices/migrationDamaged');
    }
  });

  it('cut at any section is refused, and the device is as it was', () => {
    for (const { at, end } of chunks) {
      for (const cut of [at, at + 10, end - 1]) {
        expect(offer(state.slice(0, cut))?.message).toContain(`the stream ends after ${cut} bytes`);
      }
    }
  });

  /** `state` with one byte of a section changed and all checksums right: what only the device can judge. */
  const forged = (name: string, offset: number, value: number): Uint8Array => {
    const stream = state.slice();
    const chunk = chunks.find((candidate) => candidate.name === name)!;
    const view = viewOf(stream);
    stream[chunk.at + chunkHeader.size + offset] = value;
    const payload = chunk.at + chunkHeader.size;
    view.setUint32(chunk.at + chunkHeader.offset.payloadCrc, crc32(stream, payload, chunk.end), true);
    const crc = chunk.at + chunkHeader.offset.headerCrc;
    view.setUint32(crc, crc32(stream, chunk.at, crc), true);
    const end = chunks.at(-1)!.at;
    view.setUint32(end + chunkHeader.size + 8, crc32(stream, 0, end), true);
    const endPayloadAt = end + chunkHeader.size;
    view.setUint32(end + chunkHeader.offset.payloadCrc, crc32(stream, endPayloadAt), true);
    const endCrc = end + chunkHeader.offset.headerCrc;
    view.setUint32(endCrc, crc32(stream, end, endCrc), true);
    return stream;
  };

  it('that only the device can judge is refused by section, and what was taken over before it is taken back', () => {
    const cases: [string, number, number, RegExp][] = [
      ['vf/config', 0, 0, /config: .*VENDOR_ID/],
      ['vf/transmit0', 34, 0xff, /transmit0: \d+ segments/],
      ['vf/throttle', 0, 0xff, /throttle: vectors 0xff/],
      ['vf/switch', 0, 2, /switch: receiveEnabled is 2/],
      ['assigned/config', 0, 0, /config: .*VENDOR_ID/],
    ];
    for (const [name, offset, value, message] of cases) {
      const error = offer(forged(name, offset, value));
      expect(error?.code, name).toBe('devices/recordRefused');
      expect(error!.message).toMatch(message);
    }
  });

  it('is refused by a device with other capabilities before any of its state is', () => {
    const other = new AssignedVf(target.vf, target.assigned);
    const identity = { ...other.identity, queues: 4, mailboxApiMax: 8 };
    const device = Object.assign(Object.create(other) as AssignedVf, { identity });
    const session = new VfioMigration(device).setState(RESUMING)!;
    expect(() => feed(session, state.slice(0, chunks[0]!.end))).toThrow(
      /queues is 0x2 there and 0x4 here; mailboxApiMax is 0x5 there and 0x8 here/,
    );
    expect(target.everything()).toEqual(before);
  });

  it('is refused as soon as the driver’s part says what this host does not grant', () => {
    const stream = forged('vf/driver', 0, 0xff);
    const { end } = chunks.find(({ name }) => name === 'vf/driver')!;
    const session = new VfioMigration(target.device).setState(RESUMING)!;
    feed(session, stream.slice(0, end - 1));
    expect(() => session.write(stream.subarray(end - 1, end))).toThrow(/vf\/driver: API version 255/);
    expect(target.everything()).toEqual(before);
  });

  it('is none when it is right: it is taken, and the request is answered when the VF runs', () => {
    expect(offer(forged('vf/config', 0, 0xff)), 'put together as the forged ones are').toBeUndefined();
    const migration = new VfioMigration(target.device);
    migration.setState(STOP);
    const guest = source.guest.movedTo(target.machine, target.vf);
    expect(guest.read(reg.MBMEM)).toBe(9);
    migration.setState(RUNNING);
    guest.write(reg.MAILBOX, 0);
    target.machine.time.advance(microseconds(200));
    expect(guest.read(reg.MBMEM)).toBe(0xa000_0009);
  });
});

describe('in RUNNING_P2P', () => {
  it('a VF starts no DMA, answers registers, interrupts, and goes on where it was', () => {
    const life = new Life(new Host(0, 0x50));
    const { host, guest } = life;
    host.migration.setState(RUNNING_P2P);
    host.machine.memory.requesters.clear();
    host.vectors();
    const dropped = host.machine.pfRead(host.machine.pfRegisters.QPRDC, 0);
    expect(dropped).toBe(0);
    host.arrive(1);
    guest.putData(ethernet(PEER, MAC, bytesOf(60)));
    guest.ring();
    host.machine.settle();
    expect(host.machine.memory.requesters.has(host.vf.fn.routingId)).toBe(false);
    expect(host.machine.sent).toEqual([]);
    expect(host.machine.pfRead(host.machine.pfRegisters.QPRDC, 0), 'the frame is counted as dropped').toBe(1);
    guest.write(reg.EICS, 2);
    expect(host.vectors()).toEqual([1]);
    expect(guest.request(9 | 0)[0], 'and so does the mailbox').toBe(0xa000_0009);
    host.migration.setState(RUNNING);
    host.machine.settle();
    expect(host.machine.sent).toHaveLength(1);
    expect(host.machine.memory.requesters.has(host.vf.fn.routingId)).toBe(true);
  });
});

describe('in STOP', () => {
  it('a VF neither changes, interrupts nor does DMA, whatever time and others do', () => {
    const life = new Life(new Host(0, 0x50));
    const { host, guest } = life;
    guest.write(reg.EITR, 400);
    guest.write(reg.EIAM, 0);
    guest.write(reg.EIAC, 0);
    guest.write(reg.EIMS, 3);
    guest.write(reg.EICS, 1);
    guest.write(reg.EICS, 1);
    guest.write(reg.TDT, guest.putData(ethernet(PEER, MAC, bytesOf(60))));
    guest.ring();
    host.migration.setState(STOP);
    const before = host.device.save();
    host.vectors();
    host.machine.memory.requesters.clear();
    for (let n = 0; n < 5; n++) {
      host.arrive(n);
      host.machine.settle();
      host.machine.nic.setLink(n % 2 === 1);
      host.machine.driver.pingAll();
      host.machine.time.advance(microseconds(30));
    }
    expect(host.device.save()).toEqual(before);
    expect(host.vectors()).toEqual([]);
    expect(host.machine.memory.requesters.has(host.vf.fn.routingId)).toBe(false);
    expect(host.machine.sent).toEqual([]);
  });

  it('a VF keeps what its registers are told: doorbells, causes and requests act when it runs', () => {
    const life = new Life(new Host(0, 0x50));
    const { host, guest } = life;
    guest.write(reg.EIAM, 0);
    host.migration.setState(STOP);
    host.vectors();
    guest.putData(ethernet(PEER, MAC, bytesOf(60)));
    guest.ring();
    guest.write(reg.EICS, 1);
    guest.write(reg.MAILBOX, 4);
    guest.write(reg.MBMEM, 9);
    guest.write(reg.MAILBOX, 1);
    expect(guest.read(reg.TDT)).toBe(1);
    expect(guest.read(reg.TDH)).toBe(0);
    expect(guest.read(reg.MBMEM)).toBe(9);
    host.assigned.fn.configWrite(0x3c, 1, 0x2a);
    expect(host.assigned.fn.configRead(0x3c, 1)).toBe(0x2a);
    const told = host.device.save();
    // The driver is busy with others meanwhile.
    new GuestVf(host.machine, host.machine.vf(1), 0x20_0000).negotiate();
    host.machine.settle();
    expect(host.device.save()).toEqual(told);
    expect(host.vectors()).toEqual([]);
    host.migration.setState(RUNNING);
    host.machine.settle();
    expect(host.machine.sent).toHaveLength(1);
    expect(host.vectors()).toContain(0);
    expect(guest.read(reg.MBMEM)).toBe(0xa000_0009);
    expect(guest.read(reg.TDH)).toBe(1);
  });

  it('what waits in P2P order is not lost: messages that were held leave on RUNNING_P2P, frames on RUNNING', () => {
    const life = new Life(new Host(0, 0x50));
    const { host, guest } = life;
    host.migration.setState(STOP);
    guest.putData(ethernet(PEER, MAC, bytesOf(60)));
    guest.ring();
    guest.write(reg.EICS, 2);
    host.vectors();
    host.migration.setState(RUNNING_P2P);
    host.machine.settle();
    expect(host.vectors()).toEqual([1]);
    expect(host.machine.sent).toEqual([]);
    host.migration.setState(RUNNING);
    host.machine.settle();
    expect(host.machine.sent).toHaveLength(1);
  });
});

describe('a reset', () => {
  it('makes the function new for its guest, and runs it', () => {
    const life = new Life(new Host(0, 0x50));
    const { host } = life;
    host.migration.setState(STOP_COPY);
    host.migration.reset();
    expect(host.migration.state).toBe(RUNNING);
    expect(host.vf.pool.stopped).toBe(false);
    expect(host.assigned.fn.configRead(4, 2)).toBe(0);
    expect(host.machine.driver.info(0).apiVersion).toBe(0);
    const again = host.boot();
    again.send(ethernet(PEER, MAC, bytesOf(60)));
    expect(host.machine.sent).toHaveLength(1);
  });
});
