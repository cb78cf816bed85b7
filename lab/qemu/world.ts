/** The folder with a QEMU, a Linux kernel and a small guest that `scripts/qemu-world` makes. */
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';

export interface QemuWorld {
  readonly emulator: string;
  readonly kernel: string;
  readonly initramfs: string;
}

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
