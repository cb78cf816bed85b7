import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { describeRegisters } from '../../base/register-dump.js';
import { commonConfig } from '../../devices/virtio/registers.js';
import { common, MAC, NET_F_STANDBY, ORDINARY, SIZE, VirtioGuest } from './virtio-guest.js';

const frame = (length = 100, fill = 7): Uint8Array => {
  const bytes = new Uint8Array(length).fill(fill);
  bytes.set(MAC);
  return bytes;
};

function started(options: { standby?: boolean } = {}): VirtioGuest {
  const guest = new VirtioGuest(options);
  guest.start(options.standby === true ? [...ORDINARY, NET_F_STANDBY] : ORDINARY);
  return guest;
}

describe('the transport of a virtio device', () => {
  it('offers each feature once, and accepts none that it does not offer', () => {
    const guest = new VirtioGuest();
    const offered = [0, 1, 2].map((word) => {
      guest.write(common.DEVICE_FEATURE_SELECT, word);
      return guest.read(common.DEVICE_FEATURE);
    });
    expect(offered).toEqual([0x0023_0029, 3, 0]);
    expect(guest.negotiate([...ORDINARY, NET_F_STANDBY, 28])).toBe(0x0b);
    expect(guest.net.transport.has(NET_F_STANDBY)).toBe(false);
    expect(guest.net.transport.has(28)).toBe(false);
    expect(guest.net.transport.has(0)).toBe(true);
    expect(guest.negotiated).toBe(0);
  });

  it('does not let a driver without VERSION_1 have FEATURES_OK', () => {
    const guest = new VirtioGuest();
    expect(guest.negotiate([5, 16])).toBe(0x03);
  });

  it('says that the standby was negotiated each time that it is, and not otherwise', () => {
    const guest = new VirtioGuest({ standby: true });
    guest.negotiate();
    expect(guest.negotiated).toBe(0);
    guest.negotiate([...ORDINARY, NET_F_STANDBY]);
    guest.negotiate([...ORDINARY, NET_F_STANDBY]);
    expect(guest.negotiated).toBe(2);
  });

  it('shows one queue at a time, of size 0 beyond the last, and refuses sizes that no split ring has', () => {
    const guest = started();
    const sizes = [0, 1, 2, 3, 0xffff].map((queue) => {
      guest.write(common.QUEUE_SELECT, queue);
      return guest.read(common.QUEUE_SIZE);
    });
    expect(sizes).toEqual([SIZE, SIZE, SIZE, 0, 0]);
    guest.negotiate();
    guest.write(common.QUEUE_SELECT, 0);
    for (const size of [3, 0, 512]) {
      guest.write(common.QUEUE_SIZE, size);
      expect(guest.read(common.QUEUE_SIZE)).toBe(256);
    }
    guest.write(common.QUEUE_VECTOR, 9);
    expect(guest.read(common.QUEUE_VECTOR)).toBe(0xffff);
  });

  it('forgets everything at a reset, and touches no memory after it', () => {
    const guest = started();
    guest.post(0);
    guest.write(common.STATUS, 0);
    expect(guest.read(common.STATUS)).toBe(0);
    const { writes } = guest.memory;
    guest.net.receive(frame(), 0, 100);
    guest.notify(1);
    guest.net.run(10);
    expect(guest.memory.writes).toBe(writes);
    guest.write(common.QUEUE_SELECT, 0);
    expect(guest.read(common.QUEUE_ENABLE)).toBe(0);
    expect(guest.net.drops.stopped).toBe(1);
  });

  it('bumps the generation when the driver looks after a change, and interrupts for it', () => {
    const guest = started();
    const before = guest.read(common.GENERATION);
    guest.net.setLink(false);
    guest.net.setLink(true);
    expect(guest.vectors).toEqual([0, 0]);
    expect(guest.isr()).toBe(2);
    expect(guest.isr()).toBe(0);
    expect(guest.read(common.GENERATION)).toBe(before + 1);
    expect(guest.read(common.GENERATION)).toBe(before + 1);
    expect(guest.deviceConfig(6, 2)).toBe(1);
  });

  it('is reached through its configuration window as well', () => {
    const guest = new VirtioGuest();
    const config = (guest.complex.functions().at(-1)!.bus << 20) + 0x84;
    guest.complex.configWrite(config + 4, 1, 4);
    guest.complex.configWrite(config + 8, 4, 0x2000);
    guest.complex.configWrite(config + 12, 4, 4);
    expect(guest.complex.configRead(config + 16, 4)).toBe(0x0000_5452);
    guest.complex.configWrite(config + 8, 4, 0x14);
    guest.complex.configWrite(config + 12, 4, 1);
    guest.complex.configWrite(config + 16, 4, 3);
    expect(guest.read(common.STATUS)).toBe(3);
    guest.complex.configWrite(config + 4, 1, 3);
    expect(guest.complex.configRead(config + 16, 4)).toBe(0);
  });
});

describe('frames', () => {
  it('reach the guest behind a header that counts one buffer, and interrupt it when that is wanted', () => {
    const guest = started();
    guest.post(3);
    guest.post(4);
    guest.net.receive(frame(80), 0, 80);
    guest.net.run(10);
    expect(guest.used(0)).toEqual({ index: 1, entries: [[3, 92]] });
    expect(guest.vectors).toEqual([1]);
    const at = guest.buffer(3);
    expect([...guest.memory.bytes.subarray(at, at + 12)]).toEqual([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0]);
    expect(guest.memory.bytes.slice(at + 12, at + 92)).toEqual(frame(80));
    guest.memory.view.setUint16(guest.ring(0) + 0x400, 1, true);
    guest.net.receive(frame(60), 0, 60);
    guest.net.run(10);
    expect(guest.used(0).index).toBe(2);
    expect(guest.vectors).toEqual([1]);
  });

  it('without a buffer are dropped and counted, and so are those of a machine that stands', () => {
    const guest = started();
    guest.net.receive(frame(), 0, 100);
    expect(guest.net.drops).toMatchObject({ noDescriptor: 1, stopped: 0 });
    guest.post(0);
    guest.net.halt();
    guest.net.receive(frame(), 0, 100);
    expect(guest.net.drops.stopped).toBe(1);
    guest.net.resume();
    guest.net.receive(frame(), 0, 100);
    guest.net.run(10);
    expect(guest.used(0).index).toBe(1);
  });

  it('are spread over the pieces of a chain, and gathered from them', () => {
    const guest = started();
    guest.descriptor(0, 0, guest.buffer(0), 5, 3, 1);
    guest.descriptor(0, 1, guest.buffer(1), 20, 3, 2);
    guest.descriptor(0, 2, guest.buffer(2), 500, 2);
    guest.offer(0, 0);
    const sent = Uint8Array.from({ length: 100 }, (_, i) => i);
    guest.net.receive(sent, 0, 100);
    guest.net.run(1);
    expect(guest.used(0).entries).toEqual([[0, 112]]);
    expect(guest.memory.bytes.slice(guest.buffer(1) + 7, guest.buffer(1) + 20)).toEqual(sent.slice(0, 13));
    expect(guest.memory.bytes.slice(guest.buffer(2), guest.buffer(2) + 87)).toEqual(sent.slice(13));

    guest.memory.bytes.set(sent, guest.buffer(4));
    guest.descriptor(1, 0, guest.buffer(5), 12, 1, 1);
    guest.descriptor(1, 1, guest.buffer(4), 40, 1, 2);
    guest.descriptor(1, 2, guest.buffer(4) + 40, 60, 0);
    guest.offer(1, 0);
    guest.notify(1);
    guest.net.run(10);
    expect(guest.sent).toEqual([sent]);
    expect(guest.used(1).entries).toEqual([[0, 0]]);
    expect(guest.vectors).toContain(2);
  });

  it('shorter than Ethernet allows are filled up, and checksums are filled in where the header asks', () => {
    const guest = started();
    guest.send(frame(40));
    const header = new Uint8Array(12);
    header.set([1, 0, 0, 0, 0, 0, 34, 0, 6, 0]);
    const datagram = new Uint8Array(64);
    datagram.set([0x12, 0x34, 0, 9, 0, 30, 0x11, 0x22, 5, 6], 34);
    guest.send(datagram, 1, header);
    guest.net.run(10);
    expect(guest.sent[0]!.length).toBe(60);
    const words = guest.sent[1]!.slice(34);
    let sum = 0;
    for (let i = 0; i < words.length; i += 2) sum += (words[i]! << 8) | words[i + 1]!;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    // The field held the sum of the pseudo-header: it makes up for that and for nothing else.
    expect(sum).toBe(0xffff - 0x1122);
  });

  it('wait for a cable that takes none now', () => {
    const guest = started();
    guest.wireReady = false;
    guest.send(frame());
    expect(guest.net.run(10)).toBe(false);
    expect(guest.sent).toEqual([]);
    guest.wireReady = true;
    guest.net.run(10);
    expect(guest.sent).toHaveLength(1);
  });
});

describe('the control queue', () => {
  const command = (guest: VirtioGuest, klass: number, code: number): number => {
    guest.memory.bytes.set([klass, code], guest.buffer(6));
    guest.memory.bytes[guest.buffer(7)] = 0xee;
    guest.descriptor(2, 0, guest.buffer(6), 2, 1, 1);
    guest.descriptor(2, 1, guest.buffer(7), 1, 2);
    guest.offer(2, 0);
    guest.notify(2);
    guest.net.run(10);
    return guest.memory.bytes[guest.buffer(7)]!;
  };

  it('ends an announcement that was asked for, and refuses what it does not know', () => {
    const guest = started();
    expect(guest.net.askToAnnounce()).toBe(true);
    expect(guest.deviceConfig(6, 2)).toBe(3);
    expect(command(guest, 3, 0)).toBe(0);
    expect(guest.deviceConfig(6, 2)).toBe(1);
    expect(command(guest, 0, 0)).toBe(1);
    expect(guest.needsReset).toBe(false);
  });

  it('is asked for no announcement by a guest that did not offer any', () => {
    const guest = new VirtioGuest();
    guest.start(ORDINARY.filter((feature) => feature !== 21));
    expect(guest.net.askToAnnounce()).toBe(false);
  });
});

describe('a driver that does what none may', () => {
  const send = (guest: VirtioGuest): void => {
    guest.notify(1);
    guest.net.run(10);
  };
  const misdeeds: Readonly<Record<string, (guest: VirtioGuest) => void>> = {
    'a chain with a loop': (guest) => {
      guest.descriptor(1, 0, guest.buffer(0), 20, 1, 1);
      guest.descriptor(1, 1, guest.buffer(0), 20, 1, 0);
      guest.offer(1, 0);
      send(guest);
    },
    'a descriptor beyond the table': (guest) => {
      guest.offer(1, SIZE);
      send(guest);
    },
    'a chain that leaves the table': (guest) => {
      // What lies there looks like one more descriptor.
      guest.descriptor(1, 0, guest.buffer(0), 20, 1, SIZE);
      guest.descriptor(1, SIZE, guest.buffer(0), 60, 0);
      guest.offer(1, 0);
      send(guest);
    },
    'more available than there are': (guest) => {
      guest.memory.view.setUint16(guest.ring(1) + 0x402, SIZE + 1, true);
      send(guest);
    },
    'an indirect table that was not negotiated': (guest) => {
      guest.descriptor(1, 0, guest.buffer(0), 32, 4);
      guest.offer(1, 0);
      send(guest);
    },
    'something to read behind something to write': (guest) => {
      guest.descriptor(1, 0, guest.buffer(0), 20, 3, 1);
      guest.descriptor(1, 1, guest.buffer(0), 20, 0);
      guest.offer(1, 0);
      send(guest);
    },
    'a frame at no memory': (guest) => {
      guest.descriptor(1, 0, 2 ** 60, 100, 0);
      guest.offer(1, 0);
      send(guest);
    },
    'a frame without a header': (guest) => {
      guest.descriptor(1, 0, guest.buffer(0), 11, 0);
      guest.offer(1, 0);
      send(guest);
    },
    'a receive buffer that holds no frame': (guest) => {
      guest.post(0, 60);
      guest.net.receive(frame(), 0, 100);
    },
    'a command without room for its answer': (guest) => {
      guest.descriptor(2, 0, guest.buffer(0), 2, 0);
      guest.offer(2, 0);
      guest.notify(2);
      guest.net.run(10);
    },
  };
  for (const [name, misdeed] of Object.entries(misdeeds)) {
    it(`is told that it must reset: ${name}`, () => {
      const guest = started();
      misdeed(guest);
      expect(guest.needsReset).toBe(true);
      expect(guest.vectors).toContain(0);
      const { writes } = guest.memory;
      guest.post(1);
      guest.net.receive(frame(), 0, 100);
      guest.send(frame());
      guest.net.run(10);
      expect(guest.memory.writes).toBe(writes);
      expect(guest.sent).toEqual([]);
      guest.start();
      expect(guest.needsReset).toBe(false);
    });
  }

  it('is told so for rings at no memory', () => {
    const guest = new VirtioGuest();
    guest.start(ORDINARY, { 1: 0xffff_f000 });
    guest.notify(1);
    guest.net.run(10);
    expect(guest.needsReset).toBe(true);
  });

  it('may write anything anywhere without harm to the host', () => {
    const random = seededRandom(7);
    const guest = started();
    for (let i = 0; i < 20_000; i++) {
      const pick = random.between(0, 9);
      if (pick < 6) {
        const size = random.pick([1, 2, 4] as const);
        const offset = random.between(0, commonConfig.bytes / size - 1) * size;
        guest.write({ offset, width: size * 8 }, random.between(0, 0xffff_ffff));
        guest.read({ offset, width: size * 8 });
      } else if (pick === 6) guest.memory.bytes[random.between(0x1000, 0x4000)] = random.between(0, 255);
      else if (pick === 7) guest.notify(random.between(0, 8));
      else if (pick === 8) guest.net.receive(frame(random.between(14, 1500)), 0, 14);
      else guest.net.run(3);
      if (i % 500 === 0) guest.start();
    }
    guest.start();
    guest.post(0);
    guest.net.receive(frame(), 0, 100);
    guest.net.run(10);
    expect(guest.used(0).entries[0]).toEqual([0, 112]);
  });
});

describe('the state of a virtio-net device', () => {
  function busy(): VirtioGuest {
    const guest = started({ standby: true });
    for (let i = 0; i < 4; i++) guest.post(i);
    guest.net.receive(frame(), 0, 100);
    guest.send(frame());
    guest.net.run(10);
    guest.net.halt();
    return guest;
  }

  it('goes on elsewhere from where it stood, in the same memory', () => {
    const source = busy();
    const target = new VirtioGuest({ standby: true });
    target.memory.bytes.set(source.memory.bytes);
    target.port.restore(source.port.save());
    const record = source.net.transport.save();
    target.net.transport.restore(record);
    expect(target.net.transport.save()).toEqual(record);
    target.net.receive(frame(), 0, 100);
    expect(target.net.drops.stopped).toBe(1);
    target.net.resume();
    target.net.receive(frame(70, 9), 0, 70);
    target.net.run(10);
    expect(target.used(0)).toEqual({
      index: 2,
      entries: [
        [0, 112],
        [1, 82],
      ],
    });
    expect(target.vectors).toEqual([1]);
    expect(target.net.counts).toEqual({ received: 2, sent: 1 });
  });

  it('is refused, and nothing of it taken over, where it fits no device', () => {
    const record = busy().net.transport.save();
    const guest = started();
    const before = guest.net.transport.save();
    const banks = record.state.length - 3 * 0x24;
    const damaged = record.state.slice();
    damaged[banks] = 3;
    expect(() => guest.net.transport.restore({ ...record, state: damaged })).toThrow(
      /queue 0 has \d+ entries/,
    );
    expect(() => guest.net.transport.restore({ ...record, state: record.state.slice(1) })).toThrow();
    expect(() => guest.net.transport.restore({ ...record, version: 2 })).toThrow(/version 2/);
    expect(guest.net.transport.save()).toEqual(before);
    expect(guest.net.transport.describe(record).length).toBeGreaterThan(20);
    expect(describeRegisters(commonConfig, new Uint8Array(3)).length).toBeGreaterThan(0);
  });
});
