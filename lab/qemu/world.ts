/** The folder with a QEMU, a Linux kernel and a small guest that `scripts/qemu-world` makes. */
import { spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import { labErrors } from '../errors.js';

export interface QemuWorld {
  readonly emulator: string;
  readonly kernel: string;
  readonly initramfs: string;
}

/** The first release whose vfio-user device was seen to work. */
const NEEDED = [11, 1] as const;
const VERSION_TIMEOUT_MS = 60_000;

/** Where it is looked for if nothing is said in QEMU_WORLD. */
export const WORLD_FOLDER = '.qemu-world';

/** The world in `folder`; a string says what is missing. */
export function findWorld(folder = process.env.QEMU_WORLD ?? WORLD_FOLDER): QemuWorld | string {
  const world = {
    emulator: resolve(folder, 'qemu'),
    kernel: resolve(folder, 'kernel', 'vmlinuz'),
    initramfs: resolve(folder, 'initramfs.gz'),
  };
  try {
    for (const path of Object.values(world)) accessSync(path, constants.R_OK);
    return world;
  } catch {
    return `there is no world of QEMU in ${join(folder, '')}: make one with scripts/qemu-world ${folder}, or say in QEMU_WORLD where it is`;
  }
}

/**
 * The world in `folder`, with a QEMU that has what it takes. Throws `lab/world-missing`, `lab/emulator-old`, or `lab/file-failed` for one
 * that does not run.
 */
export function usableWorld(folder?: string): QemuWorld {
  const found = findWorld(folder);
  if (typeof found === 'string') throw labErrors.error('world-missing', { why: found });
  const { emulator: path } = found;
  const { error, status, stdout, stderr } = spawnSync(path, ['--version'], {
    encoding: 'utf8',
    timeout: VERSION_TIMEOUT_MS,
  });
  const version = /version (\d+)\.(\d+)\S*/.exec(stdout ?? '');
  if (version === null) {
    const reason = error?.message ?? `exit status ${status}; ${stderr.trim().split('\n').at(-1) ?? ''}`;
    throw labErrors.error('file-failed', { path, what: 'run', reason });
  }
  const [major, minor] = version.slice(1).map(Number) as [number, number];
  if (major < NEEDED[0] || (major === NEEDED[0] && minor < NEEDED[1])) {
    throw labErrors.error('emulator-old', {
      path,
      version: `${major}.${minor}`,
      needed: NEEDED.join('.'),
    });
  }
  return found;
}
