/** What packets are measured, and beside which NICs of QEMU's; here so that a command's help loads no benchmark. */
export const DIRECTIONS = ['guest to peer', 'peer to guest', 'echo'] as const;
export type Direction = (typeof DIRECTIONS)[number];

export const QEMU_NICS = ['e1000e', 'igb'] as const;
export type QemuNic = (typeof QEMU_NICS)[number];
