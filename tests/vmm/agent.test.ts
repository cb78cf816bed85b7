/** The VMM's own client of a guest's agent, and the socket for others: on a line that may have anything on it. */
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { SERIAL_FIFO_BYTES } from '../../devices/serial/registers.js';
import { AgentClient } from '../../vmm/agent/client.js';
import { AgentReplies } from '../../vmm/agent/replies.js';
import type { SerialLine } from '../../vmm/agent/serial-line.js';
import { AgentListener } from '../../vmm/process/agent-listener.js';

const NEVER = new Promise<void>(() => undefined);
const bytesOf = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));
const textOf = (bytes: Uint8Array): string => String.fromCharCode(...bytes);

/** The guest's end of a line in the test's hands. */
class Line implements SerialLine {
  toGuest = '';
  fromGuest = '';
  /** Bytes that the guest has not taken yet, at most. */
  room = SERIAL_FIFO_BYTES;
  /** It makes room again at once. */
  takesAll = false;
  readonly #listeners = new Set<() => void>();
  readonly #waiting: (() => void)[] = [];

  isOpen = async () => true;
  write = async (bytes: Uint8Array) => {
    const taken = bytes.subarray(0, this.room);
    this.room -= taken.length;
    this.toGuest += textOf(taken);
    this.#wake();
    if (this.takesAll) setImmediate(() => this.makeRoom());
    return taken.length;
  };
  read = async () => {
    const taken = bytesOf(this.fromGuest);
    this.fromGuest = '';
    this.#wake();
    return taken;
  };
  onChange = (listener: () => void) => {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  };

  say(text: string): void {
    this.fromGuest += text;
    for (const listener of this.#listeners) listener();
  }

  /** The guest takes what there is. */
  makeRoom(bytes = SERIAL_FIFO_BYTES): void {
    this.room = bytes;
    for (const listener of this.#listeners) listener();
  }

  /** Resolves when the guest has been sent something that is so. */
  async heard(pattern: RegExp): Promise<RegExpExecArray> {
    for (;;) {
      const match = pattern.exec(this.toGuest);
      if (match !== null) return match;
      await this.#change();
    }
  }

  /** Resolves when all that the guest has said was taken. */
  async taken(): Promise<void> {
    while (this.fromGuest !== '') await this.#change();
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  #wake(): void {
    for (const look of this.#waiting.splice(0)) look();
  }
}

describe("the VMM's client", () => {
  const REQUEST =
    /\xff\{"execute":"guest-sync-delimited","arguments":\{"id":(\d+)\}\}\n\{"execute":"(\S+)","arguments":(.*)\}\n/;

  it('syncs before each request, and passes over what is of an earlier time', async () => {
    const line = new Line();
    const client = new AgentClient(line, () => 1000);
    line.say('half a reply"}\n\xff{"return": 999}\n{"return": "stale"}\n');
    const reply = client.execute('guest-ping', { a: 1 }, NEVER);
    expect((await line.heard(REQUEST)).slice(1)).toEqual(['1000', 'guest-ping', '{"a":1}']);
    line.say('{"return": "late"}\n\xff{"return": 10');
    line.say('00}\n{"return": ');
    line.say('{}}\n');
    expect(await reply).toEqual({ return: {} });
    const next = client.execute('guest-info', {}, NEVER);
    line.toGuest = '';
    expect((await line.heard(REQUEST))[1]).toBe('1001');
    line.say('\xff{"return": 1001}\n{"error": {"class": "GenericError", "desc": "no"}}\n');
    expect(await next).toEqual({ error: { class: 'GenericError', desc: 'no' } });
  });

  it('asks one thing after the other, and goes on to the next when it is given up', async () => {
    const line = new Line();
    const client = new AgentClient(line, () => 1);
    let giveUp = (): void => undefined;
    const first = client.execute(
      'first',
      {},
      new Promise((resolve) => {
        giveUp = resolve;
      }),
    );
    const second = client.execute('second', {}, NEVER);
    await line.heard(/"first"/);
    expect(line.toGuest).not.toContain('second');
    giveUp();
    expect(await first).toBeUndefined();
    await line.heard(/"second"/);
    line.say(
      '\xff{"return": 1}\n{"return": "of the first"}\n\xff{"return": 2}\n{"return": "of the second"}\n',
    );
    expect(await second).toEqual({ return: 'of the second' });
  });

  it('sends what there is room for, and the rest when there is', async () => {
    const line = new Line();
    line.room = 10;
    const reply = new AgentClient(line, () => 5).execute('guest-ping', {}, NEVER);
    await line.heard(/^.{10}$/s);
    line.makeRoom();
    await line.heard(REQUEST);
    line.say('\xff{"return": 5}\n{"return": 0}\n');
    expect(await reply).toEqual({ return: 0 });
  });

  it.each<[reply: string, desc: RegExp]>([
    ['gar\x00bage\xff}\n', /no JSON object/],
    ['[]\n', /neither returns anything nor tells an error/],
    ['{"error": null}\n', /neither/],
    ['{"error": {"class": 1, "desc": "x"}}\n', /neither/],
    ['7\n', /no JSON object/],
    ['x'.repeat(70_000), /more than 65536 bytes/],
  ])('takes for an error what is no reply (%#)', (reply, desc) => {
    const replies = new AgentReplies(3);
    expect(replies.take(bytesOf('\xff{"return": 3}\n'))).toBeUndefined();
    expect(replies.take(bytesOf(reply))).toEqual({
      error: { class: 'GenericError', desc: expect.stringMatching(desc) },
    });
  });

  it('waits on through what never ends before its sync', () => {
    const replies = new AgentReplies(3);
    expect(replies.take(bytesOf(`\xff${'x'.repeat(70_000)}\n\xff\xff{"return": 3}\n`))).toBeUndefined();
    expect(replies.take(bytesOf('{"return": 1}\n'))).toEqual({ return: 1 });
  });
});

describe("the socket to a guest's agent", () => {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-agent-'));
  const path = join(folder, 'agent.sock');
  const cleanups: (() => void)[] = [];
  afterEach(() => {
    for (const cleanup of cleanups.splice(0)) cleanup();
    rmSync(path, { force: true });
  });

  async function listening(line: Line | undefined) {
    const listener = await AgentListener.open({ kind: 'unix', path });
    listener.serve(line);
    cleanups.push(() => listener.close());
    return listener;
  }

  function client(): { socket: Socket; until(text: string): Promise<string>; closed: Promise<void> } {
    const socket = connect(path);
    cleanups.push(() => socket.destroy());
    socket.on('error', () => undefined);
    let heard = '';
    let look = (): void => undefined;
    socket.on('data', (chunk: Buffer) => {
      heard += chunk.toString('latin1');
      look();
    });
    return {
      socket,
      until: (text) =>
        new Promise((resolve) => {
          look = () => {
            if (heard.endsWith(text)) resolve(heard);
          };
          look();
        }),
      closed: new Promise((resolve) => socket.on('close', () => resolve())),
    };
  }

  it('carries bytes as they are, both ways, and has the faster side wait', async () => {
    const line = new Line();
    line.takesAll = true;
    await listening(line);
    const { socket, until } = client();
    const long = `${'0123456789'.repeat(20_000)}\xff`;
    socket.write(Buffer.from(long, 'latin1'));
    await line.heard(/\xff$/);
    expect(line.toGuest).toBe(long);
    line.say('\xffreply');
    expect(await until('reply')).toBe('\xffreply');
  });

  it('has one client at a time, also one that only listens until there is another, and drops what is sent to nobody', async () => {
    const line = new Line();
    await listening(line);
    const one = client();
    one.socket.write('first');
    await line.heard(/first/);
    const other = client();
    await other.closed;
    one.socket.destroy();
    await one.closed;
    // The first one's end may not have been heard of yet.
    let next = client();
    while ((await Promise.race([next.closed.then(() => 'closed'), saidTo(line, next.socket)])) === 'closed') {
      next = client();
    }
    line.say('to the next');
    expect(await next.until('to the next')).toBe('to the next');
    next.socket.end('last');
    await line.heard(/last/);
    line.say('heard by who has no more to say');
    await next.until('no more to say');
    const last = client();
    await next.closed;
    await saidTo(line, last.socket);
    last.socket.destroy();
    await last.closed;
    line.say('to nobody');
    await line.taken();
  });

  async function saidTo(line: Line, socket: Socket): Promise<string> {
    socket.write('next');
    await line.heard(/next/);
    return 'said';
  }

  it('waits with a client for a guest that is not there yet, and hangs up when that has gone', async () => {
    const listener = await listening(undefined);
    const { socket, until, closed } = client();
    await new Promise<void>((resolve) => socket.write('early', () => resolve()));
    const line = new Line();
    listener.serve(line);
    await line.heard(/early/);
    line.say('here');
    await until('here');
    listener.serve(undefined);
    await closed;
  });
});
