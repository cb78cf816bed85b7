/** What iperf3 reaches over loopback, where one is installed: bytes that nobody keeps. */
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { promisify } from 'node:util';
import { benchErrors } from '../errors.js';

const PROGRAM = 'iperf3';
const run = promisify(execFile);

/** Its version; undefined where none is installed. */
export async function findIperf(): Promise<string | undefined> {
  try {
    const { stdout } = await run(PROGRAM, ['--version']);
    return /iperf (\S+)/.exec(stdout)?.[1] ?? 'of unknown version';
  } catch {
    return undefined;
  }
}

/** GB/s (10^9 bytes a second) of so many bytes over so many connections. Rejects with `bench/iperf3-failed`. */
export async function iperfRate(bytes: number, connections: number): Promise<number> {
  const port = String(await freePort());
  const server = spawn(PROGRAM, ['-s', '-1', '-B', '127.0.0.1', '-p', port, '--forceflush'], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    await Promise.race([
      once(server.stdout, 'data'),
      once(server, 'exit').then(() => {
        throw new Error('its server ended');
      }),
    ]);
    const share = String(Math.ceil(bytes / connections));
    const { stdout } = await run(PROGRAM, [
      ...['-c', '127.0.0.1', '-p', port, '-P', String(connections), '-n', share, '-J'],
    ]);
    const { end } = JSON.parse(stdout) as { end: { sum_received: { bits_per_second: number } } };
    return end.sum_received.bits_per_second / 8e9;
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error);
    throw benchErrors.error('iperf3-failed', { problem }, error);
  } finally {
    server.kill('SIGKILL');
  }
}

/** One that was free just now. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
