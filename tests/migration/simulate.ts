/** One simulated migration of the test machine, and the checks that hold whatever happened in it. */
import { expect } from 'vitest';
import { microseconds, milliseconds } from '../../base/units.js';
import {
  runSimulatedMigration,
  type SimulatedSetup,
  type SimulatedWorld,
  type SimulationResult,
} from '../../lab/simulator/run.js';
import { MigrationParameters, type ParameterValues } from '../../migration/parameters.js';
import type { ApproachRegistry } from '../../migration/registry.js';
import { type DataLink, type DataLinkOptions, dataLink } from './data-link.js';
import { ramDifferences } from './ram-differences.js';
import { type GuestShape, smallGuest, TestMachine } from './test-machine.js';

export interface Scene extends Partial<SimulatedSetup> {
  readonly seed?: number;
  readonly shape?: GuestShape;
  readonly parameters?: Partial<ParameterValues>;
  /** Other approaches than those that come with vf-ferry, and still others at the destination. */
  readonly registry?: ApproachRegistry;
  readonly destinationRegistry?: ApproachRegistry;
  readonly bytesPerSecond?: number;
  readonly onPage?: DataLinkOptions['onPage'];
  readonly breakAtPiece?: number;
  readonly stallAtPiece?: number;
  readonly registerNames?: readonly string[];
  /** Called with everything before the flows start. */
  readonly prepare?: (stage: Stage) => void;
}

export interface Stage {
  readonly world: SimulatedWorld;
  readonly source: TestMachine;
  readonly destination: TestMachine;
  readonly data: DataLink;
  readonly parameters: MigrationParameters;
  /** Aborts the source's, or the destination's, signal. */
  readonly cancel: { readonly source: AbortController; readonly destination: AbortController };
}

export interface Outcome extends SimulationResult {
  readonly stage: Stage;
}

/** Steps that the guest made before the migration began. */
const WARM_UP = milliseconds(5);

export async function simulate(scene: Scene = {}): Promise<Outcome> {
  let stage!: Stage;
  const result = await runSimulatedMigration(scene.seed ?? 1, (world) => {
    const { scheduler } = world;
    const source = new TestMachine(scheduler, scene.shape, scene.faults);
    const destination = new TestMachine(scheduler, scene.shape);
    const data = dataLink({
      scheduler,
      from: source,
      to: destination,
      bytesPerSecond: scene.bytesPerSecond ?? 200e6,
      ...(scene.onPage === undefined ? {} : { onPage: scene.onPage }),
      ...(scene.breakAtPiece === undefined ? {} : { breakAtPiece: scene.breakAtPiece }),
      ...(scene.stallAtPiece === undefined ? {} : { stallAtPiece: scene.stallAtPiece }),
    });
    const parameters = new MigrationParameters({ downtimeLimitMs: 2, ...scene.parameters }, scene.registry);
    const cancel = { source: new AbortController(), destination: new AbortController() };
    stage = { world, source, destination, data, parameters, cancel };
    source.start();
    scene.prepare?.(stage);
    return {
      source: {
        machine: source,
        data: data.source,
        hasher: data.hashers.source,
        parameters,
        signal: cancel.source.signal,
        ...(scene.registerNames === undefined ? {} : { registerNames: scene.registerNames }),
      },
      destination: {
        machine: destination,
        data: data.destination,
        hasher: data.hashers.destination,
        parameters: new MigrationParameters(
          commonOf(scene.parameters),
          scene.destinationRegistry ?? scene.registry,
        ),
        signal: cancel.destination.signal,
      },
      ...(scene.rules === undefined ? {} : { rules: scene.rules }),
      ...(scene.reachable === undefined ? {} : { reachable: scene.reachable }),
      ...(scene.faults === undefined ? {} : { faults: scene.faults }),
      ...(scene.observer === undefined ? {} : { observer: scene.observer }),
      latency: scene.latency ?? microseconds(50),
      // The survivor goes on for a while: a guest that was damaged shows it, and one that stands still is noticed.
      afterwards: async () => {
        await scheduler.sleep(WARM_UP);
        source.stopForGood();
        destination.stopForGood();
        // What a device wrote may still be on its way.
        await scheduler.sleep(WARM_UP);
      },
    };
  });
  return { ...result, stage };
}

/** The destination takes the approaches that the source chose, and may not even know their names. */
function commonOf(parameters: Partial<ParameterValues> = {}): Partial<ParameterValues> {
  const { tracking: _tracking, stop: _stop, start: _start, ...common } = parameters;
  return common;
}

export type Survivor = 'source' | 'destination' | 'undecided';

/**
 * The invariant of every run: exactly one side has the guest, its RAM is what the truth says for the steps it made, and
 * it made steps after the end. `undecided` only if the commit was sent and not answered, and the destination, which did
 * not get it, discarded: then the source still has the whole guest, standing still.
 */
export function checkOneSurvivor(outcome: Outcome): Survivor {
  const { stage, source, destination } = outcome;
  const shape = stage.source.shape ?? smallGuest;
  const ran = {
    source: source.status === 'cancelled' || source.status === 'failed',
    destination: destination.status === 'completed',
  };
  expect(ran.source && ran.destination, 'both sides claim the guest').toBe(false);
  expect(stage.destination.calls.filter((call) => call === 'run').length).toBe(ran.destination ? 1 : 0);
  expect(stage.source.calls.includes('relinquish')).toBe(source.status === 'completed');
  if (ran.destination) {
    expect(['completed', 'unacknowledged']).toContain(source.status);
    expect(stage.source.calls).not.toContain('resume');
    checkTruth(stage.destination, shape);
    checkDevices(stage.destination, stage.source);
    return 'destination';
  }
  expect(stage.destination.calls.at(-1)).toBe('discard');
  checkTruth(stage.source, shape);
  if (ran.source) {
    const paused = stage.source.calls.includes('pause');
    expect(stage.source.calls.includes('resume')).toBe(paused);
    if (stage.source.calls.includes('startDirtyLog')) expect(stage.source.calls).toContain('stopDirtyLog');
    expect(stage.source.throttled, 'percent that the guest is still throttled').toBe(0);
    checkDevices(stage.source, stage.destination);
    return 'source';
  }
  expect(source.status).toBe('unacknowledged');
  return 'undecided';
}

function checkTruth(machine: TestMachine, shape: GuestShape): void {
  const writes = machine.devices.map((device) => device.writes);
  const truth = TestMachine.truth(shape, machine.steps, writes);
  expect(machine.steps).toBeGreaterThan(0);
  // Every word holds the number of the step, or of the device's write, that wrote it.
  expect(ramDifferences(machine.ram, truth), 'RAM of the survivor differs from the truth').toBe('');
}

/** The device works where the guest does, and nowhere else. */
function checkDevices(survivor: TestMachine, other: TestMachine): void {
  for (const [i, device] of survivor.devices.entries()) {
    expect(device.inTheEnd, `${device.name} of the survivor`).toBe('running');
    expect(device.writes).toBeGreaterThan(0);
    expect(other.devices[i]?.inTheEnd, `${device.name} of the other side`).not.toBe('running');
  }
}
