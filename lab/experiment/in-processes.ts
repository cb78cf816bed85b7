/** An experiment on real processes: as a fault scenario, which the process harness runs. */
import type { Side } from '../checkers/happened.js';
import { diskFindings } from '../faults/judge.js';
import type { Place } from '../faults/link/rule.js';
import { parametersInForce, watchScenario } from '../faults/run.js';
import {
  type FaultScenario,
  IMPATIENT,
  type LinkStrike,
  type Moment,
  type ProcessFault,
  type Strike,
} from '../faults/scenario.js';
import { parseDuration, parseRate, parseSize } from '../options/quantities.js';
import type { Experiment, ExperimentFault, ExperimentPlace, OperatorAct, Phase } from './format.js';
import { causesOf, type Watched } from './outcome.js';
import { type Problem, parameterProblems, valuesOf } from './problem.js';

const PHASES: Readonly<Record<Phase, Place>> = {
  'set-up': { message: 'welcome', edge: 'after' },
  rounds: { message: 'round-end' },
  standstill: { message: 'complete' },
  prepared: { message: 'prepared' },
  commit: { message: 'commit' },
  start: { message: 'commit', edge: 'after' },
  running: { message: 'running', edge: 'after' },
};
const GARBAGE = Uint8Array.from({ length: 64 }, (_, i) => (i * 151 + 7) & 0xff);
const milliseconds = (text: string): number => parseDuration(text) / 1e6;

/** What can't be done to processes. */
export function problemsInProcesses(experiment: Experiment): readonly Problem[] {
  const { faults = [], host } = experiment;
  const ofFaults = faults.flatMap((fault, i): readonly Problem[] => {
    const { at } = fault;
    const problem = (why: string): readonly Problem[] => [{ path: ['faults', i, 'at'], why }];
    const moment = 'time' in at || 'event' in at;
    if (moment && !isOfProcess(fault)) {
      return problem(`'${fault.do}' strikes at what passes on the link: say at which message, phase or byte`);
    }
    if ((fault.do === 'swallow' || fault.do === 'repeat') && !('message' in at || 'phase' in at)) {
      return problem(`'${fault.do}' strikes at a message or phase`);
    }
    if ('message' in at && at.from !== undefined) {
      return problem(
        "processes count messages of a kind from both sides: leave 'from' out, or leave out this harness",
      );
    }
    return [];
  });
  const ofHost: readonly Problem[] =
    host === undefined || Object.keys(host).length === 1
      ? []
      : [{ path: ['host'], why: 'must say one thing: fullDisk or busyCores' }];
  const ofParameters = parameterProblems(valuesOf(parametersInForce(scenarioOf(experiment))));
  return [...ofParameters, ...ofFaults, ...ofHost];
}

/** One run. */
export async function runInProcesses(experiment: Experiment): Promise<Watched> {
  const scenario = scenarioOf(experiment);
  const { run, happened, unstruck, otherAnswers } = await watchScenario(scenario);
  return {
    guest: run.guest,
    happened,
    idle: unstruck,
    otherFindings: [...otherAnswers, ...diskFindings(scenario, run.unwritten)],
  };
}

function scenarioOf(experiment: Experiment): FaultScenario {
  const { name, question, must, machine = {}, workload, patience, parameters, approach } = experiment;
  const { faults = [], operator = [] } = experiment;
  const { memory, ...rest } = machine;
  const causes = causesOf(experiment);
  return {
    name,
    text: question,
    strikes: [...faults.map(strikeOf), ...operator.map(actOf)],
    guest: must.guest,
    ...(causes && { causes }),
    ...hostOf(experiment),
    ...(patience === 'short' && { patience: IMPATIENT }),
    parameters: { ...parameters, ...approach },
    machine: {
      ...rest,
      ...(memory !== undefined && { memoryBytes: parseSize(memory) }),
      ...(workload && { workingSetBytes: parseSize(workload.workingSet) }),
    },
  };
}

const hostOf = ({ host = {} }: Experiment): Pick<FaultScenario, 'host'> => {
  if (host.fullDisk !== undefined) return { host: { kind: 'full-disk', file: host.fullDisk } };
  return host.busyCores === undefined ? {} : { host: { kind: 'busy-cores', perCore: host.busyCores } };
};

type OfProcess = Extract<ExperimentFault, { do: 'kill' | 'suspend' | 'unreachable' }>;

const isOfProcess = (fault: ExperimentFault): fault is OfProcess =>
  fault.do === 'kill' || fault.do === 'suspend' || fault.do === 'unreachable';

function strikeOf(fault: ExperimentFault): Strike {
  if (isOfProcess(fault)) return { at: momentOrPlaceOf(fault.at), does: processFaultOf(fault) };
  return { at: momentOrPlaceOf(fault.at) as Place, does: linkFaultOf(fault) };
}

function actOf({ execute, arguments: args = {}, side = 'source', at, refused = false }: OperatorAct): Strike {
  return {
    at: momentOrPlaceOf(at),
    does: { kind: 'execute', side, command: execute, arguments: args, refused },
  };
}

function processFaultOf(fault: OfProcess): ProcessFault {
  switch (fault.do) {
    case 'kill':
      return { kind: 'kill', process: fault.process };
    case 'suspend':
      return { kind: 'suspend', process: fault.process, ms: milliseconds(fault.time) };
    case 'unreachable':
      return { kind: 'unreachable' };
  }
}

function linkFaultOf(fault: Exclude<ExperimentFault, OfProcess>): LinkStrike['does'] {
  // At a byte of one connection it is that connection's.
  const ofOne = 'dataByte' in fault.at || 'controlByte' in fault.at || 'sent' in fault.at;
  const scope = ofOne ? 'connection' : 'link';
  switch (fault.do) {
    case 'cut':
      return { kind: 'cut', scope };
    case 'delay': {
      const jitter = fault.jitter === undefined ? {} : { jitterMs: milliseconds(fault.jitter) };
      return { kind: 'delay', ms: milliseconds(fault.time), ...jitter, scope };
    }
    case 'limit':
      return { kind: 'limit', bytesPerSecond: parseRate(fault.rate), scope };
    case 'stall':
      return { kind: 'stall', scope, ...(fault.time !== undefined && { ms: milliseconds(fault.time) }) };
    case 'half-open':
      return { kind: 'half-open', lost: fault.lost, scope };
    case 'truncate':
      return { kind: 'truncate' };
    case 'flip':
      return { kind: 'flip', bit: fault.bit ?? 0 };
    case 'swallow':
      return { kind: 'swallow' };
    case 'repeat':
      return { kind: 'again', ...(fault.message !== undefined && { message: fault.message }) };
    case 'garbage':
      return { kind: 'insert', bytes: GARBAGE };
    case 'stranger':
      return { kind: 'stranger', door: fault.door, says: GARBAGE };
  }
}

function momentOrPlaceOf(at: ExperimentPlace): Place | Moment {
  if ('phase' in at) return PHASES[at.phase];
  if ('message' in at) return { message: at.message, edge: at.edge ?? 'before', nth: at.nth ?? 1 };
  if ('dataByte' in at) return { byte: at.dataByte, on: 'data' };
  if ('controlByte' in at) return { byte: at.controlByte, on: 'control' };
  if ('sent' in at) return { dataBytes: at.sent };
  if ('pages' in at) return { pages: at.pages };
  if ('time' in at) return { afterMs: milliseconds(at.time) };
  const { event, side = 'source' satisfies Side, nth = 1, where = {} } = at;
  return { event, side, nth, where };
}
