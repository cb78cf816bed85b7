/**
 * A Linux moved by QEMU, with a function of ours: two QEMUs, two `ferry nic`, one fabric whose peer measures the guest's echoes all
 * the while. QEMU moves the memory; what becomes of the function is the approach's. As a library call and as the heart of
 * `ferry qemu migrate`.
 */
import { FerryError, type SerializedError } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import type { MigrationRecord } from '../../migration/record.js';
import { labErrors } from '../errors.js';
import type { ConsoleLine } from '../move/check.js';
import { type Display, silentDisplay } from '../move/display.js';
import type { NetworkRecord } from '../move/network-record.js';
import { traceOf } from '../move/trace.js';
import { Traffic } from '../move/traffic.js';
import type { Verdict } from '../move/verdict.js';
import { WholeFile } from '../move/whole-file.js';
import { type ChosenOnQemu, chooseOnQemu, type Stage, wordsOf } from './approach.js';
import { readSetup, writeSetup } from './function-setup.js';
import { ECHO_BYTES, FUNCTION_UP, fillMemory, type GuestSigns, setUpNetwork, signsOf } from './guest.js';
import type { Linux } from './linux.js';
import { eventNow, moveByQemu, type QemuMigration } from './migration.js';
import { Pair, type Side, VF } from './pair.js';
import { placeOf } from './place.js';
import { recordOf } from './record.js';
import { onQemu } from './registry.js';
import { complaintsIn, judgeLinux } from './verdict.js';
import { usableWorld } from './world.js';

/** Options of a move. All have defaults. */
export interface QemuMoveOptions {
  /** The folder that `scripts/qemu-world` made; QEMU_WORLD, or `.qemu-world`, if absent. */
  readonly world?: string;
  readonly tracking?: string;
  readonly stop?: string;
  readonly start?: string;
  /** Echoes a second; 100 if absent. */
  readonly rate?: number;
  /** How long the guest works before it is moved, and is watched afterwards, in milliseconds; 3000 if absent. */
  readonly settleMs?: number;
  /** Memory of the guest in MiB; 384 if absent. */
  readonly memoryMib?: number;
  readonly cpus?: number;
  /** Longest wait for anything that guest or QEMU have to do, in milliseconds; five minutes if absent. */
  readonly patienceMs?: number;
  readonly pcap?: string;
  readonly traceTo?: string;
}

export interface QemuScenario
  extends Required<Pick<QemuMoveOptions, 'rate' | 'settleMs' | 'patienceMs'>>,
    Pick<QemuMoveOptions, 'memoryMib' | 'cpus' | 'pcap' | 'traceTo'> {
  readonly tracking: string;
  readonly stop: string;
  readonly start: string;
}

/** What came of it, as plain data: what a move of ours results in, and what the guest's kernel said. */
export interface QemuMoveResult {
  readonly verdict: Verdict;
  readonly record: MigrationRecord;
  readonly network: NetworkRecord | undefined;
  /** What Linux logged from before the move on, as `<level>[time] text`. */
  readonly kernelLog: readonly string[];
  readonly emulator: string;
  readonly scenario: QemuScenario;
  /** From starting the source's QEMU until its guest took commands, milliseconds. */
  readonly bootMs: number;
  readonly unwritten: readonly SerializedError[];
}

const RATE = 100;
const SETTLE_MS = 3000;
const PATIENCE_MS = 300_000;
/** Longest wait for traffic alone, where all else is done. */
const TRAFFIC_PATIENCE_MS = 60_000;
const FLOWS = ['echo'] as const;
const POLL_MS = 50;

/**
 * Resolves also if the migration fails, or the function does not work afterwards: the verdict says so. Rejects with a FerryError if
 * no move came about (`migration/approach`, `lab/world-missing`, `lab/emulator-old`), or a QEMU ended (`lab/process-died`). All
 * processes have ended when it settles.
 */
export async function moveLinux(
  options: QemuMoveOptions = {},
  display: Display = silentDisplay,
): Promise<QemuMoveResult> {
  const chosen = chooseOnQemu(options, onQemu);
  const {
    rate = RATE,
    settleMs = SETTLE_MS,
    patienceMs = PATIENCE_MS,
    memoryMib,
    cpus,
    pcap,
    traceTo,
  } = options;
  const world = usableWorld(options.world);
  const trace = traceTo === undefined ? undefined : new WholeFile(traceTo, 'trace');
  let traffic: Traffic | undefined;
  let pair: Pair | undefined;
  try {
    display.step('starting the network');
    traffic = await Traffic.open({
      nic: 'vf',
      flows: FLOWS,
      rate,
      payloadBytes: ECHO_BYTES,
      arrivals: false,
      trafficPatienceMs: Math.min(patienceMs, TRAFFIC_PATIENCE_MS),
      ...(pcap === undefined ? {} : { pcap }),
      ...(traceTo === undefined ? {} : { traceTo }),
    });
    pair = new Pair(world, traffic.address, {
      ...chosen.machine,
      ...(memoryMib === undefined ? {} : { memoryMib }),
      ...(cpus === undefined ? {} : { cpus }),
    });
    const names = {
      tracking: chosen.tracking.of.name,
      stop: chosen.stop.of.name,
      start: chosen.start.of.name,
    };
    const scenario: QemuScenario = {
      ...names,
      rate,
      settleMs,
      patienceMs,
      ...(memoryMib === undefined ? {} : { memoryMib }),
      ...(cpus === undefined ? {} : { cpus }),
      ...(pcap === undefined ? {} : { pcap }),
      ...(traceTo === undefined ? {} : { traceTo }),
    };
    const result = await new Move(chosen, scenario, pair, traffic, display).run();
    const cut = trace?.write(
      `${JSON.stringify(traceOf({ source: result.record, network: result.network }))}\n`,
    );
    return { ...result, unwritten: cut === undefined ? [] : [cut.toJSON()] };
  } finally {
    display.done();
    await pair?.close();
    await traffic?.close();
    trace?.close();
  }
}

class Move {
  readonly #chosen: ChosenOnQemu;
  readonly #scenario: QemuScenario;
  readonly #pair: Pair;
  readonly #traffic: Traffic;
  readonly #display: Display;

  constructor(chosen: ChosenOnQemu, scenario: QemuScenario, pair: Pair, traffic: Traffic, display: Display) {
    this.#chosen = chosen;
    this.#scenario = scenario;
    this.#pair = pair;
    this.#traffic = traffic;
    this.#display = display;
  }

  async run(): Promise<Omit<QemuMoveResult, 'unwritten'>> {
    const { stop, start, tracking, machine } = this.#chosen;
    const { settleMs, patienceMs } = this.#scenario;
    const step = (text: string): void => this.#display.step(text);
    step(`starting two QEMUs: tracking ${tracking.of.name}, stop ${stop.of.name}, start ${start.of.name}`);
    const began = performance.now();
    const empty = !start.inPlace && machine.standby === undefined;
    const [source, destination] = await settleAll([
      this.#pair.side(),
      this.#pair.side({ incoming: true, empty }),
    ]);
    const stage: Stage = { source, destination, patienceMs, carried: {} };
    await source.linux.booted();
    const bootMs = performance.now() - began;
    step('Linux has booted; its network is set up');
    await setUpNetwork(source.linux, machine.standby !== undefined);
    await fillMemory(source.linux);
    await this.#traffic.start();
    // What the boot itself says is not the move's.
    await source.linux.kernelLog();
    const before = await signsOf(source.linux);
    await this.#traffic.warm();
    await elapsed(settleMs);

    step(`moving the guest from QEMU ${source.linux.pid} to QEMU ${destination.linux.pid}`);
    await this.#traffic.moving();
    const migration = await this.#migrate(stage);
    const survivor = migration.status === 'completed' ? destination : source;
    step(`the migration is ${migration.status}; the guest is watched`);
    const after = await this.#afterwards(stage, migration);
    await this.#traffic.moved();
    await elapsed(settleMs);
    await this.#traffic.stop();
    return this.#judged(stage, { bootMs, migration, survivor, before, ...after });
  }

  async #migrate(stage: Stage): Promise<QemuMigration> {
    const { stop, start, tracking, machine } = this.#chosen;
    const { source, destination, carried } = stage;
    const early = machine.sharedMemory === true && !tracking.shared;
    if (early) await stop.cut?.(stage);
    await tracking.begin?.(stage);
    const migration = await moveByQemu(
      this.#pair,
      source,
      destination,
      {
        atSwitchover: async () => {
          if (!early) await stop.cut?.(stage);
          if (start.wantsSetup === true) {
            const place = await placeOf(source.linux, VF);
            carried.setup = await readSetup(source.linux.host!, place);
          }
          await tracking.harvest?.(stage);
          await stop.readOut?.(stage);
        },
        beforeRun: async () => {
          if (start.wantsSetup === true && carried.setup !== undefined) {
            const place = await placeOf(destination.linux, VF);
            await writeSetup(destination.linux.host!, place, carried.setup);
          }
          await start.load?.(stage);
        },
      },
      stage.patienceMs,
    );
    if (migration.status !== 'completed') await stop.undo?.(stage);
    return migration;
  }

  /** The guest runs: it gets its function, and is waited for until that works. */
  async #afterwards(
    stage: Stage,
    { status, destinationEvents }: QemuMigration,
  ): Promise<{ readonly problem: string | undefined; readonly startedAfterMs: number | undefined }> {
    const { start, stop } = this.#chosen;
    const ran = destinationEvents.findLast(({ event }) => event === 'RESUME')?.timeMs ?? eventNow();
    const side = status === 'completed' ? stage.destination : stage.source;
    try {
      if (status === 'completed') await start.afterRun?.(stage);
      await works(side, stage.patienceMs);
      const kept = stop.of.leaves === 'state' || status !== 'completed';
      return { problem: undefined, startedAfterMs: kept ? undefined : eventNow() - ran };
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      return { problem: error.message, startedAfterMs: undefined };
    }
  }

  async #judged(
    { source, destination, carried }: Stage,
    {
      bootMs,
      migration,
      survivor,
      before,
      problem,
      startedAfterMs,
    }: {
      readonly bootMs: number;
      readonly migration: QemuMigration;
      readonly survivor: Side;
      readonly before: GuestSigns;
      readonly problem: string | undefined;
      readonly startedAfterMs: number | undefined;
    },
  ): Promise<Omit<QemuMoveResult, 'unwritten'>> {
    const { stop, start, tracking } = this.#chosen;
    const after = await signsOf(survivor.linux).catch(wordsOf);
    const log = await survivor.linux.kernelLog().catch(wordsOf);
    const stateBytes = carried.state?.length ?? 0;
    const record = recordOf(`qemu-${source.linux.pid}`, this.#chosen, migration, {
      stateBytes,
      startedAfterMs,
      problem,
    });
    const console: readonly ConsoleLine[] = [];
    const network = this.#traffic.record(console, console, { source: undefined, destination: undefined });
    const may = [stop, start, tracking].flatMap(({ kernelSays = [] }) => kernelSays);
    const verdict = judgeLinux({
      record,
      sourceStatus: await statusOf(source.linux),
      destinationStatus: await statusOf(destination.linux),
      before,
      after,
      complaints: typeof log === 'string' ? log : complaintsIn(log, may),
      problem,
      network,
      flows: FLOWS,
    });
    const { qemu } = source.linux.qmp.version;
    return {
      verdict,
      record,
      network,
      kernelLog: typeof log === 'string' ? [] : log,
      emulator: `QEMU ${qemu.major}.${qemu.minor}.${qemu.micro}`,
      scenario: this.#scenario,
      bootMs,
    };
  }
}

/** Resolves when the driver has its function, and the interface behind it is up. Rejects with `lab/timeout`, or as `Linux.sh` does. */
async function works({ nic, linux }: Side, patienceMs: number): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await nic.report())['clear-to-send']) {
    if (performance.now() > deadline) {
      const what = 'a reset of the function by its driver';
      throw labErrors.error('timeout', { what, waitedMs: patienceMs });
    }
    await elapsed(POLL_MS);
  }
  await linux.until(FUNCTION_UP, Math.ceil(patienceMs / 1000));
}

const elapsed = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

/** The run state; `ended` of a QEMU that is gone. */
const statusOf = async (linux: Linux): Promise<string> => {
  try {
    return ((await linux.command('query-status')) as { readonly status: string }).status;
  } catch (error) {
    if (!(error instanceof FerryError)) throw error;
    return 'ended';
  }
};
