/** A virtual function as the device of another VMM: a client of our own attaches as QEMU does, and as nobody should. */
import { closeSync, ftruncateSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { VF_DEVICE_ID } from '../../devices/nic82599/functions.js';
import { VENDOR_INTEL } from '../../devices/pci/identities.js';
import { FEATURE_MIG_DEVICE_STATE, FEATURE_SET } from '../../devices/vfio/device.js';
import { RESUMING, RUNNING, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import {
  COMMAND,
  CONFIG_REGION,
  deviceInfo,
  dmaMap,
  dmaUnmap,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOSYS,
  irqInfo,
  irqSet,
  MINOR_OF_FIXED_REPLIES,
  migrationData,
  regionAccess,
  regionInfo,
  version,
} from '../../vmm/vfio-user/protocol.js';
import { loadUnixSockets, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { until as eventually } from '../waiting.js';
import { GuestFile, message, type Reply, TestDriver, VfioUserClient } from './vfio-user-client.js';
import { NicProcess, signalledOn, Wire } from './vfio-user-world.js';

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
const sockets = await loadUnixSockets().catch(() => undefined);
const koffi = sockets && (await import('koffi')).default;
const makeEventfd = koffi?.load(null).func('int eventfd(unsigned int, int)');
const EFD_NONBLOCK = 0x800;

/** A frame for the function, told apart by `mark`. */
const frameOf = (mark: number): Uint8Array =>
  Uint8Array.from({ length: 100 }, (_, i) => (i < 6 ? MAC[i]! : i === 6 ? 2 : i < 14 ? 0 : mark));
const addressed = (mark: number): Uint8Array => {
  const frame = frameOf(mark);
  frame.set(Uint8Array.of(2, 0, 0, 0, 0, 9), 0);
  frame.set(MAC, 6);
  return frame;
};

describe.skipIf(sockets === undefined && process.env.CI === undefined)(
  'a virtual function over vfio-user (skipped without koffi)',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'vfio-user-'));
    const path = join(folder, 'vf.sock');
    let wire: Wire;
    let nic: NicProcess;
    /** Descriptors that it has without a client. */
    let alone = 0;
    let memory: GuestFile;
    let client: VfioUserClient;
    const eventfds: number[] = [];
    const unix = sockets as UnixSockets;

    const eventfd = (): number => {
      const fd = Number(makeEventfd!(0, EFD_NONBLOCK));
      eventfds.push(fd);
      return fd;
    };
    const until = (what: string, condition: () => boolean): Promise<void> =>
      eventually(what, () => {
        if (client.ended) throw new Error(`the device has let the client go; awaited: ${what}`);
        return condition();
      });
    const received = (driver: TestDriver, n: number, mark: number): Promise<void> =>
      until(`frame 0x${mark.toString(16)} is in buffer ${n}`, () => driver.received(n, 100)[99] === mark);
    const interrupted = (vector: number): Promise<void> =>
      until('the vector is signalled', () => signalledOn(vector) > 0);
    /** The client leaves, and the device has seen it. */
    const leave = async (): Promise<void> => {
      client.close();
      await client.left();
      await nic.says('the client is gone');
    };
    /** It closes descriptors when who waits for them has gone. */
    const holds = (count: number): Promise<void> =>
      expect.poll(() => nic.descriptors, { timeout: 60_000, interval: 10 }).toBe(count);
    const open = async (minor = 0): Promise<void> => {
      client = new VfioUserClient(unix, path);
      expect((await client.negotiate(minor)).errno).toBe(0);
    };

    beforeAll(async () => {
      wire = new Wire(join(folder, 'net.sock'));
      nic = new NicProcess(path, join(folder, 'net.sock'), { staysOn: true });
      await nic.says('listening');
      alone = nic.descriptors;
    });
    beforeEach(() => {
      memory = new GuestFile(join(folder, 'memory'));
    });
    afterEach(async () => {
      try {
        await leave();
        await holds(alone);
      } finally {
        memory.close();
        for (const fd of eventfds.splice(0)) closeSync(fd);
      }
    });
    afterAll(async () => {
      try {
        await nic.end();
      } finally {
        wire.close();
        rmSync(folder, { recursive: true });
      }
    });

    it("answers the messages of QEMU's attach, in its order", async () => {
      client = new VfioUserClient(unix, path);
      const agreed = await client.negotiate(0);
      const { major, minor } = version.read(new DataView(agreed.payload.buffer), 0);
      // A client of 0.0 refuses a higher one.
      expect([agreed.errno, major, minor]).toEqual([0, 0, 0]);
      const text = new TextDecoder().decode(agreed.payload.subarray(version.size));
      expect(text.at(-1)).toBe('\0');
      expect(JSON.parse(text.slice(0, -1))).toMatchObject({
        capabilities: { pgsizes: 4096, write_multiple: true, migration: { pgsize: 4096 } },
      });
      // Pipelined, one with memory and one without.
      const maps = await Promise.all([
        client.map(0, 0x1000, memory.fd),
        client.map(0x10000, 0x1000, undefined, 1),
      ]);
      expect(maps.map(({ errno }) => errno)).toEqual([0, 0]);
      const ask = async (command: number, bytes: Uint8Array): Promise<DataView> =>
        new DataView((await client.call(command, bytes)).payload.buffer);
      const info = deviceInfo.read(await ask(COMMAND.GET_INFO, deviceInfo.encode({ argsz: 16 })), 0);
      expect(info).toEqual({ argsz: 16, flags: 3, regions: 9, irqs: 5 });
      const sizes: number[] = [];
      for (const index of [0, 1, 2, 3, 4, 5, 7]) {
        const view = await ask(COMMAND.GET_REGION_INFO, regionInfo.encode({ argsz: 32, index }));
        sizes.push(regionInfo.read(view, 0).size);
      }
      expect(sizes).toEqual([16384, 0, 0, 16384, 0, 0, 4096]);
      const irqs: number[] = [];
      for (const index of [0, 1, 2, 3, 4]) {
        const view = await ask(COMMAND.GET_IRQ_INFO, irqInfo.encode({ argsz: 16, index }));
        irqs.push(irqInfo.read(view, 0).count);
      }
      expect(irqs).toEqual([0, 0, 3, 0, 0]);
      const config = await client.read(CONFIG_REGION, 0, 4096);
      const view = new DataView(config.slice().buffer);
      expect([view.getUint16(0, true), view.getUint16(2, true)]).toEqual([VENDOR_INTEL, VF_DEVICE_ID]);
      // What nobody decodes yet reads as all ones.
      expect([...(await client.read(0, 8, 4))]).toEqual([255, 255, 255, 255]);
      expect((await client.call(COMMAND.RESET)).errno).toBe(0);
      // The client's own, and one for memory.
      await holds(alone + 2);
    });

    const kinds: readonly [what: string, shared: boolean][] = [
      ['of a file that is shared', true],
      ['that only messages reach', false],
    ];
    it.each(kinds)('frames go both ways, with interrupts, by memory %s', async (_what, shared) => {
      await open();
      if (!shared) client.memory = memory;
      await client.map(0, memory.bytes, shared ? memory.fd : undefined);
      await client.call(COMMAND.RESET);
      const vector = eventfd();
      await client.setVectors(0, [vector]);
      const driver = new TestDriver(client, memory);
      await driver.open();
      for (let i = 0; i < 3; i++) {
        wire.send(frameOf(0x10 + i));
        await received(driver, i, 0x10 + i);
        expect(driver.received(i, 100)).toEqual(frameOf(0x10 + i));
        await interrupted(vector);
        await driver.rearm();
      }
      driver.send(addressed(0x77));
      expect(await wire.frame).toEqual(addressed(0x77));
      // The completion of what was sent interrupts too.
      await interrupted(vector);
      expect(client.asked.includes(COMMAND.DMA_WRITE)).toBe(!shared);
    });

    it('what a vector without an eventfd has to say is said when it has one', async () => {
      await open();
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      const vector = eventfd();
      // The device's MSI-X is on, and then this vector leads nowhere.
      await client.setVectors(0, [vector]);
      await client.call(
        COMMAND.SET_IRQS,
        irqSet.encode({ argsz: 20, flags: 0x24, index: 2, start: 0, count: 1 }),
      );
      const driver = new TestDriver(client, memory);
      await driver.open();
      wire.send(frameOf(0x21));
      await received(driver, 0, 0x21);
      const pending = async (): Promise<number> => (await client.read(3, 0x2000, 4))[0]!;
      await eventually('the vector is pending', async () => (await pending()) !== 0);
      expect(signalledOn(vector)).toBe(0);
      await client.setVectors(0, [vector]);
      expect(signalledOn(vector)).toBe(1);
      expect(await pending()).toBe(0);
    });

    it('state stays over a disconnect: its interrupt is all that a client needs to go on', async () => {
      await open();
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      await new TestDriver(client, memory).open();
      await leave();
      await open();
      await client.map(0, memory.bytes, memory.fd);
      const vector = eventfd();
      await client.setVectors(0, [vector]);
      const driver = new TestDriver(client, memory);
      wire.send(frameOf(0x33));
      await received(driver, 0, 0x33);
      await interrupted(vector);
    });

    it('a client that goes away in the middle of DMA leaves nothing behind', async () => {
      await open();
      await client.map(0, memory.bytes);
      await client.map(memory.bytes, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      await client.setVectors(0, [eventfd(), eventfd()]);
      client.memory = memory;
      await new TestDriver(client, memory).open();
      // From now on it does not answer: the device waits for it within a request.
      client.memory = undefined;
      client.asked.length = 0;
      wire.send(frameOf(0x41));
      await until('the device asks for memory', () => client.asked.length > 0);
      await leave();
      await holds(alone);
      await open();
    });

    it('moves to the function of a second process, and traffic goes on there', async () => {
      const feature = (one: VfioUserClient, flags: number, ...data: readonly number[]): Promise<Reply> =>
        one.call(
          COMMAND.DEVICE_FEATURE,
          new Uint8Array(Uint32Array.of(8 + 4 * data.length, flags, ...data).buffer),
        );
      const setState = async (one: VfioUserClient, state: number): Promise<void> => {
        expect((await feature(one, FEATURE_SET | FEATURE_MIG_DEVICE_STATE, state, 0)).errno).toBe(0);
      };
      const secondWire = new Wire(join(folder, 'second-net.sock'));
      onTestFinished(() => secondWire.close());
      const second = new NicProcess(join(folder, 'second.sock'), join(folder, 'second-net.sock'));
      await second.says('listening');
      await open();
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      await client.setVectors(0, [eventfd()]);
      const driver = new TestDriver(client, memory);
      await driver.open();
      wire.send(frameOf(0x61));
      await received(driver, 0, 0x61);
      driver.send(addressed(0x62));
      expect(await wire.frame).toEqual(addressed(0x62));
      await setState(client, STOP);
      // What is asked for now, its successor does.
      driver.send(addressed(0x63));
      await setState(client, STOP_COPY);
      const asked = 4096;
      const there = new VfioUserClient(unix, join(folder, 'second.sock'));
      await there.negotiate();
      await there.map(0, memory.bytes, memory.fd);
      await setState(there, RESUMING);
      for (let size = asked; size === asked; ) {
        const { payload } = await client.call(
          COMMAND.MIG_DATA_READ,
          migrationData.encode({ argsz: 8 + asked, size: asked }),
        );
        size = migrationData.read(new DataView(payload.buffer), 0).size;
        const piece = payload.subarray(0, migrationData.size + size);
        expect((await there.call(COMMAND.MIG_DATA_WRITE, piece)).errno).toBe(0);
      }
      await setState(there, RUNNING);
      const vector = eventfd();
      await there.setVectors(0, [vector]);
      driver.movesTo(there);
      expect(await secondWire.frame).toEqual(addressed(0x63));
      secondWire.send(frameOf(0x64));
      await received(driver, 1, 0x64);
      await interrupted(vector);
      expect(wire.frames).toEqual([]);
      there.close();
      await there.left();
      await second.end();
    });

    const encoded = (fields: Partial<ReturnType<typeof dmaMap.read>>): Uint8Array =>
      dmaMap.encode({ argsz: 32, flags: 3, size: 0x1000, ...fields });
    const access = (offset: number, region: number, count: number): Uint8Array =>
      regionAccess.encode({ offset, region, count });
    const wrong: readonly [what: string, errno: number, command: number, payload: Uint8Array][] = [
      ['an unknown command', ENOSYS, 99, new Uint8Array(4)],
      ['a second version', EINVAL, COMMAND.VERSION, version.encode({})],
      ['a map of nothing', EINVAL, COMMAND.DMA_MAP, encoded({ size: 0 })],
      ['a map off its page', EINVAL, COMMAND.DMA_MAP, encoded({ address: 0x5001 })],
      [
        'a map beyond all addresses',
        EINVAL,
        COMMAND.DMA_MAP,
        encoded({ address: 2 ** 53 - 4096, size: 0x10000 }),
      ],
      ['a map for nobody', EINVAL, COMMAND.DMA_MAP, encoded({ flags: 0 })],
      ['a map over another', EEXIST, COMMAND.DMA_MAP, encoded({ address: 0x1000 })],
      ['a map that is cut short', EINVAL, COMMAND.DMA_MAP, encoded({}).subarray(0, 20)],
      [
        'an unmap of what is not mapped',
        ENOENT,
        COMMAND.DMA_UNMAP,
        dmaUnmap.encode({ argsz: 24, address: 0x9000, size: 4096 }),
      ],
      [
        'an unmap of a part',
        ENOENT,
        COMMAND.DMA_UNMAP,
        dmaUnmap.encode({ argsz: 24, address: 0, size: 4096 }),
      ],
      [
        'an unmap of all and of a range',
        EINVAL,
        COMMAND.DMA_UNMAP,
        dmaUnmap.encode({ argsz: 24, flags: 2, size: 4096 }),
      ],
      [
        'a region that there is not',
        EINVAL,
        COMMAND.GET_REGION_INFO,
        regionInfo.encode({ argsz: 32, index: 9 }),
      ],
      [
        'interrupts that there are not',
        EINVAL,
        COMMAND.GET_IRQ_INFO,
        irqInfo.encode({ argsz: 16, index: 5 }),
      ],
      ['a read beyond a region', EINVAL, COMMAND.REGION_READ, access(16383, 0, 2)],
      ['a read of a region of no size', EINVAL, COMMAND.REGION_READ, access(0, 1, 4)],
      ['a read of too much', E2BIG, COMMAND.REGION_READ, access(0, 0, 0xffff_ffff)],
      ['a write without its data', EINVAL, COMMAND.REGION_WRITE, access(0, 0, 8)],
      [
        'several writes that are fewer',
        EINVAL,
        COMMAND.REGION_WRITE_MULTI,
        Uint8Array.of(2, 0, 0, 0, 0, 0, 0, 0),
      ],
      [
        'vectors beyond the last',
        EINVAL,
        COMMAND.SET_IRQS,
        irqSet.encode({ argsz: 20, flags: 0x21, index: 2, start: 3, count: 1 }),
      ],
      [
        'a vector to be masked',
        EINVAL,
        COMMAND.SET_IRQS,
        irqSet.encode({ argsz: 20, flags: 0x09, index: 2, start: 0, count: 1 }),
      ],
      [
        'an interrupt line',
        EINVAL,
        COMMAND.SET_IRQS,
        irqSet.encode({ argsz: 20, flags: 0x21, index: 0, start: 0, count: 1 }),
      ],
    ];
    it.each(wrong)('%s is refused, and the client stays', async (_what, errno, command, payload) => {
      await open();
      await client.map(0, 0x4000, memory.fd);
      const reply: Reply = await client.call(command, payload);
      expect([reply.errno, reply.payload.length]).toEqual([errno, 0]);
      expect((await client.read(CONFIG_REGION, 0, 4)).length).toBe(4);
      await holds(alone + 2);
    });

    it('descriptors that are no memory or no eventfd are refused, and closed', async () => {
      await open();
      const event = eventfd();
      expect((await client.map(0, 0x1000, event)).errno).toBe(EINVAL);
      expect((await client.map(0, memory.bytes * 2, memory.fd)).errno).toBe(EINVAL);
      expect((await client.setVectors(0, [memory.fd])).errno).toBe(EINVAL);
      expect((await client.setVectors(1, [event, event, event])).errno).toBe(EINVAL);
      await holds(alone + 1);
    });

    it('memory that the client cuts short afterwards blocks requests, and harms nobody', async () => {
      await open();
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      const driver = new TestDriver(client, memory);
      await driver.open();
      ftruncateSync(memory.fd, 0);
      driver.doorbell();
      wire.send(frameOf(0x51));
      expect((await client.read(CONFIG_REGION, 0, 4)).length).toBe(4);
    });

    it("rust-vmm's client, which reads replies of a fixed size, gets them with errors too", async () => {
      await open(MINOR_OF_FIXED_REPLIES);
      const lengths: number[] = [];
      for (const [command, payload] of [
        [COMMAND.REGION_READ, access(16383, 0, 2)],
        [COMMAND.REGION_WRITE, access(0, 0, 8)],
        [COMMAND.DMA_UNMAP, dmaUnmap.encode({ argsz: 24, address: 0x9000, size: 4096 })],
      ] as const) {
        const reply = await client.call(command, payload);
        expect(reply.errno).not.toBe(0);
        lengths.push(reply.payload.length);
      }
      expect(lengths).toEqual([18, 16, 24]);
    });

    const broken: readonly [what: string, bytes: Uint8Array][] = [
      [
        'a message shorter than its header',
        message({ id: 0, command: 4, payload: new Uint8Array(0), size: 8 }),
      ],
      [
        'a message longer than all',
        message({ id: 0, command: 4, payload: new Uint8Array(0), size: 0xffff_ffff }),
      ],
      ['a reply to nothing', message({ id: 0, command: 11, flags: 1, payload: new Uint8Array(16) })],
      ['a message of no type', message({ id: 0, command: 4, flags: 7, payload: new Uint8Array(16) })],
    ];
    it.each(broken)('%s ends the connection, and the next client is served', async (_what, bytes) => {
      await open();
      client.raw(bytes);
      await client.left();
      await nic.says('the client is gone: ');
      await open();
      expect((await client.read(CONFIG_REGION, 0, 4)).length).toBe(4);
    });

    it('whatever is sent, the process lives and holds on to nothing', async () => {
      const random = seededRandom(10).fork('vfio-user');
      const any = (max: number): number => (random.chance(0.8) ? random.below(max) : random.below(2 ** 32));
      let refused = 0;
      let taken = 0;
      for (let round = 0; round < 20; round++) {
        const one = new VfioUserClient(unix, path);
        one.memory = memory;
        if (random.chance(0.9)) await one.negotiate(random.below(3));
        for (let i = 0; i < 40 && !one.ended; i++) {
          const words = Uint32Array.from({ length: random.below(12) }, () =>
            any(random.pick([2, 16, 0x4000])),
          );
          words[0] = random.pick([16, 20, 24, 32, words[0] ?? 0]);
          const fds = Array.from({ length: random.chance(0.3) ? random.below(4) : 0 }, () => memory.fd);
          const command = random.chance(0.95) ? 1 + random.below(18) : random.below(0x10000);
          const reply = await one.try(command, new Uint8Array(words.buffer), fds);
          if (reply === undefined) break;
          if (reply.errno === 0) taken++;
          else refused++;
        }
        if (random.chance(0.3))
          one.raw(
            Uint8Array.from({ length: 40 }, () => random.below(256)),
            [memory.fd],
          );
        one.close();
        await one.left();
        await nic.says('the client is gone');
      }
      await holds(alone);
      await open();
      expect(taken).toBeGreaterThan(20);
      expect(refused).toBeGreaterThan(100);
    });
  },
);
