/**
 * A guest whose virtual function moves with it, under traffic: real processes, a real network between them, and the
 * verdict that people see. Nothing here knows how fast the machine is.
 */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { MIB } from '../../base/units.js';
import { FerryError } from '../../dist/base/errors.js';
import { explain } from '../../dist/lab/commands/inspect.js';
import { type FabricProcess, spawnFabric } from '../../dist/lab/fabric/spawn.js';
import { migrate } from '../../dist/lab/index.js';
import type { MigrateResult } from '../../dist/lab/move/move.js';
import { KERNEL_IMAGE, type MigrateOptions } from '../../dist/lab/move/scenario.js';
import { spawnVmm, type Vmm } from '../../dist/lab/vmm-client/spawn.js';
import type { NicKind } from '../../vmm/process/nic-options.js';
import { readPcapng } from '../devices/ethernet-pcapng-reader.js';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const RATE = 2000;
/** The guest's address, as every VMM has it by default. */
const GUEST_MAC = '52:54:00:12:34:56';
const ETHERTYPE_RARP = 0x8035;
const TIMEOUT_MS = 120_000;
const POLL_MS = 10;
/** Behind a section's name come two checksums, then its content. */
const DAMAGE_BEHIND_NAME = 32 + 8 + 16;

function freshFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-move-'));
  cleanups.push(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function moved(options: MigrateOptions): Promise<MigrateResult> {
  const result = await migrate({ memoryBytes: 64 * MIB, settleMs: 400, rate: RATE, seed: 7, ...options });
  const others = result.verdict.checks.filter(({ outcome }) => outcome !== 'held');
  expect(others.map(({ name, outcome, seen }) => `${name}: ${outcome}, ${seen}`)).toEqual([]);
  expect(result.verdict.outcome).toBe('verified');
  return result;
}

interface World {
  readonly fabric: FabricProcess;
  readonly source: Vmm;
  readonly destination: Vmm;
}

/** A guest that answers echoes at the source, with echoes flowing over each of its functions. */
async function world(
  destinationOptions: (netdev: string) => Parameters<typeof spawnVmm>[0],
  functions = 1,
  nic: NicKind = `vf=${functions}`,
): Promise<World> {
  const fabric = await spawnFabric({ peers: ['ip=10.0.0.1'] });
  cleanups.push(() => fabric.quit());
  const spawned = async (options: Parameters<typeof spawnVmm>[0]): Promise<Vmm> => {
    const vmm = await spawnVmm(options);
    cleanups.push(() => vmm.quit());
    return vmm;
  };
  const source = await spawned({
    nic,
    netdev: fabric.address,
    guest: KERNEL_IMAGE,
    memoryBytes: 64 * MIB,
    append: 'workload=ledger,udp-echo status_ms=100',
  });
  const destination = await spawned(destinationOptions(fabric.address));
  for (let i = 0; i < functions; i++) {
    await source.waitForConsole(new RegExp(`eth${i}: NIC Link is Up`));
    await fabric.startFlow(`to=10.0.0.${2 + i},kind=echo,rate=${RATE},size=64`);
  }
  for (let i = 0; i < functions; i++) await echoesFlow(fabric, 100, i);
  return { fabric, source, destination };
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

const echoes = async (fabric: FabricProcess, flow = 0) => (await fabric.report()).peers[0]!.flows[flow]!;

/** Resolves when more echoes have come back. */
async function echoesFlow(fabric: FabricProcess, count = 100, flow = 0): Promise<void> {
  let start: number | undefined;
  for (;;) {
    const received = (await echoes(fabric, flow)).arrived?.received ?? 0;
    start ??= received;
    if (received >= start + count) return;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

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
    'arrives as well with pinned tracking, and traffic in both directions at once',
    async () => {
      const { record, network } = await moved({
        workload: 'udp-stream',
        flows: ['from-guest', 'to-guest'],
        tracking: 'pinned',
        verify: 'full',
      });
      expect(record!.approaches).toMatchObject({ tracking: 'pinned' });
      expect(network!.total.map(({ flow }) => flow).sort()).toEqual(['from-guest', 'to-guest']);
      expect(network!.devices[0]!.guest.incoming!.received).toBeGreaterThan(0);
      expect(network!.devices[0]!.guest.stream!.sent).toBeGreaterThan(0);
    },
    TIMEOUT_MS,
  );

  it(
    'arrives with eight functions, each verified, with an address and traffic of its own',
    async () => {
      const { record, network } = await moved({ nic: 'vf=8', rate: RATE / 8, verify: 'full' });
      const names = Array.from({ length: 8 }, (_, i) => `vf${i}`);
      expect(record!.devices.map(({ name }) => name)).toEqual(names);
      expect(network!.devices.map(({ name }) => name)).toEqual(names);
      for (const { name, guest, nics } of network!.devices) {
        const [own, ...others] = network!.total.filter(({ device }) => device === name);
        expect(others).toEqual([]);
        expect(own).toMatchObject({ flow: 'echo', pending: 0 });
        expect(own!.arrived!.received).toBeGreaterThan(0);
        expect(guest.echo!.echoed, name).toBeGreaterThanOrEqual(own!.arrived!.received);
        expect(guest.device, name).toMatchObject({ errors: 0, badChecksums: 0 });
        expect([nics.source, nics.destination]).not.toContain(undefined);
      }
      expect(network!.fabric.stations).toEqual({ known: 9, moves: 8, evictions: 0 });
    },
    TIMEOUT_MS,
  );

  it(
    'moves there and back with two functions under traffic, with nothing corrupt',
    async () => {
      const { fabric, source, destination } = await world(
        (netdev) => ({ nic: 'vf=2', netdev, incoming: 'defer' }),
        2,
      );
      for (const [from, to] of [
        [source, destination],
        [destination, source],
      ] as const) {
        await from.execute('migrate-set-parameters', { verify: 'full' });
        const record = await from.migrate(await to.migrateIncoming('tcp:127.0.0.1:0'));
        expect(record.devices.map(({ name }) => name)).toEqual(['vf0', 'vf1']);
        expect(record.verification?.mode).toBe('full');
        await to.waitForConsole(/ledger: .*, clean$/, { after: to.console.length });
        for (const flow of [0, 1]) await echoesFlow(fabric, 100, flow);
        expect((await to.nics()).map(({ state }) => state)).toEqual(['RUNNING', 'RUNNING']);
      }
      const [peer] = (await fabric.report()).peers;
      expect(peer!.checksumErrors).toBe(0);
      for (const { arrived } of peer!.flows) {
        expect(arrived).toMatchObject({ corrupt: 0, duplicated: 0, reordered: 0, tooLate: 0 });
      }
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
