/**
 * What an experiment may say. The published schema (`dist/experiment.schema.json`) is made of this, so that there is one truth for
 * editors and for `ferry run`.
 */
import * as v from 'valibot';
import { RAM_BYTES_MAX, RAM_BYTES_STEP, VCPUS_MAX } from '../../base/abi/platform.js';
import { type ErrorEntry, invariant } from '../../base/errors.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import { deviceErrors } from '../../devices/errors.js';
import { migrationErrors } from '../../migration/errors.js';
import { type FrameKind, frameKinds } from '../../migration/frame.js';
import { pageErrors } from '../../migration/pages/errors.js';
import { transferErrors } from '../../migration/pages/transfer-errors.js';
import { isCapability, type Parameter, parameterTable } from '../../migration/parameters.js';
import { linkErrors } from '../../vmm/control-link/errors.js';
import { vmmErrors } from '../../vmm/errors.js';
import { COMMANDS } from '../../vmm/monitor/commands.js';
import { QMP_EVENT_NAMES } from '../../vmm/monitor/protocol.js';
import { CHECKERS } from '../checkers/checkers.js';
import { GUEST_BEHAVIOURS } from '../move/guest-behaviour.js';
import { parseDuration, parseRate, parseSize } from '../options/quantities.js';
import { flag, list, object, oneKindOf, oneOf, quantity, text, told, whole } from './shapes.js';

type Words = readonly [string, ...string[]];

export const HARNESSES = ['simulator', 'processes'] as const;
export type Harness = (typeof HARNESSES)[number];

/** Stretches of a migration that everybody knows, each by what ends it. */
export const PHASES = ['set-up', 'rounds', 'standstill', 'prepared', 'commit', 'start', 'running'] as const;
export type Phase = (typeof PHASES)[number];

export const MEASURES = ['took', 'standstill', 'gap', 'lost'] as const;
export type Measure = (typeof MEASURES)[number];

const SIDES = ['source', 'destination'] as const;
const time = () => quantity((words) => parseDuration(words), /^[0-9]+(\.[0-9]+)? *(ns|us|µs|ms|s|min)$/);
const rate = () => quantity((words) => parseRate(words, { min: 1 }), /^[0-9]+(\.[0-9]+)? *[A-Za-z]+\/s$/);
const size = (range: { min: number; max: number; step: number }) =>
  quantity((words) => parseSize(words, range), /^[0-9]+(\.[0-9]+)? *[A-Za-z]+$/);
const nth = v.exactOptional(told(whole(1, 1_000_000), 'the first, if it is not said'));
const message = told(
  oneOf(Object.keys(frameKinds) as [FrameKind, ...FrameKind[]]),
  'a kind of control message',
);

const PLACES = {
  message: object({
    message,
    edge: v.exactOptional(
      told(oneOf(['before', 'after']), 'before it has arrived, which goes without saying, or when it has'),
    ),
    nth,
    from: v.exactOptional(told(oneOf(SIDES), 'who sends it, where both do')),
  }),
  phase: object({ phase: told(oneOf(PHASES), 'when the migration is about to leave this phase') }),
  dataByte: object({
    dataByte: told(whole(0, 1e12), 'a byte on the way to the destination, of one data channel'),
  }),
  controlByte: object({
    controlByte: told(whole(0, 1e12), 'a byte on the way to the destination, of the control connection'),
  }),
  sent: object({ sent: told(whole(1, 1e12), 'so many bytes have passed over all data channels') }),
  pages: object({
    pages: told(
      object({ from: whole(0, RAM_BYTES_MAX / PAGE_BYTES), to: whole(0, RAM_BYTES_MAX / PAGE_BYTES) }),
      'the first of these pages whose bytes travel in the first round',
    ),
  }),
  time: object({ time: told(time(), 'so long after `migrate`') }),
  event: object({
    event: told(
      oneOf(QMP_EVENT_NAMES.filter((name) => name !== 'X_FERRY_CONSOLE') as unknown as Words),
      'an event at a monitor, after `migrate`',
    ),
    side: v.exactOptional(told(oneOf(SIDES), 'the source, if it is not said')),
    nth,
    where: v.exactOptional(
      told(
        v.record(
          text(),
          v.union([v.string(), v.number(), v.boolean()], 'must be a text, a number, true or false'),
        ),
        'only such an event counts whose data has these members',
      ),
    ),
  }),
} as const;

const somePlace = v.union(
  Object.values(PLACES),
  `must say when: by one of ${Object.keys(PLACES).join(', ')}`,
);

/** By its first word one knows what somebody wanted to write, and can say what is wrong with it. */
const at = told(
  v.lazy((input) => {
    const kind = Object.keys(PLACES).find(
      (one) => typeof input === 'object' && input !== null && Object.hasOwn(input, one),
    );
    return (kind === undefined ? somePlace : PLACES[kind as keyof typeof PLACES]) as typeof somePlace;
  }),
  'when it strikes',
);

const does = <const K extends string>(word: K, words: string) => told(v.literal(word), words);

const FAULTS = [
  object({ do: does('cut', 'connections are closed; new ones can be made'), at }),
  object({
    do: does('delay', 'what comes arrives later from here on, in order'),
    at,
    time: time(),
    jitter: v.exactOptional(time()),
  }),
  object({ do: does('limit', 'from here on so much passes in each direction'), at, rate: rate() }),
  object({
    do: does('stall', 'nothing passes, for so long or for good, and nobody is told'),
    at,
    time: v.exactOptional(time()),
  }),
  object({
    do: does('half-open', 'one side loses its connections, and the other hears nothing of it'),
    at,
    lost: oneOf(SIDES),
  }),
  object({ do: does('truncate', 'what is said ends here as if it were all'), at }),
  object({ do: does('flip', 'one bit arrives flipped'), at, bit: v.exactOptional(whole(0, 7)) }),
  object({ do: does('swallow', 'a message never arrives, and all that follows does'), at }),
  object({
    do: does('repeat', 'a message arrives twice, or an earlier one once more'),
    at,
    message: v.exactOptional(message),
  }),
  object({ do: does('garbage', 'bytes arrive that nobody sent'), at }),
  object({
    do: does('stranger', 'somebody else connects and talks nonsense'),
    at,
    door: told(
      oneOf(['control', 'data']),
      'where the destination waits for sources, or the source for channels',
    ),
  }),
  object({
    do: does('kill', 'a process ends at once'),
    at,
    process: oneOf(['source', 'destination', 'fabric']),
  }),
  object({
    do: does('suspend', 'a process stands still for so long'),
    at,
    process: oneOf(['source', 'destination', 'fabric']),
    time: time(),
  }),
  object({ do: does('unreachable', 'the link is closed for good'), at }),
] as const;
const KINDS = FAULTS.map(({ entries }) => entries.do.literal as string);

const bounds = <const S extends v.GenericSchema>(value: () => S) =>
  object({ min: v.exactOptional(value()), max: v.exactOptional(value()) });

function choiceOf(parameter: Parameter) {
  invariant(parameter.type === 'choice', `${parameter.qmpName} is one of several words`);
  return told(oneOf(parameter.choices as Words), parameter.text);
}

function shapeOf(parameter: Parameter): v.GenericSchema<number | boolean | string> {
  switch (parameter.type) {
    case 'number':
      return told(whole(parameter.min, parameter.max, parameter.unit), parameter.text);
    case 'boolean':
      return told(flag(), parameter.text);
    case 'text':
      return told(text(), parameter.text);
    case 'choice':
      return choiceOf(parameter);
  }
}

/** As `migrate-set-parameters` takes them. */
const parameters = object(
  Object.fromEntries(
    Object.values(parameterTable)
      // Credentials are of a host, and an experiment is of none.
      .filter((parameter) => !isCapability(parameter) && parameter.type !== 'text')
      .map((parameter) => [parameter.qmpName, v.exactOptional(shapeOf(parameter))]),
  ),
);

const codesOf = ({
  folder,
  entries,
}: {
  folder: string;
  entries: Readonly<Record<string, ErrorEntry<never>>>;
}) => Object.keys(entries).map((name) => `${folder}/${name}`);
const CODES = [migrationErrors, pageErrors, linkErrors, transferErrors, vmmErrors, deviceErrors].flatMap(
  codesOf,
);

export const experimentShape = object({
  $schema: v.exactOptional(text()),
  name: told(
    v.pipe(
      text(),
      v.regex(
        /^[a-z0-9]+(-[a-z0-9]+)*$/,
        ({ input }) => `'${input.slice(0, 40)}' is no name; write it like cut-before-commit`,
      ),
    ),
    'what results call it',
  ),
  question: told(text(), 'what is to be found out'),
  answer: v.exactOptional(told(text(), 'what was found out')),
  harness: told(
    v.pipe(list(oneOf(HARNESSES)), v.minLength(1, 'must name a harness')),
    'where it can be run: in virtual time, on real processes, or both',
  ),
  machine: v.exactOptional(
    told(
      object({
        memory: v.exactOptional(
          told(
            size({ min: 64 * MIB, max: RAM_BYTES_MAX, step: RAM_BYTES_STEP }),
            'guest RAM; 64MiB, if it is not said',
          ),
        ),
        vcpus: v.exactOptional(whole(1, VCPUS_MAX)),
        behaviour: v.exactOptional(told(oneOf(GUEST_BEHAVIOURS), 'a guest that does not help')),
      }),
      'of processes; the simulator has one of its own',
    ),
  ),
  workload: v.exactOptional(
    told(
      object({
        workingSet: told(
          size({ min: MIB, max: RAM_BYTES_MAX, step: PAGE_BYTES }),
          'what the guest’s ledger works on; 4MiB, if it is not said',
        ),
      }),
      'of processes; in the simulator the guest answers packets',
    ),
  ),
  approach: v.exactOptional(
    told(
      object({
        tracking: v.exactOptional(choiceOf(parameterTable.tracking)),
        stop: v.exactOptional(choiceOf(parameterTable.stop)),
        start: v.exactOptional(choiceOf(parameterTable.start)),
      }),
      'how the device is tracked, stopped and started',
    ),
  ),
  parameters: v.exactOptional(told(parameters, 'of the migration, by their names at the monitor')),
  patience: v.exactOptional(
    told(
      oneOf(['usual', 'short']),
      'time-outs of processes: as users have them, or over soon; the simulator’s are short',
    ),
  ),
  faults: v.exactOptional(told(list(oneKindOf('do', KINDS, FAULTS)), 'what is inflicted; each must strike')),
  host: v.exactOptional(
    told(
      object({
        fullDisk: v.exactOptional(
          told(
            oneOf(['capture', 'recording']),
            'there is no room for the capture of the network, or the recording of the stream',
          ),
        ),
        busyCores: v.exactOptional(
          told(whole(1, 32, 'others'), 'each core has so many others to serve that never rest'),
        ),
      }),
      'what the host of the processes is short of, one of these, all the while',
    ),
  ),
  operator: v.exactOptional(
    told(
      list(
        object({
          execute: told(
            oneOf(COMMANDS.map(({ name }) => name) as unknown as Words),
            'a command of the monitor',
          ),
          arguments: v.exactOptional(v.record(text(), v.unknown())),
          side: v.exactOptional(told(oneOf(SIDES), 'at whose monitor; the source’s, if it is not said')),
          at,
          refused: v.exactOptional(told(flag(), 'whether the monitor has to refuse it')),
        }),
      ),
      'what somebody asks of a monitor meanwhile',
    ),
  ),
  must: told(
    object({
      guest: told(
        oneOf(['source', 'destination', 'either', 'undecided', 'ended']),
        'who has the guest in the end; undecided: nobody, until a person decides; ended: it ended with its process',
      ),
      errors: v.exactOptional(
        told(
          list(oneOf(CODES as unknown as Words)),
          'the errors that may tell of it; none, if it is not said',
        ),
      ),
      hold: v.exactOptional(
        told(
          list(oneOf(CHECKERS.map(({ name }) => name) as unknown as Words)),
          'the checks that must hold; all, if it is not said',
        ),
      ),
    }),
    'what must hold',
  ),
  measure: v.exactOptional(
    told(
      object({
        took: v.exactOptional(told(bounds(time), 'from `migrate` until both sides have come to an end')),
        standstill: v.exactOptional(told(bounds(time), 'the longest time for which nobody ran the guest')),
        gap: v.exactOptional(told(bounds(time), 'the longest time without an answer of the guest')),
        lost: v.exactOptional(
          told(
            bounds(() => whole(0, 1e9)),
            'packets without an answer',
          ),
        ),
      }),
      'what is measured, and within what it must be',
    ),
  ),
});

/** As it is written in a file. */
export type Experiment = v.InferInput<typeof experimentShape>;
export type ExperimentFault = NonNullable<Experiment['faults']>[number];
export type OperatorAct = NonNullable<Experiment['operator']>[number];
export type ExperimentPlace = ExperimentFault['at'];
