/** What a guest sees, and in which order, of a function whose memory is reached by messages: over real sockets and eventfds. */
import { closeSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { COMMAND, CONFIG_REGION, regionAccess } from '../../vmm/vfio-user/protocol.js';
import { loadUnixSockets, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { until as eventually } from '../waiting.js';
import { GuestFile, message, TestDriver, VfioUserClient } from './vfio-user-client.js';
import { NicProcess, signalledOn, Wire } from './vfio-user-world.js';

const MAC = [0x52, 0x54, 0, 0x12, 0x34, 0x56] as const;
const sockets = await loadUnixSockets().catch(() => undefined);
const koffi = sockets && (await import('koffi')).default;
const makeEventfd = koffi?.load(null).func('int eventfd(unsigned int, int)');
const EFD_NONBLOCK = 0x800;
const { DMA_READ, DMA_WRITE } = COMMAND;

const frameOf = (mark: number): Uint8Array =>
  Uint8Array.from({ length: 100 }, (_, i) => (i < 6 ? MAC[i]! : i === 6 ? 2 : i < 14 ? 0 : mark));

describe.skipIf(sockets === undefined && process.env.CI === undefined)(
  'memory that only messages reach (skipped without koffi)',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'vfio-user-order-'));
    const path = join(folder, 'vf.sock');
    let wire: Wire;
    let nic: NicProcess;
    let alone = 0;
    let memory: GuestFile;
    let client: VfioUserClient;
    let driver: TestDriver;
    let vector = -1;
    const unix = sockets as UnixSockets;

    const signalled = (): number => signalledOn(vector);
    const until = (condition: () => boolean): Promise<void> =>
      eventually(`what the device was asked for has come: ${condition}`, () => {
        if (client.ended) throw new Error('the device has let the client go');
        return condition();
      });
    const count = (command: number): number => client.asked.filter((one) => one === command).length;
    /** The function has its descriptors: from now on it only writes, and hears nothing of that. */
    const openLate = async (): Promise<void> => {
      client = new VfioUserClient(unix, path);
      client.memory = memory;
      expect((await client.negotiate()).errno).toBe(0);
      await client.map(0, memory.bytes);
      await client.call(COMMAND.RESET);
      await client.setVectors(0, [vector]);
      driver = new TestDriver(client, memory);
      await driver.open();
      wire.send(frameOf(1));
      await until(() => signalled() > 0);
      await driver.rearm();
      client.late = true;
      client.asked.length = 0;
    };

    beforeAll(async () => {
      wire = new Wire(join(folder, 'net.sock'));
      nic = new NicProcess(path, join(folder, 'net.sock'), { staysOn: true });
      await nic.says('listening');
      alone = nic.descriptors;
    });
    beforeEach(async () => {
      memory = new GuestFile(join(folder, 'memory'));
      vector = Number(makeEventfd!(0, EFD_NONBLOCK));
      await openLate();
    });
    afterEach(async () => {
      client.close();
      await client.left();
      await nic.says('the client is gone');
      closeSync(vector);
      memory.close();
      await expect.poll(() => nic.descriptors, { timeout: 60_000, interval: 10 }).toBe(alone);
    });
    afterAll(async () => {
      await nic.end().finally(() => wire.close());
      rmSync(folder, { recursive: true });
    });

    it('an interrupt comes when what it announces was written, and not before', async () => {
      wire.send(frameOf(2));
      // The frame, and its descriptor in two parts.
      await until(() => client.unanswered === 3);
      // Whatever else it does meanwhile, such as to answer.
      await client.call(COMMAND.GET_IRQ_INFO, new Uint8Array(16));
      expect([signalled(), driver.isReceived(1)]).toEqual([0, false]);
      client.answer();
      await until(() => signalled() > 0);
      expect(driver.received(1, 100)).toEqual(frameOf(2));
    });

    it('what is written while an interrupt waits has one of its own', async () => {
      wire.send(frameOf(2));
      await until(() => client.unanswered === 3);
      wire.send(frameOf(3));
      await until(() => client.unanswered === 6);
      client.answer();
      await until(() => signalled() > 0);
      expect(driver.received(2, 100)).toEqual(frameOf(3));
    });

    it('a register says what was written, to who finds that in memory', async () => {
      wire.send(frameOf(2));
      await until(() => client.unanswered === 3);
      let head = -1;
      let seen = false;
      const read = driver.get(reg.RDH).then((value) => {
        head = value;
        seen = driver.isReceived(1);
      });
      // A second frame is written behind it: that is not what the reply waits for.
      wire.send(frameOf(3));
      await until(() => client.unanswered === 6);
      expect(head).toBe(-1);
      client.answer();
      await read;
      expect([head >= 2, seen]).toEqual([true, true]);
    });

    it('commands behind one whose reply waits are carried out in their order', async () => {
      wire.send(frameOf(2));
      await until(() => client.unanswered === 3);
      const order: string[] = [];
      const read = (region: number, offset: number): Promise<unknown> =>
        client.call(COMMAND.REGION_READ, regionAccess.encode({ offset, region, count: 4 }));
      const all = [
        read(0, reg.RDH.offset).then(() => order.push('head')),
        read(CONFIG_REGION, 0).then(() => order.push('identity')),
        client.call(COMMAND.RESET).then(() => order.push('reset')),
      ];
      client.answer();
      await Promise.all(all);
      expect(order).toEqual(['head', 'identity', 'reset']);
    });

    it('a client that answers nothing while it waits, as QEMU, gets its reply all the same, and the next at once', async () => {
      wire.send(frameOf(2));
      await until(() => client.unanswered === 3);
      expect(await driver.get(reg.RDH)).toBe(2);
      expect(client.unanswered).toBe(3);
      expect(await driver.get(reg.RDH)).toBe(2);
      client.answer();
      await until(() => signalled() > 0);
    });

    it('a client that goes away with writes and reads under way leaves nothing, and the next one is served', async () => {
      client.memory = undefined;
      for (let i = 2; i < 6; i++) wire.send(frameOf(i));
      driver.send(frameOf(9));
      await until(() => count(DMA_WRITE) >= 3 && count(DMA_READ) >= 1);
      const held = driver.get(reg.RDH);
      held.catch(() => undefined);
      client.close();
      await client.left();
      await nic.says('the client is gone');
      await expect.poll(() => nic.descriptors, { timeout: 60_000, interval: 10 }).toBe(alone);
      await openLate();
    });

    it('an answer to what was answered, or to another command, ends the connection', async () => {
      wire.send(frameOf(2));
      await until(() => client.unanswered === 3);
      client.raw(message({ id: 0xfff0, command: DMA_WRITE, flags: 1, payload: new Uint8Array(16) }));
      await client.left();
      await nic.says('the client is gone: a reply to nothing');
      await openLate();
    });
  },
);
