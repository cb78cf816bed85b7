/** What of `ferry qemu migrate` needs no QEMU: its choices, its record, its verdict, and what it says where there is none. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { chooseOnQemu, goTogether } from '../../lab/qemu/approach.js';
import { type FunctionSetup, readSetup, writeSetup } from '../../lab/qemu/function-setup.js';
import type { QemuFigures, QemuMigration } from '../../lab/qemu/migration.js';
import { moveLinux } from '../../lab/qemu/move.js';
import { type PciPlace, Qtest } from '../../lab/qemu/qtest.js';
import { recordOf } from '../../lab/qemu/record.js';
import { onQemu } from '../../lab/qemu/registry.js';
import { complaintsIn, judgeLinux, type LinuxEvidence } from '../../lab/qemu/verdict.js';
import { phaseTable, summaryLines } from '../../lab/report/migration-tables.js';
import type { QmpEvent } from '../../lab/vmm-client/qmp-client.js';

describe('the approaches on QEMU', () => {
  it('go together as those of our own do, and what was not named is chosen to go with the rest', () => {
    const names = (wanted: Parameters<typeof chooseOnQemu>[0]): readonly string[] => {
      const { tracking, stop, start } = chooseOnQemu(wanted, onQemu);
      return [tracking.of.name, stop.of.name, start.of.name];
    };
    expect(names({})).toEqual(['cpu-log', 'failover', 'hot-plug']);
    expect(names({ stop: 'device-state' })).toEqual(['device-log', 'device-state', 'device-state']);
    expect(names({ start: 'error-recovery' })).toEqual(['device-log', 'surprise', 'error-recovery']);
    for (const stop of onQemu.stop) {
      for (const start of onQemu.start) {
        const choose = (): unknown => chooseOnQemu({ stop: stop.of.name, start: start.of.name }, onQemu);
        if (goTogether(stop, start)) expect(choose()).toMatchObject({ stop, start });
        else expect(choose).toThrow(expect.objectContaining({ code: 'migration/approach' }));
      }
    }
  });

  it('never turn a slot off into which QEMU puts the function by itself', () => {
    expect(() => chooseOnQemu({ stop: 'failover', start: 'hot-plug-agent' }, onQemu)).toThrow(
      /stop = surprise/,
    );
  });

  it('share memory only where the function is gone before the first round, or somebody tells QEMU what it wrote', () => {
    const shared = (stop: string): boolean | undefined => chooseOnQemu({ stop }, onQemu).machine.sharedMemory;
    expect(['failover', 'hot-unplug', 'acpi-eject'].map(shared)).toEqual([true, true, true]);
    expect(['surprise', 'device-state'].map(shared)).toEqual([true, true]);
    expect(chooseOnQemu({ stop: 'device-state', tracking: 'cpu-log' }, onQemu).machine.sharedMemory).toBe(
      false,
    );
    expect(() => chooseOnQemu({ stop: 'failover', tracking: 'device-log' }, onQemu)).toThrow(
      /with stop = failover the function is gone before/,
    );
  });

  it('refuse what there is not, and what does not go together, with what would do', () => {
    expect(() => chooseOnQemu({ stop: 'graceful' }, onQemu)).toThrow(
      /on QEMU there are failover, device-state/,
    );
    expect(() => chooseOnQemu({ stop: 'failover', start: 'device-state' }, onQemu)).toThrow(
      /leaves an empty slot; on QEMU this start goes with stop = device-state/,
    );
  });
});

describe('where there is no QEMU to rely on', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), 'no-world-'));
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  /** A world whose emulator is this script. */
  const worldOf = (name: string, script: string): string => {
    const world = join(folder, name);
    mkdirSync(join(world, 'kernel'), { recursive: true });
    for (const file of ['kernel/vmlinuz', 'initramfs.gz']) writeFileSync(join(world, file), '');
    writeFileSync(join(world, 'qemu'), `#!/bin/sh\n${script}\n`);
    chmodSync(join(world, 'qemu'), 0o755);
    return world;
  };

  it('says what is missing, and how it is made', async () => {
    await expect(moveLinux({ world: folder })).rejects.toMatchObject({
      code: 'lab/world-missing',
      exit: 'environment',
      advice: expect.stringContaining('scripts/qemu-world'),
    });
  });

  it('says which QEMU is too old, before anything starts', async () => {
    const old = worldOf('old', "echo 'QEMU emulator version 10.0.13 (Debian 1:10.0.13+ds-0)'");
    await expect(moveLinux({ world: old })).rejects.toMatchObject({
      code: 'lab/emulator-old',
      message: expect.stringContaining('QEMU 10.0, which is older than 11.1'),
    });
  });

  it('says what an emulator said that does not run', async () => {
    const broken = worldOf('broken', 'echo "libfoo.so.1: cannot open shared object file" >&2; exit 127');
    await expect(moveLinux({ world: broken })).rejects.toMatchObject({
      code: 'lab/file-failed',
      message: expect.stringContaining('libfoo.so.1'),
    });
  });

  it('judges approaches that contradict each other first', async () => {
    await expect(moveLinux({ world: folder, stop: 'surprise', start: 'device-state' })).rejects.toMatchObject(
      {
        code: 'migration/approach',
      },
    );
  });
});

/** As QEMU 11.1.3 told it of a guest of 384 MiB: STOP at 2,000 ms of its own time, RESUME of the other at 2,100. */
const event = (timeMs: number, name: string, status?: string): QmpEvent => ({
  event: name,
  timeMs,
  data: status === undefined ? {} : { status },
});
const figures = (normal: number, duplicate: number, remainingPages: number): QemuFigures => ({
  status: 'active',
  'setup-time': 12,
  'total-time': 1900,
  ram: {
    total: 98_304 * 4096,
    transferred: normal * 4104 + duplicate * 9,
    remaining: remainingPages * 4096,
    duplicate,
    normal,
    'page-size': 4096,
  },
});
const MIGRATION: QemuMigration = {
  status: 'completed',
  error: undefined,
  figures: { ...figures(21_000, 80_000, 0), status: 'completed', downtime: 100 },
  begunMs: 100,
  rounds: [
    { atMs: 150, figures: figures(0, 0, 98_304) },
    { atMs: 1900, figures: figures(20_000, 78_304, 2000) },
    { atMs: 2010, figures: figures(20_900, 79_900, 196) },
  ],
  sourceEvents: [
    event(110, 'MIGRATION', 'setup'),
    event(150, 'MIGRATION', 'active'),
    event(2000, 'STOP'),
    event(2001, 'MIGRATION', 'pre-switchover'),
    event(2042, 'MIGRATION', 'device'),
    event(2080, 'MIGRATION', 'completed'),
  ],
  destinationEvents: [
    event(111, 'MIGRATION', 'setup'),
    event(120, 'MIGRATION', 'active'),
    event(2070, 'MIGRATION', 'completed'),
    event(2100, 'RESUME'),
  ],
  works: [
    { who: 'source', what: 'switchover', fromMs: 2002, toMs: 2040 },
    { who: 'destination', what: 'before the guest runs', fromMs: 2081, toMs: 2095 },
  ],
};
const MS = 1e6;

describe('the record of a migration of QEMU', () => {
  const chosen = chooseOnQemu({ stop: 'device-state' }, onQemu);
  const record = recordOf('qemu-1', chosen, MIGRATION, {
    stateBytes: 3000,
    startedAfterMs: undefined,
    problem: undefined,
  });

  it('has the blackout by the events of both sides, its parts adding up to it', () => {
    const { totalNs, ...parts } = record.blackout!;
    expect(totalNs).toBe(100 * MS);
    expect(Object.values(parts).reduce((sum, part) => sum + part, 0)).toBe(totalNs);
    expect(parts).toMatchObject({
      pauseNs: 2 * MS,
      deviceStateNs: 38 * MS,
      lastPagesNs: 40 * MS,
      startNs: 20 * MS,
    });
  });

  it('has a round between each two passes, the last of them while the guest stood', () => {
    expect(record.rounds.map(({ pages, last, dirtied }) => [pages, last, dirtied.cpu])).toEqual([
      [98_304, false, 2000],
      [2496, false, 196],
      [200, true, 0],
    ]);
    expect(record.rounds[1]).toMatchObject({ zeroPages: 1596, resentPages: 2496, durationNs: 110 * MS });
    expect(record.transferred).toMatchObject({ pages: 101_000, zeroPages: 80_000 });
  });

  it('has a first round also where QEMU tells only of the passes after it', () => {
    const { rounds } = recordOf(
      'qemu-1',
      chosen,
      { ...MIGRATION, rounds: MIGRATION.rounds.slice(1) },
      { stateBytes: 0, startedAfterMs: undefined, problem: undefined },
    );
    expect(rounds.map(({ pages, last }) => [pages, last])).toEqual([
      [98_304, false],
      [2496, false],
      [200, true],
    ]);
    expect(rounds[0]).toMatchObject({ durationNs: 1750 * MS, zeroPages: 78_304, resentPages: 0 });
  });

  it('stands in the tables of our own migrations, without what QEMU does not tell apart', () => {
    const table = phaseTable(record);
    expect(table).toMatch(/last pages/);
    expect(table).toMatch(/dirtied/);
    expect(table).not.toMatch(/by device/);
    expect(summaryLines(record).join('\n')).toContain(
      'assigned device vf0: tracking device-log, stop device-state, start device-state; of the state 0 B went ahead, 2.93 KiB in the blackout',
    );
  });

  it('of one that failed has no blackout, but how long the guest stood', () => {
    const failed = recordOf(
      'qemu-1',
      chosen,
      {
        ...MIGRATION,
        status: 'failed',
        sourceEvents: [event(2000, 'STOP'), event(2030, 'MIGRATION', 'failed'), event(2050, 'RESUME')],
        destinationEvents: [],
      },
      { stateBytes: 0, startedAfterMs: undefined, problem: undefined },
    );
    expect(failed).toMatchObject({
      status: 'failed',
      guest: 'here',
      blackout: undefined,
      interruptionNs: 50 * MS,
    });
  });
});

describe('the verdict on a Linux that QEMU moved', () => {
  const record = recordOf('qemu-1', chooseOnQemu({}, onQemu), MIGRATION, {
    stateBytes: 0,
    startedAfterMs: 5,
    problem: undefined,
  });
  const signs = { uptimeSeconds: 50, sum: 'a'.repeat(64) };
  const good: LinuxEvidence = {
    record,
    sourceStatus: 'postmigrate',
    destinationStatus: 'running',
    before: signs,
    after: { ...signs, uptimeSeconds: 60 },
    complaints: [],
    problem: undefined,
    network: undefined,
    flows: [],
  };

  it('holds where all does', () => {
    expect(judgeLinux(good).outcome).toBe('verified');
  });

  it.each<[string, Partial<LinuxEvidence>]>([
    ['both sides run it', { sourceStatus: 'running' }],
    ['its clock went back', { after: { ...signs, uptimeSeconds: 40 } }],
    ['its memory is another', { after: { sum: 'b'.repeat(64), uptimeSeconds: 60 } }],
    ['it does not answer', { after: 'a timeout' }],
    ['its kernel complains', { complaints: ['<3>[1.0] BUG: soft lockup'] }],
    ['its function is dead', { problem: 'no reset' }],
    ['the network was not measured', { flows: ['echo'] }],
    ['the migration failed', { record: { ...record, status: 'failed' } }],
  ])('fails where %s', (_what, change) => {
    expect(judgeLinux({ ...good, ...change }).outcome).toBe('failed');
  });

  it('takes a line of the kernel for what its level says, but for a busy host and what the approach explains', () => {
    const log = [
      '<6>[1.0] ixgbevf 0000:01:00.0: NIC Link is Up 10 Gbps',
      '<4>[1.1] clocksource: timekeeping watchdog',
      '<2>[1.2] ixgbevf 0000:01:00.0: Adapter removed',
      '<28>[1.3] a warning of another facility',
    ];
    expect(complaintsIn(log, [/Adapter removed/])).toEqual([log[3]]);
  });
});

/** A machine behind qtest: ports of PCI's mechanism 1 with one function's configuration space, and memory. */
class Machine {
  readonly config = new DataView(new ArrayBuffer(256));
  readonly memory = new Map<number, number>();
  /** Of what was written, in order. */
  readonly writes: string[] = [];
  address = 0x8000_1234;

  answer(line: string): string {
    const [command, at = '0', value = '0'] = line.split(' ');
    const [place, word] = [Number(at), Number(value)];
    if (command === 'inl' && place === 0xcf8) return `OK 0x${this.address.toString(16).padStart(4, '0')}`;
    if (command === 'outl' && place === 0xcf8) {
      this.address = word;
      return 'OK';
    }
    const offset = (this.address & 0xfc) + (place & 3);
    if (command === 'inl') return `OK 0x${this.config.getUint32(offset, true).toString(16).padStart(4, '0')}`;
    if (command === 'readl') return `OK 0x${(this.memory.get(place) ?? 0).toString(16).padStart(16, '0')}`;
    if (command === 'writel') {
      this.memory.set(place, word);
      this.writes.push(`memory ${at}`);
      return 'OK';
    }
    if (!command!.startsWith('out')) return `FAIL Unknown command '${command}'`;
    if (command === 'outl') this.config.setUint32(offset, word, true);
    else if (command === 'outw') this.config.setUint16(offset, word, true);
    else this.config.setUint8(offset, word);
    this.writes.push(`config 0x${offset.toString(16)}`);
    return 'OK';
  }
}

describe('a function that QEMU has forgotten', () => {
  const PLACE: PciPlace = { bus: 1, slot: 0, function: 0 };
  const BAR3 = 0x80_fe00_4000;
  const path = join(mkdtempSync(join(tmpdir(), 'qtest-')), 'qtest.sock');
  const sockets = new Set<Socket>();
  let server: Server;
  let machine: Machine;

  const hostOf = async (own: Machine): Promise<Qtest> => {
    machine = own;
    const socket = connect(path);
    await new Promise((resolve) => socket.once('connect', resolve));
    return new Qtest(socket);
  };
  beforeAll(async () => {
    server = createServer((socket: Socket) => {
      sockets.add(socket);
      let text = '';
      socket.on('data', (chunk) => {
        const lines = (text + chunk).split('\n');
        text = lines.pop()!;
        // In two pieces, as a socket may bring anything.
        for (const line of lines) {
          const reply = `${machine.answer(line)}\n`;
          if (socket.destroyed) return;
          socket.write(reply.slice(0, 3));
          socket.write(reply.slice(3));
        }
      });
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
  });
  afterAll(() => {
    for (const one of sockets) one.destroy();
    server.close();
    rmSync(dirname(path), { recursive: true });
  });

  /** The virtual function as a guest has set it up: 64-bit BARs, MSI-X with three vectors in BAR 3. */
  const setUp = (): Machine => {
    const own = new Machine();
    const { config } = own;
    for (const [offset, value] of [
      [0x00, 0x10ed_8086],
      [0x04, 0x0010_0006],
      [0x10, 0xfe00_000c],
      [0x14, 0x80],
      [0x1c, 0xfe00_400c],
      [0x20, 0x80],
      [0x34, 0x70],
      [0x70, 0x8002_a011],
      [0x74, 0x3],
      [0x78, 0x2003],
      [0xa0, 0x0002_0010],
      [0xa8, 0x2810],
    ] as const)
      config.setUint32(offset, value, true);
    for (let i = 0; i < 12; i++) own.memory.set(BAR3 + i * 4, 0xfee0_0000 + i);
    return own;
  };

  it('is set up again as it was: addresses, then the table, then the switch that hands vectors over', async () => {
    const source = setUp();
    const setup: FunctionSetup = await readSetup(await hostOf(source), PLACE);
    expect(source.writes).toEqual([]);
    expect(source.address).toBe(0x8000_1234);
    expect(setup.table).toHaveLength(12);

    const destination = setUp();
    for (const bar of [0x10, 0x14, 0x1c, 0x20]) destination.config.setUint32(bar, 0xc, true);
    destination.config.setUint16(0x04, 0, true);
    destination.config.setUint16(0x72, 2, true);
    destination.memory.clear();
    await writeSetup(await hostOf(destination), PLACE, setup);
    expect(destination.memory).toEqual(source.memory);
    for (const offset of [0x04, 0x10, 0x14, 0x1c, 0x20, 0x70, 0xa8])
      expect(destination.config.getUint32(offset, true) & 0xffff_ffff).toBe(
        source.config.getUint32(offset, true) | 0,
      );
    const order = ['config 0x4', 'memory 0x80fe004000', 'memory 0x80fe00402c', 'config 0x72'].map((one) =>
      destination.writes.indexOf(one),
    );
    expect(order).toEqual([...order].sort((a, b) => a - b));
    expect(order[0]).toBeGreaterThan(destination.writes.indexOf('config 0x20'));
    expect(destination.address).toBe(0x8000_1234);
  });

  it('never starts a reset of itself by what is written again', async () => {
    const source = setUp();
    source.config.setUint16(0xa8, 0xa810, true);
    const setup = await readSetup(await hostOf(source), PLACE);
    const destination = setUp();
    await writeSetup(await hostOf(destination), PLACE, setup);
    expect(destination.config.getUint16(0xa8, true)).toBe(0x2810);
  });

  it('that decodes no memory has no table to read', async () => {
    const source = setUp();
    source.config.setUint16(0x04, 0, true);
    expect((await readSetup(await hostOf(source), PLACE)).table).toEqual([]);
  });

  it('is not waited for where QEMU refuses, or is gone', async () => {
    const host = await hostOf(setUp());
    machine.answer = () => 'FAIL no';
    await expect(host.readMemory(0)).rejects.toMatchObject({ code: 'lab/monitor-refused' });
    machine.answer = () => {
      for (const one of sockets) one.destroy();
      return '';
    };
    await expect(host.readMemory(0)).rejects.toMatchObject({ code: 'lab/monitor-lost' });
    await expect(host.readMemory(0)).rejects.toMatchObject({ code: 'lab/monitor-lost' });
  });
});
