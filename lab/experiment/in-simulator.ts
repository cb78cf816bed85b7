/** An experiment in virtual time: as a plan of faults, and as what an operator asks, for the simulator. */
import { readFileSync } from 'node:fs';
import type { FrameKind } from '../../migration/frame.js';
import { defaultParameters, type ParameterValues } from '../../migration/parameters.js';
import { AUTO } from '../../migration/registry.js';
import type { Side } from '../checkers/happened.js';
import { otherAnswer } from '../faults/judge.js';
import { KERNEL_IMAGE } from '../move/scenario.js';
import { parseDuration } from '../options/quantities.js';
import { type BootedGuest, bootGuest } from '../simulator/booted-guest.js';
import { type Fault, nameOfFault, type When } from '../simulator/fault.js';
import { SAID, TIMEOUTS, timeoutsWith } from '../simulator/random-plan.js';
import { PLAIN, type Shape } from '../simulator/shape.js';
import { MemoryPool } from '../simulator/vmm.js';
import { shapesFor, stopsAndStarts, waysLike } from '../simulator/ways.js';
import { moveWhole } from '../simulator/whole-move.js';
import type { Experiment, ExperimentFault, ExperimentPlace, OperatorAct, Phase } from './format.js';
import type { Watched } from './outcome.js';
import { type Problem, parameterProblems, valuesOf } from './problem.js';

type Approach = NonNullable<Experiment['approach']>;

const PHASES: Readonly<Record<Phase, readonly [from: Side, kind: FrameKind]>> = {
  'set-up': ['source', 'data'],
  rounds: ['source', 'round-end'],
  standstill: ['source', 'complete'],
  prepared: ['destination', 'prepared'],
  commit: ['source', 'commit'],
  start: ['destination', 'running'],
  running: ['source', 'released'],
};

/** What can't be done to the simulator's machines and links. */
export function problemsInSimulator(experiment: Experiment): readonly Problem[] {
  const { faults = [], operator = [], approach = {} } = experiment;
  const problems: Problem[] = [
    ...parameterProblems(parametersOf(experiment, shapesFor(approach)[0] ?? PLAIN)),
  ];
  for (const part of ['machine', 'workload', 'host'] as const) {
    if (experiment[part] === undefined) continue;
    problems.push({
      path: [part],
      why: `${part} is a matter of processes: leave this out, or the simulator`,
    });
  }
  if (shapesFor(approach).length === 0) {
    const { stop, start } = stopsAndStarts;
    const why = `the simulator can't do this: it has stop ${stop.join(', ')} and start ${start.join(', ')}, as they go together`;
    problems.push({ path: ['approach'], why });
  }
  for (const [i, fault] of faults.entries()) {
    const translated = faultOf(fault);
    if (typeof translated === 'string') problems.push({ path: ['faults', i], why: translated });
  }
  for (const [i, act] of operator.entries()) {
    const translated = actOf(act);
    if (typeof translated === 'string') problems.push({ path: ['operator', i], why: translated });
  }
  return problems;
}

export interface SimulatedRun extends Watched {
  /** Over every event: the same for the same seed. */
  readonly hash: string;
}

/** Virtual machines that need one boot for all experiments. */
export class SimulatedHarness {
  readonly #memories = new MemoryPool();
  readonly #booted = new Map<Shape, Promise<BootedGuest>>();

  async run(experiment: Experiment, seed: number): Promise<SimulatedRun> {
    const { faults = [], operator = [], approach = {} } = experiment;
    const [shape = PLAIN] = shapesFor(approach);
    const booted = this.#booted.get(shape) ?? bootGuest(readFileSync(KERNEL_IMAGE), shape);
    this.#booted.set(shape, booted);
    const acts = operator.map((act) => ({ act, fault: actOf(act) as Fault }));
    const move = await moveWhole(seed, {
      booted: await booted,
      memories: this.#memories,
      plan: [...faults.map((fault) => faultOf(fault) as Fault), ...acts.map(({ fault }) => fault)],
      parameters: parametersOf(experiment, shape),
    });
    const { happened, guest, answers, hash } = move;
    const otherFindings = acts.flatMap(({ act, fault }) => {
      if (!answers.has(fault)) return [];
      const { execute, side = 'source', refused = false } = act;
      return otherAnswer(side, execute, answers.get(fault), refused) ?? [];
    });
    return {
      guest,
      happened,
      idle: move.idle.map((fault) => ({ at: nameOfFault(fault) })),
      otherFindings,
      hash,
    };
  }
}

/** Whether it says how the device is stopped or started, and does not leave that to the migration. */
const asked = ({ stop = AUTO, start = AUTO }: Approach): boolean => stop !== AUTO || start !== AUTO;

/** Nothing is drawn: what the experiment does not say is as users have it, with time-outs that are over soon. */
function parametersOf({ parameters = {}, approach = {} }: Experiment, shape: Shape): ParameterValues {
  const way = asked(approach) ? waysLike(approach, shape)[0] : undefined;
  const timeouts = way === undefined ? TIMEOUTS : timeoutsWith(way);
  return { ...defaultParameters, ...timeouts, ...valuesOf({ ...parameters, ...approach }) };
}

/** Words say why there is none. */
function faultOf(fault: ExperimentFault): Fault | string {
  const when = whenOf(fault.at);
  if (typeof when === 'string') return when;
  const onMessage = when.at === 'message';
  const after = 'message' in fault.at && fault.at.edge === 'after';
  if (after && fault.do !== 'cut')
    return `the simulator does '${fault.do}' before a message arrives, not after`;
  const notHere = (where: string): string => `the simulator does '${fault.do}' ${where}`;
  switch (fault.do) {
    case 'cut':
      if (when.at === 'byte') return { kind: 'data-cut', when, amount: 0 };
      return onMessage
        ? { kind: after ? 'cut-after' : 'cut', when, amount: 0 }
        : notHere('at messages and bytes');
    case 'flip':
      if (when.at === 'byte') return { kind: 'data-flip', when, amount: fault.bit ?? 0 };
      return onMessage ? { kind: 'flip', when, amount: fault.bit ?? 0 } : notHere('at messages and bytes');
    case 'delay':
      if (!onMessage || fault.jitter !== undefined) return notHere('at messages, and without jitter');
      return { kind: 'delay', when, amount: parseDuration(fault.time) / 1e3 };
    case 'stall':
      if (fault.time !== undefined) return notHere('for good, not for a time');
      if (when.at === 'byte') return { kind: 'data-stall', when, amount: 0 };
      return onMessage ? { kind: 'silence', when, amount: 0 } : notHere('at messages and bytes');
    case 'truncate':
      if (when.at === 'byte') return { kind: 'data-truncate', when, amount: 0 };
      return onMessage ? { kind: 'truncate', when, amount: HALF } : notHere('at messages and bytes');
    case 'garbage':
      return onMessage ? { kind: 'garbage', when, amount: HALF } : notHere('at messages');
    case 'repeat':
      if (!onMessage || fault.message !== undefined) return notHere('at messages, and to those themselves');
      return { kind: 'repeat', when, amount: 0 };
    case 'kill':
      if (fault.process === 'fabric') return 'the simulator has no process of the network';
      if (when.at === 'byte') return notHere('at messages, times and events');
      return { kind: `kill-${fault.process}`, when, amount: 0 };
    case 'suspend':
      if (fault.process === 'fabric') return 'the simulator has no process of the network';
      if (when.at === 'byte') return notHere('at messages, times and events');
      return { kind: `suspend-${fault.process}`, when, amount: parseDuration(fault.time) / 1e3 };
    case 'stranger':
      if (when.at === 'byte') return notHere('at messages, times and events');
      return {
        kind: fault.door === 'data' ? 'data-stranger' : 'stranger',
        when,
        amount: NONSENSE[fault.door],
      };
    case 'limit':
    case 'half-open':
    case 'swallow':
    case 'unreachable':
      return `the simulator knows no '${fault.do}'; processes do`;
  }
}

/** The visit of a stranger that talks it. */
const NONSENSE = { control: 2, data: 2 << 2 } as const;

/** Bytes of what is left, or comes instead. */
const HALF = 8;

function actOf({ execute, arguments: args = {}, side = 'source', at }: OperatorAct): Fault | string {
  const when = whenOf(at);
  if (typeof when === 'string') return when;
  if (when.at === 'byte') return 'the simulator lets operators act at messages, times and events';
  return { kind: 'execute', when, amount: 0, call: { side, command: execute, arguments: args } };
}

function whenOf(at: ExperimentPlace): When | string {
  if ('phase' in at) {
    const [from, kind] = PHASES[at.phase];
    return { at: 'message', from, kind, nth: 0 };
  }
  if ('message' in at) {
    const senders = (['source', 'destination'] as const).filter((side) => SAID[side].includes(at.message));
    const from = at.from ?? (senders.length === 1 ? senders[0] : undefined);
    if (from === undefined) {
      return senders.length === 0
        ? `no '${at.message}' is said in the simulator`
        : `both sides say '${at.message}': 'from' must tell whose is meant`;
    }
    return { at: 'message', from, kind: at.message, nth: (at.nth ?? 1) - 1 };
  }
  if ('dataByte' in at) return { at: 'byte', channel: 0, byte: at.dataByte };
  if ('time' in at) return { at: 'time', us: parseDuration(at.time) / 1e3 };
  if ('event' in at) {
    const { event, side = 'source', nth = 1, where = {} } = at;
    return { at: 'event', side, event, nth: nth - 1, where };
  }
  return `the simulator knows no '${Object.keys(at)[0]}'; processes do`;
}
