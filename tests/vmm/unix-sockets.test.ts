/** UNIX sockets with descriptors: who waits at one keeps no process from its end. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { loadUnixSockets } from '../../vmm/vfio-user/unix-sockets.js';
import { start } from '../processes.js';

const sockets = await loadUnixSockets().catch(() => undefined);
const MODULE = new URL('../../dist/vmm/vfio-user/unix-sockets.js', import.meta.url).href;

it.skipIf(sockets === undefined && process.env.CI === undefined)(
  'a process that ends while it waits for a client does end (skipped without koffi)',
  async () => {
    const folder = mkdtempSync(join(tmpdir(), 'unix-sockets-'));
    const program = `
      import { loadUnixSockets, POLLIN } from ${JSON.stringify(MODULE)};
      const sockets = await loadUnixSockets();
      sockets.whenReady(sockets.listen(${JSON.stringify(join(folder, 's'))}), POLLIN, () => {});
      setTimeout(() => process.exit(3), 100);`;
    const { status } = await start(['--input-type=module', '--eval', program]).ended();
    rmSync(folder, { recursive: true });
    expect(status).toBe(3);
  },
);
