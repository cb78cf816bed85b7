/** A served virtual function asked over its monitor, while a client of ours has it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { FEATURE_GET } from '../../devices/vfio/device.js';
import { type ServedNic, spawnNic } from '../../lab/nic/spawn.js';
import { COMMAND, CONFIG_REGION, deviceFeature, ENODEV } from '../../vmm/vfio-user/protocol.js';
import { loadUnixSockets, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { GuestFile, TestDriver, VfioUserClient } from '../vmm/vfio-user-client.js';
import { Wire } from '../vmm/vfio-user-world.js';
import { until } from '../waiting.js';

const MAC = '52:54:00:12:34:56';
const RARP = 0x8035;
const sockets = await loadUnixSockets().catch(() => undefined);

describe.skipIf(sockets === undefined && process.env.CI === undefined)(
  "a served virtual function's monitor (skipped without koffi)",
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'nic-monitor-'));
    const path = join(folder, 'vf.sock');
    let wire: Wire;
    let nic: ServedNic;
    let client: VfioUserClient;
    let memory: GuestFile;
    let driver: TestDriver;

    beforeAll(async () => {
      wire = new Wire(join(folder, 'net.sock'));
      nic = await spawnNic({
        vfioUser: `unix:${path}`,
        netdev: `unix:${join(folder, 'net.sock')}`,
        mac: MAC,
      });
      client = new VfioUserClient(sockets as UnixSockets, path, { staysOn: true });
      await client.negotiate(0);
      memory = new GuestFile(join(folder, 'memory'));
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      driver = new TestDriver(client, memory);
    });
    afterAll(async () => {
      try {
        client.close();
        await client.left();
      } finally {
        await nic.quit();
        memory.close();
        wire.close();
        rmSync(folder, { recursive: true });
      }
    });

    it('tells how the function is, before its driver has come and after', async () => {
      const before = await nic.report();
      expect(before).toMatchObject({
        name: 'vf0',
        mac: MAC,
        link: true,
        trust: false,
        spoofchk: true,
        query_rss: false,
        'clear-to-send': false,
        clients: 1,
        mappings: 1,
      });
      await driver.open();
      expect(await nic.report()).toMatchObject({ 'clear-to-send': true, counters: { 'frames-sent': 0 } });
      const frame = new Uint8Array(100);
      frame.set([2, 0, 0, 0, 0, 9, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
      driver.send(frame);
      await wire.frame;
      expect(await nic.report()).toMatchObject({ counters: { 'frames-sent': 1 } });
    });

    it('refuses in words what there is not', async () => {
      const refusals: [string, object | undefined, RegExp][] = [
        ['migrate', undefined, /has not been found/],
        ['set_link', { name: 'vf1', up: false }, /Device 'vf1' not found/],
        ['set_link', { name: 'vf0' }, /'up' is missing/],
        ['set-vf', { mac: MAC }, /'mac' is unexpected/],
      ];
      for (const [command, args, why] of refusals) {
        await expect(nic.execute(command, args as Record<string, unknown>)).rejects.toThrow(why);
      }
    });

    it('takes its link away and gives it back, and the driver is told each time', async () => {
      await driver.open();
      const { PFSTS } = reg.MAILBOX.fields;
      const told = async (): Promise<boolean> => PFSTS.get(await driver.get(reg.MAILBOX)) === 1;
      await until('the driver has read all that it was told', async () => {
        if (!(await told())) return true;
        driver.acknowledge();
        return false;
      });
      await nic.execute('set_link', { name: 'vf0', up: false });
      expect(await nic.report()).toMatchObject({ link: false, 'clear-to-send': false });
      expect(await told()).toBe(true);
      await nic.execute('set_link', { name: 'vf0', up: true });
      expect(await nic.report()).toMatchObject({ link: true });
    });

    it('changes what the driver may do, and says what the function lets in', async () => {
      await nic.execute('set-vf', { trust: true, query_rss: true });
      expect(await nic.report()).toMatchObject({ trust: true, query_rss: true, spoofchk: true });
      expect(await nic.execute('query-rx-filter')).toMatchObject([{ name: 'vf0', 'main-mac': MAC }]);
    });

    it('resets the part under the driver, which sees it in its mailbox and has lost its right to send', async () => {
      await driver.open();
      await driver.get(reg.MAILBOX);
      await nic.execute('reset-pf');
      expect(reg.MAILBOX.fields.RSTD.get(await driver.get(reg.MAILBOX))).toBe(1);
      expect(await nic.report()).toMatchObject({ 'clear-to-send': false, link: true });
      await driver.open();
      expect(await nic.report()).toMatchObject({ 'clear-to-send': true });
    });

    it('has it tell the network where it is', async () => {
      await nic.execute('announce-self', { initial: 50, max: 550, rounds: 1, step: 100 });
      const frame = await wire.frame;
      expect((frame[12]! << 8) | frame[13]!).toBe(RARP);
      expect([...frame.subarray(6, 12)]).toEqual([0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    });

    it('takes the function away under its client, and gives it back as after power-on', async () => {
      await driver.open();
      await nic.execute('set-present', { present: false });
      expect(await nic.report()).toMatchObject({ present: false });
      expect([...(await client.read(0, reg.STATUS.offset, 4))]).toEqual([255, 255, 255, 255]);
      expect([...(await client.read(CONFIG_REGION, 0, 4))]).toEqual([255, 255, 255, 255]);
      // Nothing that is done to it meanwhile reaches it, nor gives it the right to memory again.
      client.write(CONFIG_REGION, 4, Uint8Array.of(6, 0));
      client.write(0, reg.CTRL.offset, Uint8Array.of(0, 0, 0, 4));
      await client.call(COMMAND.RESET);
      expect(
        (
          await client.call(
            COMMAND.DEVICE_FEATURE,
            deviceFeature.encode({ argsz: 64, flags: FEATURE_GET | 1 }),
          )
        ).errno,
      ).toBe(ENODEV);
      const { dmaBlocked } = await nic.report();
      await nic.execute('set-present', { present: true });
      expect([...(await client.read(CONFIG_REGION, 0, 8))]).toEqual([0x86, 0x80, 0xed, 0x10, 0, 0, 0x10, 0]);
      await client.call(COMMAND.RESET);
      await driver.open();
      expect(await nic.report()).toMatchObject({ present: true, 'clear-to-send': true, dmaBlocked });
    });

    it("moves its state by VFIO's steps beside a client that does not know them", async () => {
      await driver.open();
      const ring = await driver.get(reg.RDBAL);
      await expect(nic.execute('read-state')).rejects.toThrow(/the device is in RUNNING/);
      await nic.execute('set-state', { state: 'STOP_COPY' });
      const { data, end } = (await nic.execute('read-state')) as { data: string; end: boolean };
      expect(end || ((await nic.execute('read-state')) as { end: boolean }).end).toBe(true);
      await expect(nic.execute('set-state', { state: 'PRE_COPY' })).rejects.toThrow(/there is no way/);
      await nic.execute('set-state', { state: 'STOP' });
      await client.call(COMMAND.RESET);
      expect(await nic.report()).toMatchObject({ state: 'RUNNING' });
      expect(await driver.get(reg.RDBAL)).not.toBe(ring);
      await nic.execute('set-state', { state: 'RESUMING' });
      await expect(nic.execute('write-state', { data: 'no base64!' })).rejects.toThrow(
        /'data' expects base64/,
      );
      // Cut where no piece ends.
      const bytes = Buffer.from(data, 'base64');
      for (const piece of [bytes.subarray(0, 101), bytes.subarray(101)])
        await nic.execute('write-state', { data: piece.toString('base64') });
      await nic.execute('set-state', { state: 'RUNNING' });
      expect(await nic.report()).toMatchObject({ state: 'RUNNING', 'clear-to-send': true });
      expect(await driver.get(reg.RDBAL)).toBe(ring);
    });

    it('tells a client that knows no DMA logging which pages were written, by writing there what is there', async () => {
      await client.call(COMMAND.RESET);
      const fresh = new TestDriver(client, memory);
      await fresh.open();
      await expect(nic.execute('tell-written')).rejects.toThrow(/it has not been started/);
      await nic.execute('log-writes', { enable: true });
      client.memory = memory;
      const frame = new Uint8Array(100);
      frame.set([2, 0, 0, 0, 0, 9, 0x52, 0x54, 0, 0x12, 0x34, 0x56]);
      const sent = wire.frame;
      fresh.send(frame);
      await sent;
      // What it writes of the frame that went, it has written when it answers.
      await fresh.get(reg.TDH);
      const after = memory.read(0, memory.bytes);
      client.asked.length = 0;
      // The frame is the driver's own; what the function wrote is that it was sent, where the frame was described.
      expect(await nic.execute('tell-written')).toEqual({ pages: 1 });
      expect(client.asked).toEqual([COMMAND.DMA_WRITE]);
      expect(memory.read(0, memory.bytes)).toEqual(after);
      expect(await nic.execute('tell-written')).toEqual({ pages: 0 });
      await nic.execute('log-writes', { enable: false });
    });

    it('a second one at its address ends with the reason, though it has a cable already', async () => {
      const netdev = `unix:${join(folder, 'net.sock')}`;
      await expect(spawnNic({ vfioUser: `unix:${path}`, netdev })).rejects.toMatchObject({
        code: 'vmm/listen-failed',
      });
    });

    it('ends it', async () => {
      expect(await nic.quit()).toMatchObject({ exitStatus: 0 });
      await client.left();
    });
  },
);
