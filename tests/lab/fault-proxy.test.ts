/** What a fault proxy does to what passes it: real sockets, and nobody at either end but this test. */
import { once } from 'node:events';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { FaultProxy } from '../../lab/faults/link/proxy.js';
import type { LinkFault, LinkRule, Place } from '../../lab/faults/link/rule.js';
import { sampleMessages } from '../../lab/fuzz/sample-messages.js';
import { FrameSplitter } from '../../migration/frame.js';
import { type ControlMessage, decodeMessage, encodeMessage } from '../../migration/messages.js';

const cleanups: (() => unknown)[] = [];
afterEach(() => {
  for (const cleanup of cleanups.splice(0).reverse()) cleanup();
});

/** One end of a connection: what came, and how it ended. */
class End {
  readonly socket: Socket;
  readonly bytes: number[] = [];
  /** The other side has ended it, in whichever way. */
  readonly over: Promise<unknown>;
  #woken: () => void = () => undefined;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('error', () => undefined);
    socket.on('data', (chunk) => {
      this.bytes.push(...chunk);
      this.#woken();
    });
    this.over = new Promise((resolve) => {
      socket.once('end', resolve);
      socket.once('close', resolve);
    });
    cleanups.push(() => socket.destroy());
  }

  say(...messages: ControlMessage[]): void {
    for (const message of messages) this.socket.write(encodeMessage(message));
  }

  async heard(count: number): Promise<Uint8Array> {
    while (this.bytes.length < count) {
      await new Promise<void>((resolve) => {
        this.#woken = resolve;
      });
    }
    return Uint8Array.from(this.bytes);
  }

  /** The kinds of so many messages, when they have come. */
  async kinds(count: number): Promise<string[]> {
    for (;;) {
      const kinds: string[] = [];
      new FrameSplitter().push(Uint8Array.from(this.bytes), (frame) => kinds.push(decodeMessage(frame).kind));
      if (kinds.length >= count) return kinds;
      await this.heard(this.bytes.length + 1);
    }
  }
}

async function door(): Promise<{ readonly server: Server; readonly port: number; next(): Promise<End> }> {
  const server = createServer({ allowHalfOpen: true }).listen(0, '127.0.0.1');
  cleanups.push(() => server.close());
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  return { server, port, next: async () => new End(((await once(server, 'connection')) as [Socket])[0]) };
}

const calling = (address: string | number): End =>
  new End(
    connect({ port: Number(String(address).split(':').at(-1)), host: '127.0.0.1', allowHalfOpen: true }),
  );

/** A proxy with a source and a destination at it. */
async function between(...rules: LinkRule[]) {
  const target = await door();
  const proxy = await FaultProxy.open(`tcp:127.0.0.1:${target.port}`, rules);
  cleanups.push(() => proxy.close());
  const coming = target.next();
  const source = calling(proxy.address);
  return { proxy, target, source, destination: await coming };
}

/** The same with a data channel. */
async function withChannel(...rules: LinkRule[]) {
  const both = await between(...rules);
  const channelDoor = await door();
  const { endpoint } = sampleMessages.data;
  both.source.say({ ...sampleMessages.data, endpoint: { ...endpoint, ports: [channelDoor.port] } });
  await both.destination.kinds(1);
  let told: ControlMessage | undefined;
  new FrameSplitter().push(Uint8Array.from(both.destination.bytes), (frame) => {
    told = decodeMessage(frame);
  });
  const [port] = (told as typeof sampleMessages.data).endpoint.ports;
  expect(port, 'the port that is told is the proxy’s').not.toBe(channelDoor.port);
  const coming = channelDoor.next();
  const there = calling(port!);
  return { ...both, channelDoor, channel: { source: await coming, destination: there } };
}

const { hello, welcome, state, commit, prepared } = sampleMessages;
const bytesOf = (message: ControlMessage): number[] => [...encodeMessage(message)];
const at = (does: LinkFault, place: Place = { message: 'state' }): LinkRule => ({ at: place, does });

describe('a proxy without rules', () => {
  it('passes every byte, both ways, on control and data channels, and the end in good order', async () => {
    const { source, destination, proxy, channel } = await withChannel();
    source.say(hello, state);
    destination.say(welcome);
    expect(await destination.kinds(3)).toEqual(['data', 'hello', 'state']);
    expect(await source.kinds(1)).toEqual(['welcome']);
    expect(proxy.passed.toSorted()).toEqual(['data', 'hello', 'state', 'welcome']);
    channel.destination.socket.write('up');
    expect(await channel.source.heard(2)).toEqual(new Uint8Array(Buffer.from('up')));
    source.socket.end();
    await destination.over;
    destination.say(prepared);
    expect(await source.kinds(2)).toEqual(['welcome', 'prepared']);
  });
});

describe('a rule at a message', () => {
  it.each<[string, LinkRule[], readonly string[]]>([
    ['swallows it', [at({ kind: 'swallow' })], ['hello', 'commit']],
    ['lets it be heard twice', [at({ kind: 'again' })], ['hello', 'state', 'state', 'commit']],
    [
      'replays an earlier one',
      [at({ kind: 'again', message: 'hello' })],
      ['hello', 'hello', 'state', 'commit'],
    ],
    ['passes it later, in order', [at({ kind: 'delay', ms: 5, jitterMs: 5 })], ['hello', 'state', 'commit']],
    [
      'passes it piece by piece',
      [at({ kind: 'limit', bytesPerSecond: 100_000 })],
      ['hello', 'state', 'commit'],
    ],
    ['holds all for a while', [at({ kind: 'stall', ms: 5 })], ['hello', 'state', 'commit']],
  ])('%s', async (_, rules, kinds) => {
    const { source, destination, proxy } = await between(...rules);
    source.say(hello, state, commit);
    expect(await destination.kinds(kinds.length)).toEqual(kinds);
    expect(proxy.unstruck).toEqual([]);
  });

  it('passes nothing before its time, be it longer than a timer of the host holds', async () => {
    const { source, destination } = await between(at({ kind: 'delay', ms: 2 ** 31, jitterMs: 0 }));
    source.say(hello, state);
    expect(await destination.kinds(1)).toEqual(['hello']);
    // Some milliseconds, in which what has no delay comes and goes.
    const free = await between();
    for (let trips = 1; trips <= 30; trips++) {
      free.source.say(hello);
      expect((await free.destination.kinds(trips)).length).toBe(trips);
    }
    expect(destination.bytes).toEqual(bytesOf(hello));
  });

  it('cuts before it or after it, and everything', async () => {
    for (const [edge, kinds] of [
      ['before', ['hello']],
      ['after', ['hello', 'state']],
    ] as const) {
      const { source, destination } = await between(at({ kind: 'cut' }, { message: 'state', edge }));
      source.say(hello, state, commit);
      await Promise.all([source.over, destination.over]);
      expect(await destination.kinds(kinds.length)).toEqual(kinds);
    }
  });

  it('ends one direction in good order; the other one stays', async () => {
    const { source, destination } = await between(at({ kind: 'truncate' }));
    source.say(hello, state);
    await destination.over;
    expect(destination.bytes).toEqual(bytesOf(hello));
    destination.say(welcome);
    expect(await source.kinds(1)).toEqual(['welcome']);
  });

  it('flips one bit of it', async () => {
    const { source, destination } = await between(at({ kind: 'flip', bit: 3 }));
    source.say(state);
    const wanted = bytesOf(state);
    wanted[wanted.length - 1]! ^= 8;
    expect([...(await destination.heard(wanted.length))]).toEqual(wanted);
  });

  it('loses one side without a word: the other hears nothing, and is not read from', async () => {
    const { source, destination } = await between(at({ kind: 'half-open', lost: 'source' }));
    source.say(hello, state);
    await source.over;
    let gone = false;
    void destination.over.then(() => {
      gone = true;
    });
    // What nobody reads fills the buffers, and then no more is taken.
    const block = Buffer.alloc(1 << 20);
    while (destination.socket.write(block) && destination.socket.writableLength < 8 << 20);
    expect(destination.socket.writableLength).toBeGreaterThan(0);
    expect(gone).toBe(false);
    expect(destination.bytes).toEqual(bytesOf(hello));
  });

  it('strikes at the nth of a kind, and makes what comes wait for what happens elsewhere', async () => {
    let go: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      go = resolve;
    });
    let reached: () => void = () => undefined;
    const struck = new Promise<void>((resolve) => {
      reached = resolve;
    });
    const act = (): Promise<void> => {
      reached();
      return asked;
    };
    const { source, destination } = await between(at({ kind: 'act', act }, { message: 'state', nth: 2 }));
    source.say(state, state);
    await Promise.all([struck, destination.kinds(1)]);
    expect(destination.bytes).toEqual(bytesOf(state));
    go();
    expect(await destination.kinds(2)).toEqual(['state', 'state']);
  });

  it('that never comes is told of', async () => {
    const rule = at({ kind: 'cut' }, { message: 'commit' });
    const { source, destination, proxy } = await between(rule);
    source.say(hello);
    await destination.kinds(1);
    expect(proxy.unstruck).toEqual([rule]);
  });
});

describe('a rule at a byte', () => {
  it('of the control connection cuts, ends or inserts right there', async () => {
    for (const [does, more] of [
      [{ kind: 'truncate' }, []],
      [{ kind: 'cut' }, []],
      [{ kind: 'insert', bytes: Uint8Array.of(1, 2, 3) }, [1, 2, 3, ...bytesOf(hello).slice(30)]],
    ] as const) {
      const { source, destination } = await between(at(does, { byte: 30, on: 'control' }));
      source.say(hello);
      const wanted = [...bytesOf(hello).slice(0, 30), ...more];
      expect([...(await destination.heard(wanted.length))]).toEqual(wanted);
      if (does.kind !== 'insert') await destination.over;
    }
  });

  it('of a data channel leaves the control connection alone, if it says so', async () => {
    const { source, destination, channel } = await withChannel(
      at({ kind: 'cut', scope: 'connection' }, { byte: 3, on: 'data', towards: 'source' }),
    );
    channel.destination.socket.write('abcdef');
    await channel.source.over;
    expect(channel.source.bytes).toEqual([...Buffer.from('abc')]);
    source.say(hello);
    expect(await destination.kinds(2)).toEqual(['data', 'hello']);
  });
});

describe('a stranger', () => {
  it('comes to either door, says his piece, and stays', async () => {
    const says = Uint8Array.of(7, 7, 7);
    const { source, target, channelDoor, destination } = await withChannel(
      at({ kind: 'stranger', door: 'control', says }, { message: 'hello' }),
      at({ kind: 'stranger', door: 'data', says }, { message: 'state' }),
    );
    const strangers = [target.next(), channelDoor.next()];
    source.say(hello, state);
    for (const stranger of await Promise.all(strangers))
      expect([...(await stranger.heard(3))]).toEqual([7, 7, 7]);
    expect(await destination.kinds(3)).toEqual(['data', 'hello', 'state']);
  });
});
