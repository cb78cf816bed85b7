/** More moves of real processes under traffic: several functions, both directions, another tracking. */
import { afterEach, describe, expect, it } from 'vitest';
import { cleanUp, echoesFlow, moved, RATE, world } from './network-world.js';

const TIMEOUT_MS = 120_000;
afterEach(cleanUp);

describe('a guest that moves with its virtual functions', () => {
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
});
