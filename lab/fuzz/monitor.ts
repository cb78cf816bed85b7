/**
 * The monitor as a client without manners meets it: QMP text, requests one behind the other without waiting, cut at any
 * byte. Each request, and each mistake in the text, has one reply; replies are lines of JSON, carry the request's `id`, and
 * do not depend on how the text was cut.
 */
import type { SeededRandom } from '../../base/random.js';
import { parameterTable } from '../../migration/parameters.js';
import { COMMANDS, vmmCommands } from '../../vmm/monitor/commands.js';
import { JsonStream } from '../../vmm/monitor/json-stream.js';
import { Monitor, type MonitorCommands } from '../../vmm/monitor/monitor.js';
import { cut, type FuzzTarget, type Outcome } from './engine.js';
import { joined, mutateBytes, mutateTree } from './mutate.js';
import { notingVm } from './noting-vm.js';

/** Turns of the event loop that the answers to one input may take. */
const TURNS_MAX = 2000;
const VERSION = { qemu: { major: 0, minor: 1, micro: 0 }, package: 'fuzz' };

/** Arguments that some command takes; those of no command listed here it takes none. */
const ARGUMENTS: Readonly<Record<string, readonly object[]>> = {
  qmp_capabilities: [{}, { enable: ['oob'] }],
  'x-ferry-mute-events': [{ events: ['STOP', 'RESUME'] }],
  migrate: [
    { uri: 'tcp:127.0.0.1:4444' },
    {
      channels: [
        { 'channel-type': 'main', addr: { transport: 'socket', type: 'inet', host: '::1', port: '1' } },
      ],
    },
    { uri: 'unix:/x', detach: true },
  ],
  'migrate-incoming': [{ uri: 'tcp:[::1]:0' }, { uri: 'unix:/x' }],
  'migrate-set-parameters': Object.keys(parameterTable).map((name) => ({ [kebab(name)]: 1 })),
  'migrate-set-capabilities': [{ capabilities: [{ capability: 'events', state: true }] }],
  device_del: [{ id: 'vf0' }],
  device_add: [{ driver: 'vfio-pci', id: 'vf0', bus: 'root-port0' }],
  'calc-dirty-rate': [{ 'calc-time': 1 }, { 'calc-time': 10, 'calc-time-unit': 'millisecond' }],
  'query-dirty-rate': [{ 'calc-time-unit': 'second' }],
  'x-ferry-aer-inject': [{ id: 'vf0', error: 'MALF_TLP' }],
  'x-ferry-pci-dump': [{ path: '/x' }],
  'x-ferry-query-record': [{ timeline: true }],
  'x-ferry-console-tail': [{ lines: 3 }, {}],
};
const NAMES = ['qmp_capabilities', ...COMMANDS.map(({ name }) => name)];

function kebab(name: string): string {
  return name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

function request(random: SeededRandom): unknown {
  const execute = random.pick(NAMES);
  const list = ARGUMENTS[execute];
  const valid = {
    execute,
    ...(list === undefined ? {} : { arguments: random.pick(list) }),
    ...(random.chance(0.6) ? { id: random.pick<unknown>([0, 'x', null, [1, { a: {} }], 2 ** 60]) } : {}),
  };
  return random.chance(0.4) ? mutateTree(valid, random) : valid;
}

/** One value as text that says the same: spaces, single quotes, escapes. */
function written(value: unknown, random: SeededRandom): string {
  let text = JSON.stringify(value, (_key, item) => (item instanceof Uint8Array ? [...item] : item)) ?? 'null';
  if (random.chance(0.1)) text = text.replaceAll('"', "'");
  if (random.chance(0.1)) text = text.replaceAll('e', '\\u0065');
  if (random.chance(0.1)) text = text.replace(/[:,]/g, (sign) => `\n ${sign}\t`);
  if (random.chance(0.02)) text = `${'['.repeat(1 + random.below(1100))}${text}`;
  return text + random.pick(['\n', '\r\n', '', ' ']);
}

/** What a monitor answered to `pieces`, and what was wrong with that beyond its words. */
async function answers(
  pieces: readonly Uint8Array[],
  commandsOf: (commands: MonitorCommands) => MonitorCommands,
): Promise<{ lines: readonly string[]; problem: string | undefined }> {
  const lines: string[] = [];
  const defects: unknown[] = [];
  let over = false;
  const monitor = new Monitor(
    commandsOf(vmmCommands({ vm: notingVm(), version: VERSION })),
    () => 0,
    (error) => defects.push(error),
  );
  const session = monitor.attach({
    send: (line) => lines.push(line),
    drained: () => Promise.resolve(),
    pause() {},
    resume() {},
    end: () => {
      over = true;
    },
  });
  for (const piece of pieces) session.push(piece);
  session.end();
  for (let turn = 0; turn < TURNS_MAX && !over; turn++) await new Promise((resolve) => setImmediate(resolve));
  session.close();
  const [defect] = defects;
  if (defect !== undefined) return { lines, problem: `a command threw ${String(defect)}` };
  return { lines, problem: over ? undefined : 'not all is answered' };
}

/** Requests and mistakes in the text, each with the `id` that its reply must have. */
function expected(input: Uint8Array): (string | undefined)[] {
  const ids: (string | undefined)[] = [];
  const stream = new JsonStream({ value: (_value, id) => ids.push(id), error: () => ids.push(undefined) });
  stream.push(input);
  return ids;
}

function judgeLines(lines: readonly string[], ids: readonly (string | undefined)[]): string | undefined {
  const replies = lines.slice(1);
  if (replies.length !== ids.length)
    return `${replies.length} replies to ${ids.length} requests and mistakes`;
  for (const [at, line] of replies.entries()) {
    if (!/^[^\r\n]*\r\n$/.test(line)) return `a reply that is not one line: ${line.slice(0, 80)}`;
    const reply = JSON.parse(line) as object;
    if (!('return' in reply) && !('error' in reply))
      return `neither a result nor an error: ${line.slice(0, 80)}`;
    const id = ids[at];
    const echoed = 'id' in reply ? JSON.stringify(reply.id) : undefined;
    if (echoed === undefined ? id !== undefined : id === undefined)
      return `id ${id}, and ${echoed} in the reply`;
  }
  return undefined;
}

/** `commandsOf` lets a test break a command on purpose. */
export function monitorTarget(
  commandsOf: (commands: MonitorCommands) => MonitorCommands = (commands) => commands,
): FuzzTarget {
  return {
    name: 'monitor',
    make(random) {
      const first = random.chance(0.9) ? '{"execute": "qmp_capabilities"}\n' : '';
      const requests = Array.from({ length: random.below(6) }, () => written(request(random), random));
      const text = new TextEncoder().encode(first + requests.join(''));
      if (random.chance(0.001)) return joined([text, new Uint8Array(2 ** 20).fill(0x5b)]);
      return random.chance(0.25) ? mutateBytes(text, random) : text;
    },
    async run(input): Promise<Outcome> {
      const whole = await answers([input], commandsOf);
      const pieces = await answers(cut(input), commandsOf);
      const problem = whole.problem ?? pieces.problem ?? judgeLines(whole.lines, expected(input));
      if (problem !== undefined) return { problem };
      if (whole.lines.join('') !== pieces.lines.join(''))
        return { problem: 'answers otherwise in several pieces' };
      return whole.lines.some((line) => line.startsWith('{"error"')) ? 'refused' : 'accepted';
    },
  };
}
