/**
 * Listening at a UNIX or TCP address, with errors in words, and with care for what a crashed process leaves behind.
 */
import { randomInt } from 'node:crypto';
import { existsSync, linkSync, lstatSync, unlinkSync } from 'node:fs';
import { type AddressInfo, connect, type Server } from 'node:net';
import { dirname, join } from 'node:path';
import { vmmErrors } from '../errors.js';
import { formatSocketAddress, type SocketAddress } from './address.js';

export interface Listening {
  /** The address in force: with the real port, if port 0 was asked for. */
  readonly address: SocketAddress;
}

const REASONS: Readonly<Record<string, string>> = {
  EADDRINUSE: 'the address is in use',
  EADDRNOTAVAIL: 'the address is not one of this machine',
  EACCES: 'permission denied',
  EPERM: 'permission denied',
  ENOENT: 'there is no such file or directory',
  EISDIR: 'it is a directory',
  EEXIST: 'a file has this name',
  ENOSPC: 'no space is left',
  ENXIO: 'nobody reads the named pipe',
  EAGAIN: 'its reader does not take it',
  ENOTDIR: 'a part of the path is no directory',
  ENOTFOUND: 'the host is unknown',
  EAI_AGAIN: 'the host could not be resolved',
  ECONNREFUSED: 'nobody listens there',
  ECONNRESET: 'the other side reset the connection',
  EPIPE: 'the other side closed the connection',
  ETIMEDOUT: 'no answer',
  EHOSTUNREACH: 'the host can not be reached',
  ENETUNREACH: 'the network can not be reached',
  EROFS: 'the file system is read-only',
};

/** An operating system error in words. */
export function reasonOf(error: unknown): string {
  const code = (error as { code?: unknown } | null)?.code;
  if (typeof code === 'string') return REASONS[code] ?? code;
  return error instanceof Error ? error.message : String(error);
}

/** The error of who can't listen at `address`. */
export const listenFailed = (address: SocketAddress, reason: string, cause?: unknown): Error =>
  vmmErrors.error('listen-failed', { address: formatSocketAddress(address), reason }, cause);

/**
 * Sees to it that a UNIX socket can be made: one that nobody listens at any more is removed, any other file is left alone.
 * Throws a FerryError `vmm/listen-failed`.
 */
export async function freeSocketPath(address: SocketAddress & { readonly kind: 'unix' }): Promise<void> {
  const found = await inspectSocketFile(address.path);
  if (found === 'live') throw listenFailed(address, 'the address is in use');
  if (found === 'other') throw listenFailed(address, 'a file that is no socket has this name');
  if (found === 'stale') unlinkSocket(address);
  // The system's own answer would be "permission denied".
  if (!existsSync(dirname(address.path))) throw listenFailed(address, 'the directory does not exist');
}

/** A UNIX socket's file while nobody can connect to it yet. */
export interface Unpublished {
  /** Where the socket is bound meanwhile: a hidden name in the same directory. */
  readonly path: string;
  /** Gives the listening socket its name. Throws the system's error if a file has this name by now. */
  publish(): void;
}

/**
 * A name for the time between bind(2) and listen(2), in which connections are refused: whoever waits for a socket's file to
 * appear, as scripts do, may connect as soon as he sees it, and a second process that looks does not take it for one left behind.
 */
export function unpublished(path: string): Unpublished {
  const hidden = join(dirname(path), `.${randomInt(36 ** 4).toString(36)}`);
  return {
    path: hidden,
    publish: () => {
      try {
        linkSync(hidden, path);
      } finally {
        unlinkSync(hidden);
      }
    },
  };
}

/**
 * Makes `server` listen. A UNIX socket's file is readable by its owner alone; one that nobody listens at any more
 * is replaced, any other file is left alone. Throws a FerryError `vmm/listen-failed`.
 */
export async function listen(server: Server, address: SocketAddress): Promise<Listening> {
  if (address.kind === 'unix') await freeSocketPath(address);
  await new Promise<void>((resolve, reject) => {
    const refuse = (error: Error): void => reject(listenFailed(address, reasonOf(error), error));
    server.once('error', refuse);
    const listening = (): void => {
      server.off('error', refuse);
      // An accept that fails later (no descriptors left) concerns the client that came, not those that are served.
      server.on('error', () => {});
      resolve();
    };
    if (address.kind === 'tcp') {
      server.listen({ host: address.host, port: address.port }, listening);
    } else {
      const file = unpublished(address.path);
      const published = (): void => {
        try {
          file.publish();
          listening();
        } catch (error) {
          server.close();
          refuse(error as Error);
        }
      };
      // The file is made while `listen` runs; a mask set for just that long leaves no moment in which others may open it.
      const mask = process.umask(0o177);
      try {
        server.listen({ path: file.path }, published);
      } finally {
        process.umask(mask);
      }
    }
  });
  if (address.kind === 'unix') return { address };
  return { address: { ...address, port: (server.address() as AddressInfo).port } };
}

/** Removes a UNIX socket's file; nothing happens if it is gone already. */
export function unlinkSocket(address: SocketAddress): void {
  if (address.kind !== 'unix') return;
  try {
    unlinkSync(address.path);
  } catch {
    // Somebody else removed it, or may not be asked to: either way it is not ours any more.
  }
}

async function inspectSocketFile(path: string): Promise<'none' | 'live' | 'stale' | 'other'> {
  try {
    if (!lstatSync(path).isSocket()) return 'other';
  } catch {
    return 'none';
  }
  return new Promise((resolve) => {
    const probe = connect({ path });
    probe.once('connect', () => {
      probe.destroy();
      resolve('live');
    });
    probe.once('error', (error: NodeJS.ErrnoException) => {
      resolve(error.code === 'ECONNREFUSED' ? 'stale' : error.code === 'ENOENT' ? 'none' : 'live');
    });
  });
}
