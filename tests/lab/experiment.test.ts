/** Experiments that are files: the examples, what is wrong with one and where, and that a wrong one fails. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { toJsonSchema } from '@valibot/to-json-schema';
import { afterAll, describe, expect, it, vi } from 'vitest';
import type { FerryError } from '../../base/errors.js';
import { EXIT_STATUS } from '../../base/exit-status.js';
import type { Happened } from '../../lab/checkers/happened.js';
import { type Experiment, experimentShape } from '../../lab/experiment/format.js';
import { JsonMistake, lineAndColumn, readJson } from '../../lab/experiment/json-text.js';
import { findingsOf, measuredIn } from '../../lab/experiment/outcome.js';
import { parseExperiment, readExperiment } from '../../lab/experiment/read.js';
import { runExperiment } from '../../lab/experiment/run.js';
import { main } from '../../lab/ferry.js';
import { nearestWord } from '../../lab/options/nearest.js';

const FOLDER = fileURLToPath(new URL('../../docs/examples/experiments/', import.meta.url));
const SCHEMA = fileURLToPath(new URL('../../dist/experiment.schema.json', import.meta.url));
const EXAMPLES = readdirSync(FOLDER).sort();
const example = (name: string): Experiment => readExperiment(`${FOLDER}${name}.json`);
const simulated = (experiment: Experiment) => runExperiment(experiment, { harness: 'simulator', runs: 1 });

describe('the examples of experiments', () => {
  it('are a dozen and more, each with a question and an answer, and by the names of their files', () => {
    expect(EXAMPLES.length).toBeGreaterThanOrEqual(12);
    for (const file of EXAMPLES) {
      const { $schema, name, question, answer } = readExperiment(`${FOLDER}${file}`);
      expect(`${name}.json`).toBe(file);
      expect(question, name).toMatch(/\?$/);
      expect(answer?.length, name).toBeGreaterThan(30);
      expect(fileURLToPath(new URL($schema!, `file://${FOLDER}`)), name).toBe(SCHEMA);
    }
  });

  it('stand in the docs with their questions', () => {
    const doc = readFileSync(new URL('../../docs/experiments.md', import.meta.url), 'utf8');
    for (const file of EXAMPLES) {
      const { name, question, harness } = readExperiment(`${FOLDER}${file}`);
      const link = `[\`${name}\`](examples/experiments/${file})`;
      expect(doc).toContain(`| ${link} | ${question} | ${harness.join(', ')} |`);
    }
  });

  it.each(EXAMPLES.filter((file) => readExperiment(`${FOLDER}${file}`).harness.includes('simulator')))(
    'hold in the simulator: %s',
    async (file) => {
      const { runs, held } = await runExperiment(`${FOLDER}${file}`, { harness: 'simulator', runs: 1 });
      expect(runs.flatMap(({ findings }) => findings)).toEqual([]);
      expect(runs).toHaveLength(1);
      expect(held).toBe(true);
    },
  );
});

describe('an experiment', () => {
  const moves = example('does-it-move');

  it('is the same, event for event, for the same seed', async () => {
    const hash = async (seed: number): Promise<string | undefined> =>
      (await runExperiment(moves, { harness: 'simulator', runs: 1, seed })).runs[0]?.hash;
    expect(await hash(7)).toBe(await hash(7));
    expect(await hash(8)).not.toBe(await hash(7));
  });

  it.each<[why: string, finding: RegExp, changes: Partial<Experiment>]>([
    [
      'whose fault never strikes',
      /^struck: nothing came to "cancel|^struck: nothing came to "cut@source\/commit#6"/,
      { faults: [{ do: 'cut', at: { message: 'commit', nth: 7 } }] },
    ],
    [
      'whose event never comes',
      /^struck: nothing came to "execute@source\/STOP#0=stop"/,
      { operator: [{ execute: 'stop', at: { event: 'STOP', where: { never: 1 } } }] },
    ],
    ['that wants the guest elsewhere', /^keeper: destination has the guest/, { must: { guest: 'source' } }],
    [
      'of which an error tells that is not among the right ones',
      /^typed-errors: the source says migration\/link-broken/,
      {
        faults: [{ do: 'cut', at: { phase: 'rounds' } }],
        must: { guest: 'source', errors: ['migration/peer-silent'] },
      },
    ],
    [
      'whose operator was to be refused',
      /^operator: the source did query-status, which it had to refuse/,
      { operator: [{ execute: 'query-status', at: { phase: 'rounds' }, refused: true }] },
    ],
    [
      'whose operator was not to be refused',
      /^operator: the source refused migrate: /,
      {
        operator: [{ execute: 'migrate', arguments: { uri: 'tcp:127.0.0.1:9' }, at: { phase: 'rounds' } }],
      },
    ],
    [
      'that takes too long',
      /^measure: took is .*, which is more than 1us/,
      { measure: { took: { max: '1us' } } },
    ],
  ])('%s does not hold, and says why', async (_, finding, changes) => {
    const { held, runs } = await simulated({ ...moves, ...changes });
    expect(runs[0]?.findings).toContainEqual(expect.stringMatching(finding));
    expect(held).toBe(false);
  });

  it.each([
    ['stall', 'migration/peer-silent'],
    ['truncate', 'pages/truncated'],
  ] as const)('may have a data channel %s at a byte', async (fault, error) => {
    const { runs } = await simulated({
      ...moves,
      faults: [{ do: fault, at: { dataByte: 5000 } }],
      must: { guest: 'source', errors: [error] },
      measure: {},
    });
    expect(runs[0]?.findings).toEqual([]);
  });

  it('may strike at a time, at the nth event and under a condition', async () => {
    const at = (place: object): Experiment =>
      ({
        ...example('cancel-in-mid-flight'),
        operator: [{ execute: 'migrate_cancel', at: place }],
      }) as Experiment;
    for (const place of [
      { time: '20ms' },
      { event: 'MIGRATION_PASS', nth: 2 },
      { event: 'MIGRATION', where: { status: 'active' } },
    ]) {
      const { runs } = await simulated(at(place));
      expect(runs[0]?.findings, JSON.stringify(place)).toEqual([]);
    }
  });
});

describe('what an experiment must hold', () => {
  const both: Happened = {
    runs: [
      { atNs: 0, side: 'source', running: true },
      { atNs: 100, side: 'source', running: false },
      { atNs: 350, side: 'destination', running: true },
      { atNs: 400, side: 'source', running: true },
    ],
    source: { status: 'completed', error: undefined, gone: false },
    destination: { status: 'completed', error: undefined, gone: false },
    faults: [],
    leftStopped: false,
    handOver: [],
    during: undefined,
    later: undefined,
    networkGone: true,
    packetRate: 1,
    tookNs: 400,
    mayTakeNs: 1000,
    defects: [],
  };
  const watched = { guest: 'destination', happened: both, idle: [], otherFindings: [] } as const;
  const must = (hold?: Experiment['must']['hold']): Experiment => ({
    ...example('does-it-move'),
    measure: {},
    must: { guest: 'destination', ...(hold && { hold }) },
  });

  it('are all checks, or those that it names', () => {
    expect(findingsOf(must(), watched)).toEqual([
      'one-runner: source and destination both run the guest at 400 ns',
    ]);
    expect(findingsOf(must(['one-runner', 'bounded-time']), watched)).toHaveLength(1);
    expect(findingsOf(must(['bounded-time']), watched)).toEqual([]);
  });

  it('and what is measured, of what both harnesses see', () => {
    expect(measuredIn(both)).toEqual({ took: 400, standstill: 250, gap: undefined, lost: undefined });
    const within = { ...must(['bounded-time']), measure: { standstill: { min: '251ns' }, lost: { max: 3 } } };
    expect(findingsOf(within, watched)).toEqual([
      expect.stringMatching(/^measure: standstill is .*, which is less than 251ns$/),
      'measure: lost could not be measured',
    ]);
  });
});

describe('a file with a mistake', () => {
  const whole = JSON.stringify(example('cut-before-commit'), null, 2);
  const wrong = (text: string): string => {
    try {
      parseExperiment(text, 'x.json');
    } catch (error) {
      expect((error as FerryError).code).toBe('lab/experiment');
      return (error as FerryError).message;
    }
    throw new Error('nothing is wrong with it');
  };
  const changed = (from: string, to: string): string => {
    expect(whole).toContain(from);
    return wrong(whole.replace(from, to));
  };

  it.each<[from: string, to: string, message: RegExp]>([
    [
      '"question"',
      '"quetsion"',
      /^x\.json:4:\d+: \/quetsion: there is no 'quetsion' here; did you mean 'question'\?$/m,
    ],
    ['"do": "cut"', '"do": "cutt"', /x\.json:\d+:\d+: \/faults\/0\/do: 'cutt' is none; did you mean 'cut'\?/],
    ['"message": "commit"', '"message": "comit"', /at\/message: 'comit' is none; did you mean 'commit'\?/],
    ['"message": "commit"', '"phase": "nowhere"', /at\/phase: 'nowhere' is none; known are set-up, rounds/],
    ['"message": "commit",', '', /at: must say when: by one of message, phase/],
    ['"guest": "source"', '"guest": 3', /must\/guest: must be one of source, .*, and not 3/],
    ['"guest": "source",', '', /must\/guest: 'guest' is missing/],
    ['"simulator",', '"simulator"', /^x\.json:8:\d+: here must come ',' or ']', and not '"'$/],
    ['"harness"', '"name": "x", "harness"', /: 'name' stands here twice/],
    [
      '"migration/peer-closed"',
      '"migration/peer-close"',
      /errors\/0: .*did you mean 'migration\/peer-closed'\?/,
    ],
    ['"edge": "before"', '"nth": 0', /at\/nth: must be a whole number from 1 to 1000000, and not 0/],
    [
      '"do": "cut"',
      '"do": "delay", "time": "5 lightyears"',
      /faults\/0\/time: 'lightyears' is no unit; known are ns/,
    ],
    [
      '"do": "cut"',
      '"do": "swallow"',
      /^x\.json:\d+:5: \/faults\/0: the simulator knows no 'swallow'; processes do$/,
    ],
    ['"do": "cut"', '"do": "kill", "process": "source", "x": 1', /faults\/0\/x: there is no 'x' here/],
    ['"edge": "before"', '"from": "source"', /at: processes count messages of a kind from both sides/],
    [
      '"must"',
      '"approach": {"stop": "failover", "start": "state-replay"}, "must"',
      /\/approach: the simulator can't do this: it has stop device-state, /,
    ],
    ['"must"', '"host": {"fullDisk": "capture", "busyCores": 2}, "must"', /\/host: must say one thing/],
    ['"must"', '"machine": {"vcpus": 2}, "must"', /\/machine: machine is a matter of processes/],
    [
      '"must"',
      '"parameters": {"keepalive-interval": 20000}, "must"',
      /\/parameters: peer-timeout is less than keepalive-interval = 20000: a peer would be lost/,
    ],
    [
      '"must"',
      '"operator": [{"execute": "stop", "arguments": {"no": 1}, "at": {"time": "1ms"}}], "must"',
      /operator\/0\/arguments: stop: .*no/,
    ],
  ])('is told where, and what is allowed: %s', (from, to, message) => {
    expect(changed(from, to)).toMatch(message);
  });

  it('is told of all of them at once', () => {
    expect(changed('"question"', '"quetsion"').split('\n')).toHaveLength(2);
  });
});

describe('ferry run', () => {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-run-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  const written = (name: string, changes: object): string => {
    const path = join(folder, name);
    writeFileSync(path, JSON.stringify({ ...example('does-it-move'), harness: ['simulator'], ...changes }));
    return path;
  };
  const ferry = async (...args: readonly string[]): Promise<{ status: number; out: string; err: string }> => {
    const said = { out: '', err: '' };
    const into = (part: 'out' | 'err') => (text: string | Uint8Array) => {
      said[part] += text;
      return true;
    };
    const spies = [
      vi.spyOn(process.stdout, 'write').mockImplementation(into('out')),
      vi.spyOn(process.stderr, 'write').mockImplementation(into('err')),
    ];
    const before = process.exitCode;
    try {
      return { status: await main(['run', ...args]), ...said };
    } finally {
      process.exitCode = before;
      for (const spy of spies) spy.mockRestore();
    }
  };

  it('runs files and folders, and ends with a status that says whether all held', async () => {
    const good = written('a-good.json', { name: 'good' });
    written('b-wrong.json', { name: 'wrong', must: { guest: 'source' } });
    const one = await ferry(good, '--runs', '1');
    expect(one).toMatchObject({
      status: 0,
      out: expect.stringContaining('1 of 1 experiments held everything'),
    });
    expect(one.err).toBe('good (simulator, seed 1): guest at the destination, as it must be\n');
    const all = await ferry(folder, '--runs', '1', '--seed', '7');
    expect(all.status).toBe(EXIT_STATUS['not-verified']);
    expect(all.out).toContain(
      `again: ferry run ${join(folder, 'b-wrong.json')} --harness simulator --runs 1 --seed 7`,
    );
    const [first, second] = JSON.parse((await ferry(folder, '--runs', '1', '--json')).out);
    expect([first.held, second.held]).toEqual([true, false]);
    expect(second.runs[0].findings).toEqual([expect.stringMatching(/^keeper: /)]);
  });

  it('tells what is wrong with files before anything runs', async () => {
    const good = written('c-good.json', {});
    expect(await ferry('--check', FOLDER)).toMatchObject({
      status: 0,
      out: EXAMPLES.map((file) => `${FOLDER}${file}: nothing wrong\n`).join(''),
    });
    const mistaken = await ferry(good, written('d-mistaken.json', { faults: [{ do: 'kut', at: {} }] }));
    expect(mistaken).toMatchObject({ status: EXIT_STATUS.refused, out: '' });
    expect(mistaken.err).toMatch(
      /d-mistaken\.json:1:\d+: \/faults\/0\/do: 'kut' is none; did you mean 'cut'\?/,
    );
    const elsewhere = await ferry(good, '--harness', 'processes');
    expect(elsewhere.status).toBe(EXIT_STATUS.refused);
    expect(elsewhere.err).toContain('does-it-move is not for the harness processes, but for simulator');
    expect((await ferry(join(folder, 'none.json'))).status).toBe(EXIT_STATUS.environment);
    expect((await ferry('--check', mkdtempSync(join(folder, 'empty-')))).status).toBe(EXIT_STATUS.usage);
  });
});

describe('JSON with places', () => {
  it('is what JSON.parse makes of it, wherever it is cut or changed', () => {
    const text = '{"a": [1, -2.5e3, "x\\n\\u00e9", {"": null}], "b": {"c": true, "d": [[]]}, "e": false}';
    expect(readJson(text).value).toEqual(JSON.parse(text));
    const parsed = (read: (text: string) => unknown, one: string): unknown => {
      try {
        return read(one);
      } catch (error) {
        return error instanceof JsonMistake || error instanceof SyntaxError ? 'refused' : error;
      }
    };
    for (let at = 0; at <= text.length; at++) {
      for (const put of ['', ',', '"', '}', '0', '\\', '\n', '-']) {
        const one = text.slice(0, at) + put + text.slice(at + 1);
        expect(
          parsed((t) => readJson(t).value, one),
          one,
        ).toEqual(parsed(JSON.parse, one));
      }
      const cut = text.slice(0, at);
      expect(
        parsed((t) => readJson(t).value, cut),
        cut,
      ).toEqual(parsed(JSON.parse, cut));
    }
  });

  it('has a line and a column for each value, and for one that is missing those of what is around it', () => {
    const text = '{\n  "a": [\n    1,\n    { "b": 2 }\n  ]\n}';
    const { placeOf } = readJson(text);
    const place = (...path: readonly (string | number)[]) => lineAndColumn(text, placeOf(path));
    expect(place('a', 1, 'b')).toEqual({ line: 4, column: 12 });
    expect(place('a', 1, 'no')).toEqual({ line: 4, column: 5 });
    expect(place()).toEqual({ line: 1, column: 1 });
  });

  it('ends at a mistake and not in the stack, however deep it is nested', () => {
    expect(() => readJson('['.repeat(100_000))).toThrow(/nested too deep/);
  });
});

it('the published schema is what experiments are judged by', () => {
  const published = JSON.parse(readFileSync(SCHEMA, 'utf8'));
  const made = toJsonSchema(experimentShape, { ignoreActions: ['check'] });
  expect(published, 'npm run build writes it').toMatchObject(JSON.parse(JSON.stringify(made)));
  expect(Object.keys(published.properties)).toEqual(Object.keys(experimentShape.entries));
});

it('the nearest word is one that differs in little', () => {
  const words = ['simulator', 'processes', 'cut', 'cancel'];
  expect(nearestWord('simultor', words)).toBe('simulator');
  expect(nearestWord('Processes', words)).toBe('processes');
  expect(nearestWord('ctu', words)).toBe('cut');
  expect(nearestWord('qqq', words)).toBeUndefined();
});
