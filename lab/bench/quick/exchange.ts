/**
 * The yardstick of a blackout: what two bare Node processes take for what must go to and fro in one. A hundred pages are sent
 * and their arrival is told, then a word is sent (the commit) and answered.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import { PAGE_BYTES } from '../../../base/units.js';
import { builtFile } from '../../../vmm/built.js';
import { median } from '../../report/median.js';
import { benchErrors } from '../errors.js';

const PAGES = 100;
const LAST_PAGES_BYTES = PAGES * PAGE_BYTES;
const WORD_BYTES = 64;
/** Code that has run so often is compiled. */
const WARM_UP = 50;

/** Milliseconds of one exchange, the median of `count`. Rejects with `bench/process-died`. */
export async function bareExchangeMs(count = 200): Promise<number> {
  const server = createServer({ noDelay: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const child = fork(fileURLToPath(builtFile('lab/bench/quick/exchange.js')), [String(port)]);
  try {
    const died = failureOf(child);
    const [socket] = (await Promise.race([once(server, 'connection'), died])) as [Socket];
    const ask = answers(socket);
    const took: number[] = [];
    for (let turn = -WARM_UP; turn < count; turn++) {
      const from = performance.now();
      await Promise.race([ask(LAST_PAGES_BYTES), died]);
      await Promise.race([ask(WORD_BYTES), died]);
      if (turn >= 0) took.push(performance.now() - from);
    }
    socket.destroy();
    return median(took);
  } finally {
    child.kill('SIGKILL');
    server.close();
  }
}

/** Rejects when the process ends by itself. */
function failureOf(child: ChildProcess): Promise<never> {
  const died = new Promise<never>((_, reject) => {
    const failed = (how: string): void =>
      reject(benchErrors.error('process-died', { role: 'destination', how }));
    child.on('error', ({ message }) => failed(message));
    child.on('exit', (status, signal) => failed(signal ?? `exit status ${status}`));
  });
  died.catch(() => {});
  return died;
}

/** Sends so many bytes, and resolves when the peer has answered with one. */
function answers(socket: Socket): (bytes: number) => Promise<void> {
  const memory = Buffer.alloc(LAST_PAGES_BYTES, 1);
  let answered: () => void = () => {};
  socket.on('data', () => answered());
  socket.on('error', () => socket.destroy());
  return (bytes) =>
    new Promise((resolve) => {
      answered = resolve;
      socket.write(memory.subarray(0, bytes));
    });
}

/** The other process: answers when all of the pages are there, and then when the word is. */
function answer(port: number): void {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  let due = LAST_PAGES_BYTES;
  let got = 0;
  socket.on('data', (data) => {
    got += data.length;
    if (got < due) return;
    got = 0;
    due = due === WORD_BYTES ? LAST_PAGES_BYTES : WORD_BYTES;
    socket.write('.');
  });
  socket.on('error', () => socket.destroy());
  // Without whom it answers there is nothing to do.
  process.on('disconnect', () => process.exit());
}

if (process.send !== undefined && process.argv[2] !== undefined && isThisFile(process.argv[1])) {
  answer(Number(process.argv[2]));
}

function isThisFile(path: string | undefined): boolean {
  return path === fileURLToPath(import.meta.url);
}
