/**
 * A guest whose virtual function moves with it, under traffic: real processes, a real network between them, and the
 * verdict that people see. Nothing here knows how fast the machine is.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { FerryError } from '../../dist/base/errors.js';
import { explain } from '../../dist/lab/commands/inspect.js';
import type { Vmm } from '../../dist/lab/vmm-client/spawn.js';
import { readPcapng } from '../devices/ethernet-pcapng-reader.js';
import { cleanUp, cleanups, echoes, echoesFlow, moved, RATE, world } from './network-world.js';

afterEach(cleanUp);

/** The guest's address, as every VMM has it by default. */
const GUEST_MAC = '52:54:00:12:34:56';
const ETHERTYPE_RARP = 0x8035;
const TIMEOUT_MS = 120_000;
/** Behind a section's name come two checksums, then its content. */
const DAMAGE_BEHIND_NAME = 32 + 8 + 16;

function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-move-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

/** A slot in which no second is waited for. */
const QUICK = 'vf,slot=quick';
const WAYS = [
  { stop: 'device-state', start: 'device-state' },
  { stop: 'device-state', start: 'device-state' },
  { stop: 'capability', start: 'capability' },
  { stop: 'surprise', start: 'replace-event' },
  { stop: 'hot-unplug-quick', start: 'hot-plug-restore' },
  { stop: 'device-state', start: 'device-state' },
] as const;

/** What a process has open, and how many threads, where the host tells. */
type InUse = { readonly files: number; readonly threads: number } | undefined;

const inUseBy = ({ pid }: Vmm): InUse =>
  process.platform === 'linux'
    ? {
        files: readdirSync(`/proc/${pid}/fd`).length,
        threads: readdirSync(`/proc/${pid}/task`).length,
      }
    : undefined;

const macOf = (frame: Uint8Array, at: number): string =>
  [...frame.subarray(at, at + 6)].map((byte) => byte.toString(16).padStart(2, '0')).join(':');

describe('a guest with a virtio-net device', () => {
  it(
    'arrives byte for byte under echoes, and tells the network itself where it is now',
    async () => {
      const { record, network } = await moved({ nic: 'virtio', workload: 'udp-echo' });
      expect(record!.devices).toEqual([]);
      expect(network!.devices.map(({ name }) => name)).toEqual(['virtio-net0']);
      expect(network!.fabric.stations).toMatchObject({ moves: 1 });
    },
    TIMEOUT_MS,
  );

  it(
    'carries the traffic of a function that is unplugged for the move, and of which each loss is accounted for',
    async () => {
      const { record, network } = await moved({
        nic: 'vf,failover=on,slot=quick',
        workload: 'udp-echo',
        stop: 'failover',
        start: 'hot-plug',
      });
      expect(record!.approaches).toMatchObject({ stop: 'failover', start: 'hot-plug' });
      expect(record!.fallbacks).toEqual([]);
      expect(network!.devices.map(({ name }) => name)).toEqual(['vf0']);
      const told = record!.timeline.filter(({ what }) => what === 'unplug-primary');
      expect(told.map(({ who }) => who)).toEqual(['vf0']);
    },
    TIMEOUT_MS,
  );
});

describe('a guest that moves with its virtual function', () => {
  it(
    'arrives byte for byte under echoes; its network is measured to the end, and told once where it is now',
    async () => {
      const folder = freshFolder();
      const pcap = join(folder, 'move.pcapng');
      const options = { pcap, recordTo: folder, iommuLeaves: 'demote', verify: 'full' } as const;
      const { record, network, scenario } = await moved(options);
      expect(record!.verification).toMatchObject({ mode: 'full' });
      expect(record!.devices[0]).toMatchObject({ name: 'vf0' });
      expect(record!.dirtied.device).toBeGreaterThan(0);

      const { before, move, after, total, devices, fabric } = network!;
      const [{ guest, nics }] = devices as [(typeof devices)[number]];
      expect(scenario.flows).toEqual(['echo']);
      for (const phase of [before, move, after]) {
        expect(phase.durationNs).toBeGreaterThan(0);
        expect(phase.flows.map(({ flow }) => flow)).toEqual(['echo']);
        expect(phase.flows[0]!.arrived!.received).toBeGreaterThan(0);
        expect(phase.flows[0]!.arrived!.latency).not.toBeNull();
      }
      expect(total[0]!.pending).toBe(0);
      expect(guest.echo!.echoed).toBeGreaterThanOrEqual(total[0]!.arrived!.received);
      expect(guest.device).toMatchObject({ errors: 0, badChecksums: 0 });
      expect(nics).toMatchObject({ source: { stopped: expect.any(Number) }, destination: expect.anything() });
      // One station went from one port to another; the peer and the guest are all there are.
      expect(fabric.stations).toEqual({ known: 2, moves: 1, evictions: 0 });

      const { interfaces, packets } = readPcapng(readFileSync(pcap));
      expect(packets.length).toBeGreaterThanOrEqual(fabric.capture!.packets);
      const fromGuest = packets.filter(({ bytes }) => macOf(bytes, 6) === GUEST_MAC);
      const announced = fromGuest.filter(({ bytes }) => ((bytes[12]! << 8) | bytes[13]!) === ETHERTYPE_RARP);
      expect(announced.length, 'frames that announce its new place').toBeGreaterThan(0);
      const [first] = announced;
      expect(macOf(first!.bytes, 0)).toBe('ff:ff:ff:ff:ff:ff');
      // What the guest sent before came from another port, what it sent afterwards from this one, and never both.
      const at = fromGuest.indexOf(first!);
      const ports = (frames: typeof fromGuest) => [...new Set(frames.map((frame) => frame.interface))];
      expect(at).toBeGreaterThan(0);
      expect(ports(fromGuest.slice(at))).toEqual([first!.interface]);
      expect(ports(fromGuest.slice(0, at))).toHaveLength(1);
      expect(ports(fromGuest.slice(0, at))).not.toContain(first!.interface);
      expect(interfaces[first!.interface]!.name).not.toBe('');

      const control = join(folder, 'control.bin');
      const told = explain(control);
      expect(told.sound).toBe(true);
      const said = told.lines.join('\n');
      for (const name of [
        'vf/registers.RDH[0]',
        'assigned/msix.ADDRESS[0]',
        'vf/driver.mac',
        'config.pcie.SLOT_STATUS',
      ]) {
        expect(said).toContain(`  ${name} = `);
      }
      expect(said).not.toMatch(/damaged|unknown section|missing/);
      // The same with a bit of the function's registers turned over: said, and never thrown.
      const bytes = readFileSync(control);
      const section = bytes.indexOf('vf/registers', 0, 'latin1');
      expect(section).toBeGreaterThan(0);
      bytes[section + DAMAGE_BEHIND_NAME]! ^= 1;
      writeFileSync(control, bytes);
      expect(explain(control).lines.join('\n')).toMatch(/malformed|damaged/);
    },
    TIMEOUT_MS,
  );

  it(
    'is refused by a destination without a NIC, which names what is missing; its traffic goes on',
    async () => {
      const { fabric, source, destination } = await world(() => ({ incoming: 'tcp:127.0.0.1:0' }));
      const error = await source.migrate(await destination.incomingAddress()).then(
        () => undefined,
        (reason: unknown) => reason,
      );
      expect(error).toBeInstanceOf(FerryError);
      expect(error).toMatchObject({ code: 'vmm/machine-incompatible' });
      expect((error as FerryError).message).toMatch(
        /assigned functions: the source has 1 \(--nic vf\), this machine 0 /,
      );
      expect((await destination.exited).error?.code).toBe('vmm/machine-incompatible');
      expect(await source.runState()).toBe('running');
      expect((await source.nics()).map(({ state }) => state)).toEqual(['RUNNING']);
      await echoesFlow(fabric, RATE / 10);
      const { arrived } = await echoes(fabric);
      expect(arrived).toMatchObject({ corrupt: 0, duplicated: 0, reordered: 0 });
      expect((await fabric.report()).stations.moves).toBe(0);
    },
    TIMEOUT_MS,
  );

  it(
    'moves there and back again by other ways each time, with nothing corrupt and nothing left open',
    async () => {
      let { fabric, source, destination } = await world(
        (netdev) => ({ nic: QUICK, netdev, incoming: 'defer' }),
        1,
        QUICK,
      );
      const inUse: { readonly source: InUse; readonly destination: InUse }[] = [];
      for (const [i, { stop, start }] of WAYS.entries()) {
        await source.execute('migrate-set-parameters', { verify: 'full', stop, start });
        const record = await source.migrate(await destination.migrateIncoming('tcp:127.0.0.1:0'));
        expect(record.approaches).toMatchObject({ stop, start });
        expect(record.verification?.mode).toBe('full');
        await destination.waitForConsole(/ledger: .*, clean$/, { after: destination.console.length });
        await echoesFlow(fabric);
        expect(await source.runState()).toBe('postmigrate');
        expect((await destination.nics()).map(({ state }) => state)).toEqual(['RUNNING']);
        expect((await fabric.report()).stations.moves).toBe(i + 1);
        // Each was in this place two moves ago. The first two moves began what stays.
        const before = i >= 4 ? inUse[i - 2] : undefined;
        const now = () => ({ source: inUseBy(source), destination: inUseBy(destination) });
        if (before !== undefined) await vi.waitFor(() => expect(now(), stop).toEqual(before), TIMEOUT_MS);
        inUse.push(now());
        [source, destination] = [destination, source];
      }
      const report = await fabric.report();
      expect(report.peers[0]).toMatchObject({ checksumErrors: 0 });
      expect(report.peers[0]!.flows[0]!.arrived).toMatchObject({
        corrupt: 0,
        duplicated: 0,
        reordered: 0,
        tooLate: 0,
      });
      const said = [...source.console, ...destination.console].map(({ text }) => text);
      expect(
        said.filter((text) => /CORRUPT|panic|[1-9]\d* bad checksums|[1-9]\d* errors/.test(text)),
      ).toEqual([]);
    },
    TIMEOUT_MS,
  );
});
