/** What a guest's agent writes to its serial port, as the VMM's client reads it: replies in the middle of anything else. */
import type { SeededRandom } from '../../base/random.js';
import { AgentReplies } from '../../vmm/agent/replies.js';
import { cut, type FuzzTarget, type Outcome } from './engine.js';
import { mutateBytes, mutateTree } from './mutate.js';

const ID = 4711;
const DESCRIPTION_MAX = 512;
const DELIMITER = '\xff';

const REPLIES: readonly object[] = [
  { return: {} },
  { return: [{ name: 'eth0', 'hardware-address': '02:00:00:00:00:01', 'ip-addresses': [] }] },
  { error: { class: 'CommandNotFound', desc: 'no such command' } },
  { return: ID },
];

function text(random: SeededRandom): string {
  const lines: string[] = [];
  if (random.chance(0.3)) lines.push(JSON.stringify(random.pick(REPLIES)));
  lines.push(`${DELIMITER}${JSON.stringify({ return: random.chance(0.9) ? ID : ID - 1 })}`);
  for (let count = random.below(3); count >= 0; count--) {
    const reply = random.pick(REPLIES);
    lines.push(JSON.stringify(random.chance(0.6) ? mutateTree(reply, random) : reply) ?? '');
  }
  if (random.chance(0.02)) lines.splice(random.below(lines.length), 0, 'x'.repeat(70_000));
  if (random.chance(0.2)) lines.splice(random.below(lines.length), 0, DELIMITER);
  return `${lines.join('\n')}\n`;
}

type Reader = Pick<AgentReplies, 'take'>;

function read(pieces: readonly Uint8Array[], reader: Reader): string | undefined {
  for (const piece of pieces) {
    const reply = reader.take(piece);
    if (reply === undefined) continue;
    const { error } = reply as { error?: { class: unknown; desc: unknown } };
    if (error !== undefined) {
      if (typeof error.class !== 'string' || typeof error.desc !== 'string')
        throw new Error('an error without words');
      if (error.desc.length > DESCRIPTION_MAX) throw new Error(`an error of ${error.desc.length} characters`);
    }
    return JSON.stringify(reply);
  }
  return undefined;
}

/** `readerOf` is the product's, unless a test puts a broken one in its place. */
export function agentTarget(readerOf: (id: number) => Reader = (id) => new AgentReplies(id)): FuzzTarget {
  return {
    name: 'agent',
    make(random) {
      const bytes = Uint8Array.from(text(random), (letter) => letter.charCodeAt(0));
      return random.chance(0.3) ? mutateBytes(bytes, random) : bytes;
    },
    run(input): Outcome {
      const whole = read([input], readerOf(ID));
      const pieces = read(cut(input), readerOf(ID));
      if (whole !== pieces) return { problem: `${whole} in one piece, and ${pieces} in several` };
      return whole?.startsWith('{"return"') ? 'accepted' : 'refused';
    },
  };
}
