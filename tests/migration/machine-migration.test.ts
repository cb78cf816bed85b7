/**
 * The flows with the real machine, real data planes and a real guest, in both worlds: threads and sockets in real time,
 * and one thread in virtual time. The guest's last word depends on every word of its memory.
 */
import { createServer, type Socket } from 'node:net';
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { migrateDestination } from '../../dist/migration/destination.js';
import { MigrationParameters as BuiltParameters } from '../../dist/migration/parameters.js';
import { migrateSource } from '../../dist/migration/source.js';
import { connectControlLink, SocketControlLink } from '../../dist/vmm/control-link/socket-link.js';
import { createMachine } from '../../dist/vmm/machine/create.js';
import { realTime } from '../../dist/vmm/threads/real-time.js';
import { SocketDestinationDataPlane } from '../../dist/vmm/transfer/destination-plane.js';
import { WorkerPageHasher } from '../../dist/vmm/transfer/page-hasher.js';
import { SocketSourceDataPlane } from '../../dist/vmm/transfer/source-plane.js';
import { tableDigest } from '../../dist/vmm/transfer/table-digest.js';
import type { LinkRule } from '../../lab/simulator/link.js';
import { MemoryDataNetwork } from '../../lab/simulator/memory-data-plane.js';
import { runSimulatedMigration } from '../../lab/simulator/run.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { createDeterministicMachine } from '../../vmm/deterministic/create.js';
import { churnLines, imageOf, letEnd } from '../vmm/machine-guests.js';

const MACHINE = { ramBytes: 64 * 2 ** 20, vcpus: 1 };

interface Scene {
  readonly parameters?: Partial<ParameterValues>;
  readonly faults?: FaultPlan;
  readonly rules?: readonly LinkRule[];
  readonly seed?: number;
}

interface Moved {
  readonly source: MigrationRecord;
  readonly destination: DestinationRecord;
  /** What the guest said at either side, to its end at the side that had it when both were done. */
  readonly said: { readonly source: readonly string[]; readonly destination: readonly string[] };
  readonly hash: string;
}

interface Side {
  readonly ram: Uint8Array;
  on(listener: (event: { kind: string; line?: { text: string } }) => void): unknown;
}

/** Hears the console of a machine. */
function listenTo(machine: Side) {
  const lines: string[] = [];
  const waiting: (() => void)[] = [];
  machine.on((event) => {
    if (event.kind === 'console' && event.line !== undefined) lines.push(event.line.text);
    for (const wake of waiting.splice(0)) wake();
  });
  const until = async (pattern: RegExp): Promise<void> => {
    while (!lines.some((line) => pattern.test(line))) {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
  };
  return { lines, until };
}

/** Lets whoever has the guest run it to its end. */
async function allSaid(
  { status }: DestinationRecord,
  from: { readonly machine: Side; readonly heard: ReturnType<typeof listenTo> },
  to: typeof from,
): Promise<Moved['said']> {
  const { machine, heard } = status === 'completed' ? to : from;
  letEnd(machine);
  await heard.until(/^s/);
  return { source: from.heard.lines, destination: to.heard.lines };
}

async function moveInThreads(scene: Scene): Promise<Moved> {
  const [from, to] = [createMachine(MACHINE), createMachine(MACHINE)];
  const [here, there] = [listenTo(from), listenTo(to)];
  const server = createServer();
  try {
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const accepted = new Promise<Socket>((resolve) => server.once('connection', resolve));
    const { port } = server.address() as { port: number };
    const near = await connectControlLink({ kind: 'tcp', host: '127.0.0.1', port });
    const far = new SocketControlLink(await accepted, 'the source');
    await from.boot(await imageOf('churn'));
    await here.until(/^b/);
    const common = { scheduler: realTime, digest: tableDigest() };
    const [source, destination] = await Promise.all([
      migrateSource({
        ...common,
        machine: from.outgoing,
        control: near,
        data: new SocketSourceDataPlane({ memory: from.memory, host: '127.0.0.1' }),
        hasher: new WorkerPageHasher(from.memory),
        parameters: new BuiltParameters(scene.parameters),
        migrationId: '0123456789abcdef'.repeat(2),
        ...(scene.faults === undefined ? {} : { faults: scene.faults }),
      }),
      migrateDestination({
        ...common,
        machine: to.incoming,
        control: far,
        data: new SocketDestinationDataPlane({ memory: () => to.memory }),
        hasher: new WorkerPageHasher(to.memory),
        parameters: new BuiltParameters(scene.parameters),
      }),
    ]);
    const said = await allSaid(destination, { machine: from, heard: here }, { machine: to, heard: there });
    return { source, destination, said, hash: '' };
  } finally {
    server.close();
    await Promise.all([from.destroy(), to.destroy()]);
  }
}

async function moveInSimulator(scene: Scene): Promise<Moved> {
  let said: Moved['said'] = { source: [], destination: [] };
  const image = await imageOf('churn');
  const result = await runSimulatedMigration(scene.seed ?? 1, async ({ scheduler, random }) => {
    const [from, to] = ['from', 'to'].map((name) =>
      createDeterministicMachine(MACHINE, { scheduler, random: random.fork(name) }),
    ) as [ReturnType<typeof createDeterministicMachine>, ReturnType<typeof createDeterministicMachine>];
    const [here, there] = [listenTo(from), listenTo(to)];
    const network = new MemoryDataNetwork({ scheduler });
    await from.boot(image);
    await here.until(/^b/);
    return {
      source: {
        machine: from.outgoing,
        data: network.source(() => from.ram),
        hasher: network.hasher(() => from.ram),
        parameters: new MigrationParameters(scene.parameters),
      },
      destination: {
        machine: to.incoming,
        data: network.destination(() => to.ram),
        hasher: network.hasher(() => to.ram),
        parameters: new MigrationParameters(scene.parameters),
      },
      ...(scene.rules === undefined ? {} : { rules: scene.rules }),
      ...(scene.faults === undefined ? {} : { faults: scene.faults }),
      afterwards: async ({ destination }) => {
        said = await allSaid(destination, { machine: from, heard: here }, { machine: to, heard: there });
        await Promise.all([from.destroy(), to.destroy()]);
      },
    };
  });
  return { ...result, said };
}

/** The guest began at the source, and ended there or where it was moved; whoever does not have it says no more. */
function expectEndedAt(side: 'source' | 'destination', { said }: Moved): void {
  const lines = [...said.source, ...said.destination];
  expect(lines).toEqual(churnLines(lines));
  expect(said.destination).toEqual(side === 'source' ? [] : lines.slice(1));
}

describe.each([
  ['threads and sockets', moveInThreads],
  ['one thread in virtual time', moveInSimulator],
] as const)('a real guest moved in %s', (_, move) => {
  it('says at the destination what it would have said undisturbed, and all of it is verified', async () => {
    const moved = await move({ parameters: { verify: 'full' } });
    expect(moved.source.error).toBeUndefined();
    expect(moved.source.status).toBe('completed');
    expect(moved.destination.status).toBe('completed');
    expect(moved.source.dirtied.cpu).toBeGreaterThan(0);
    expectEndedAt('destination', moved);
  });

  it('goes on at the source when verification finds that the last pass was skipped', async () => {
    const faults = new FaultPlan([{ site: 'migration/last-pass-skipped' }]);
    const moved = await move({ parameters: { verify: 'full' }, faults });
    // A page that the guest wrote to while it was sent may already differ from the hash of what was read of it.
    expect(moved.source.error?.code).toMatch(/verification-failed|integrity-mismatch/);
    expect(moved.destination.error?.code).toBe(moved.source.error?.code);
    expectEndedAt('source', moved);
  });
});

describe('a real guest in the simulator', () => {
  it('moves the same, event for event, for the same seed', async () => {
    const scene = { seed: 5 };
    const [first, second, other] = [
      await moveInSimulator(scene),
      await moveInSimulator(scene),
      await moveInSimulator({ ...scene, seed: 6 }),
    ];
    expect(first.hash).toBe(second.hash);
    expect(other.hash).not.toBe(first.hash);
  });

  it.each(['welcome', 'round-received', 'prepared', 'running'])(
    'is on exactly one side after a cut just before `%s` arrives',
    async (kind) => {
      let cut = false;
      const rule: LinkRule = {
        name: `cut at ${kind}`,
        judge: (message) => {
          if (cut || message.kind !== kind) return undefined;
          cut = true;
          return { do: 'cut', when: 'before' };
        },
      };
      const moved = await moveInSimulator({ rules: [rule] });
      expect(moved.source.status).toBe(kind === 'running' ? 'unacknowledged' : 'failed');
      expectEndedAt(kind === 'running' ? 'destination' : 'source', moved);
    },
  );
});
