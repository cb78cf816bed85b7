/** A served virtual function asked over its monitor, while a client of ours has it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { type ServedNic, spawnNic } from '../../lab/nic/spawn.js';
import { COMMAND } from '../../vmm/vfio-user/protocol.js';
import { loadUnixSockets, type UnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { GuestFile, TestDriver, VfioUserClient } from '../vmm/vfio-user-client.js';
import { Wire } from '../vmm/vfio-user-world.js';

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
      client = new VfioUserClient(sockets as UnixSockets, path);
      await client.negotiate(0);
      memory = new GuestFile(join(folder, 'memory'));
      await client.map(0, memory.bytes, memory.fd);
      await client.call(COMMAND.RESET);
      driver = new TestDriver(client, memory);
    });
    afterAll(async () => {
      client.close();
      await client.gone;
      memory.close();
      wire.close();
      rmSync(folder, { recursive: true });
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
      while (await told()) driver.acknowledge();
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

    it('ends it', async () => {
      expect(await nic.quit()).toMatchObject({ exitStatus: 0 });
      await client.gone;
    });
  },
);
