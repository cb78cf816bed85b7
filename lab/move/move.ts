/**
 * The main job, as a library call and as the heart of `ferry migrate`: spawn a source and a destination VMM process,
 * boot a guest, move it while it works, watch it go on, and judge. Everything goes over the monitors of the two
 * processes, as anybody could do it by hand.
 */
import { FerryError, type SerializedError } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import { judgeChoice } from '../../migration/approaches.js';
import type { DestinationRecord, MigrationRecord } from '../../migration/record.js';
import { builtIn } from '../../migration/registry.js';
import { loadApproaches } from '../../vmm/process/approach-modules.js';
import { devicesOf, type NicChoice, type NicKind, nicChoiceOf } from '../../vmm/process/nic-options.js';
import { realTime } from '../../vmm/threads/real-time.js';
import { labErrors } from '../errors.js';
import type { ProcessExit } from '../vmm-client/child.js';
import { type ConsoleEntry, type SpawnOptions, spawnVmm, type Vmm } from '../vmm-client/spawn.js';
import type { ConsoleLine } from './check.js';
import { CpuMeter, type CpuRecord } from './cpu-time.js';
import { type Display, silentDisplay } from './display.js';
import { deviceLine, incomingLine, type NetworkRecord, type NicDrops } from './network-record.js';
import { judgeValues } from './option-values.js';
import {
  commandLine,
  guestIp,
  hasDevices,
  KERNEL_IMAGE,
  type MigrateOptions,
  monitorParameters,
  ownApproaches,
  patienceParameters,
  type Scenario,
  scenarioOf,
  statusPeriodMs,
} from './scenario.js';
import { traceOf } from './trace.js';
import { Traffic } from './traffic.js';
import { judge, statusPattern, type Verdict } from './verdict.js';
import { WholeFile } from './whole-file.js';

/** What came of a move, as plain data. */
export interface MigrateResult {
  readonly verdict: Verdict;
  readonly record: MigrationRecord | undefined;
  /** The destination's; undefined if it could not be asked. */
  readonly arrival?: DestinationRecord | undefined;
  /** What the network saw; undefined without traffic. */
  readonly network: NetworkRecord | undefined;
  readonly cpu: CpuRecord;
  readonly console: readonly ConsoleLine[];
  /** The scenario as it was run, the seed among it: the same options again give the same guest. */
  readonly scenario: Scenario;
  /** From spawning the source to the guest's first console line, milliseconds. */
  readonly bootMs: number;
  /** Files that were asked for and are not whole: capture, recording, trace. It is no part of the verdict on the guest. */
  readonly unwritten: readonly SerializedError[];
}

/**
 * The guest has found this device, and the network behind it: a driver says so, or the interface has its address. A function
 * with a standby has another number than the interface that both are.
 */
function linkUp(index: number, { functions, failover }: NicChoice): RegExp {
  if (functions === 0) return new RegExp(`device=eth${index},`);
  return new RegExp(failover === 'on' ? 'NIC Link is Up' : `eth${index}: NIC Link is Up`);
}

/** How a process ends that could not write all that it was to. */
const OUTPUT_CUT: readonly string[] = ['vmm/output-cut', 'lab/output-cut'];

/** A guest that prints nothing for so long is not working. */
const SILENCE_MS = 15_000;

/**
 * Moves a working guest from one new VMM process to another and says whether it arrived whole. With a NIC, a third new
 * process is the network between them, with a peer that runs traffic with the guest all the while and measures it.
 *
 * What can't work together is refused before anything starts, with what would do (`migration/approach`).
 *
 * Resolves also if the move fails: then `verdict.outcome` is `failed` and the record holds the typed error. Rejects
 * with a FerryError if no move came about (options, image, memory, a process that died). All processes have ended when
 * it settles.
 *
 *     const { verdict, record, network } = await migrate({ workload: 'stress', dirtyRate: 100 * 2 ** 20 });
 */
export async function migrate(
  options: MigrateOptions = {},
  display: Display = silentDisplay,
): Promise<MigrateResult> {
  judgeValues(options);
  const scenario = scenarioOf(options);
  const { registry, named } = await loadApproaches(builtIn, scenario);
  judgeChoice(named, registry);
  const ownKernel = scenario.guest === KERNEL_IMAGE;
  const statusLine = statusPattern(ownKernel, scenario.workload);
  const wanted = Math.max(2, Math.round(scenario.settleMs / statusPeriodMs(scenario)));
  const lines: ConsoleLine[] = [];
  const vmms: Vmm[] = [];
  let bootMs = 0;
  let traffic: Traffic | undefined;
  let trace: WholeFile | undefined;
  /** Ends all processes; harmless for those that have ended. The network stays until nobody is plugged in. */
  const ended = async (): Promise<ProcessExit[]> => {
    const exits = await Promise.all(vmms.map((vmm) => vmm.quit()));
    return traffic === undefined ? exits : [...exits, await traffic.close()];
  };
  try {
    if (scenario.traceTo !== undefined) trace = new WholeFile(scenario.traceTo, 'trace');
    if (scenario.nic !== 'none') {
      display.step('starting the network');
      traffic = await Traffic.open(scenario);
    }
    display.step('starting a source and a destination VMM');
    const { iommuLeaves, iommuStage, device } = scenario;
    const given = (nic: NicKind): Partial<SpawnOptions> => ({
      ...(scenario.tlsCreds === undefined ? {} : { tlsCreds: scenario.tlsCreds }),
      ...(traffic === undefined || nic === 'none' ? {} : { nic, netdev: traffic.address }),
      ...(device === undefined ? {} : { device }),
      ...(hasDevices({ nic, device }) ? { iommuLeaves, iommuStage, ...ownApproaches(scenario) } : {}),
    });
    const started = performance.now();
    const spawned = async (side: ConsoleLine['side'], options: SpawnOptions): Promise<Vmm> => {
      const vmm = await spawnVmm({ name: side, ...options });
      vmms.push(vmm);
      const take = ({ text, arrivedMs }: ConsoleEntry): void => {
        if (lines.length === 0) bootMs = arrivedMs - started;
        const line: ConsoleLine = { side, text, atNs: realTime.now() };
        lines.push(line);
        display.console(line);
      };
      for (const entry of vmm.console) take(entry);
      vmm.onConsole(take);
      return vmm;
    };
    const { memoryBytes, vcpus, prealloc } = scenario;
    const size = { memoryBytes, vcpus, prealloc };
    const [source, destination] = await settleAll([
      spawned('source', {
        ...given(scenario.nic),
        ...size,
        guest: scenario.guest,
        append: commandLine(scenario),
        seed: scenario.seed,
        ...(scenario.recordTo === undefined ? {} : { recordTo: scenario.recordTo }),
      }),
      spawned('destination', {
        ...given(scenario.destinationNic ?? scenario.nic),
        ...(scenario.destinationMac === undefined ? {} : { mac: scenario.destinationMac }),
        // As people do who set up both sides: its machine is made before the guest comes.
        ...size,
        incoming: 'tcp:127.0.0.1:0',
      }),
    ]);
    const cpu = new CpuMeter([source, destination]);
    const flows = scenario.flows.length > 0;
    const devices = devicesOf(scenario.nic)?.length ?? 0;
    if (flows) {
      // Another guest says in its own words that it has a link, or by answering.
      for (let i = 0; i < devices && ownKernel; i++) {
        const what = `a link of the guest's network card ${i}`;
        await source.waitForConsole(linkUp(i, nicChoiceOf(scenario.nic)!), { timeoutMs: SILENCE_MS, what });
      }
      display.step(`starting traffic: ${scenario.flows.join(', ')}`);
      if ((await traffic?.start(ownKernel ? undefined : SILENCE_MS)) === false && !ownKernel) {
        const what = `an answer of the guest to what is sent to UDP port 7 at ${guestIp(0)}`;
        throw labErrors.error('timeout', { what, waitedMs: SILENCE_MS });
      }
      await newLines(source, statusLine, 1);
      await traffic?.warm();
      await cpu.phase();
      await newLines(source, statusLine, wanted - 1);
    } else {
      await cpu.phase();
      await newLines(
        source,
        statusLine,
        wanted - source.console.filter(({ text }) => statusLine.test(text)).length,
      );
    }

    display.step(`moving the guest from process ${source.pid} to process ${destination.pid}`);
    await source.execute('migrate-set-parameters', monitorParameters(scenario));
    await destination.execute('migrate-set-parameters', patienceParameters(scenario));
    const address = await destination.incomingAddress();
    await traffic?.moving();
    const cpuBefore = await answerOf(cpu.phase());
    const record = await moved(source, address, display);
    display.done();

    const survivor = record?.status === 'completed' ? destination : source;
    if (scenario.flows.includes('to-guest')) {
      // Nobody but the guest knows of this flow. The first line may be of packets from before the move; with the second it
      // has told what was lost by it.
      await newLines(survivor, incomingLine(devices), 2).catch(onlyErrors);
    }
    if (flows) await traffic?.moved();
    const cpuMove = await answerOf(cpu.phase());
    const movedLines = lines.length;
    // A guest that falls silent is a finding for the verdict, not an error here.
    await newLines(survivor, statusLine, wanted).catch(onlyErrors);
    if (flows) {
      await traffic?.stop();
      // The first such line may have been printed, or its group of lines begun, before the last packet; the second not.
      // The last device's ends the group.
      if (ownKernel) await newLines(survivor, deviceLine(devices - 1), 2).catch(onlyErrors);
    }
    const names = devicesOf(scenario.nic) ?? [];
    const nics = { source: await dropsOf(source, names), destination: await dropsOf(destination, names) };
    const network = flows ? traffic?.record(lines, lines.slice(0, movedLines), nics) : undefined;
    const verdict = judge({
      record,
      sourceStatus: await statusOf(source),
      destinationStatus: await statusOf(destination),
      console: lines,
      statusLinesMin: wanted,
      statusLine,
      ownKernel,
      device: ownKernel ? scenario.device : undefined,
      linkDown: nicChoiceOf(scenario.destinationNic ?? scenario.nic)?.link === 'down',
      traffic: {
        flows: scenario.flows,
        network,
        otherAddresses: scenario.destinationMac !== undefined,
        untold: !ownKernel,
      },
    });
    const arrival = await answerOf(destination.recordOfArrival());
    const unwritten: FerryError[] = [];
    if (trace !== undefined) {
      const failed = trace.write(
        `${JSON.stringify(traceOf({ source: record, destination: arrival, network }))}\n`,
      );
      if (failed !== undefined) unwritten.push(failed);
    }
    // What a process could not write to the end is known when it has ended.
    for (const { error } of await ended()) {
      if (error !== undefined && OUTPUT_CUT.includes(error.code)) unwritten.push(error);
    }
    return {
      verdict,
      record,
      arrival,
      network,
      cpu: { before: cpuBefore, move: cpuMove },
      console: lines,
      scenario,
      bootMs,
      unwritten: unwritten.map((error) => error.toJSON()),
    };
  } finally {
    display.done();
    await ended();
    trace?.close();
  }
}

/** Moves the guest; the record also of a migration that failed. */
async function moved(source: Vmm, address: string, display: Display): Promise<MigrationRecord | undefined> {
  try {
    const record = await source.migrate(address, (soFar) => display.progress(soFar));
    display.progress(record);
    return record;
  } catch (error) {
    onlyErrors(error);
    const record = await source.record();
    if (record === undefined) throw error;
    return record;
  }
}

/** Resolves when the guest has printed `count` such lines from now on; rejects with `lab/timeout` when it falls silent. */
async function newLines(vmm: Vmm, pattern: RegExp, count: number): Promise<void> {
  for (let seen = 0, after = vmm.console.length; seen < count; seen++) {
    const what = `a line on the console that shows the guest at work (${pattern.source})`;
    await vmm.waitForConsole(pattern, { after, timeoutMs: SILENCE_MS, what });
    after = vmm.console.findIndex(({ text }, i) => i >= after && pattern.test(text)) + 1;
  }
}

function onlyErrors(error: unknown): void {
  if (!(error instanceof FerryError)) throw error;
}

/** Undefined if it can't be asked any more, or does not have it. */
async function answerOf<T>(question: Promise<T>): Promise<T | undefined> {
  try {
    return await question;
  } catch (error) {
    onlyErrors(error);
    return undefined;
  }
}

/** The run state; `ended` of a process that is gone, undefined of one that does not answer. */
async function statusOf(vmm: Vmm): Promise<string | undefined> {
  return (await answerOf(vmm.runState())) ?? (vmm.hasEnded ? 'ended' : undefined);
}

/** What each device of the host's dropped; a standby's is its function's, by whichever of the two it went. */
async function dropsOf(vmm: Vmm, devices: readonly string[]): Promise<readonly NicDrops[] | undefined> {
  const nics = await answerOf(vmm.nics());
  const standbys = nics?.filter(({ name }) => !devices.includes(name)) ?? [];
  return nics
    ?.filter(({ name }) => devices.includes(name))
    .map(({ drops }) => [drops, ...standbys.map((standby) => standby.drops)].reduce(addDrops));
}

const addDrops = (a: NicDrops, b: NicDrops): NicDrops => ({
  stopped: a.stopped + b.stopped,
  'no-descriptor': a['no-descriptor'] + b['no-descriptor'],
  malformed: a.malformed + b.malformed,
  cable: a.cable + b.cable,
});
