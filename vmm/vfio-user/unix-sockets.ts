/**
 * UNIX sockets that carry file descriptors, which Node's own do not: the few calls of the C library for it, through koffi.
 * The only file that knows the package; Linux on a 64-bit little-endian processor, as its structures are declared here.
 */
import { closeSync } from 'node:fs';
import { constants } from 'node:os';
import { layout, u32, u64 } from '../../base/layout.js';
import { vmmErrors } from '../errors.js';

const { EAGAIN, EINTR, EPIPE, ECONNRESET } = constants.errno;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
/** With SOCK_CLOEXEC and SOCK_NONBLOCK. */
const SOCK_OURS = SOCK_STREAM | 0x80000 | 0x800;
const SHUT_RDWR = 2;
const MSG_DONTWAIT = 0x40;
const MSG_CTRUNC = 8;
const MSG_NOSIGNAL = 0x4000;
const MSG_CMSG_CLOEXEC = 0x4000_0000;
const SOL_SOCKET = 1;
const SCM_RIGHTS = 1;
export const POLLIN = 1;
export const POLLOUT = 4;

/** Descriptors that Linux passes with one message (SCM_MAX_FD). */
export const DESCRIPTORS_MAX = 253;

const sockaddr = { FAMILY: 0, PATH: 2, BYTES: 110 };
const iovec = layout('iovec', { base: u64(), length: u64() });
const msghdr = layout('msghdr', {
  name: u64(),
  nameLength: u64(),
  iov: u64(),
  iovLength: u64(),
  control: u64(),
  controlLength: u64(),
  flags: u64(),
});
const cmsghdr = layout('cmsghdr', { length: u64(), level: u32(), type: u32() });
const pollfd = layout('pollfd', { fd: u32(), events: u32() });
const REVENTS_SHIFT = 16;
/** A process that ends, however it does, waits for the threads of its pool: none may wait at a socket for ever. */
const LOOKS_UP_MS = 500;

/** Memory that stays where it is while the C library works on it. */
const fixed = (bytes: number): Uint8Array => new Uint8Array(new ArrayBuffer(bytes));
const viewOf = (memory: Uint8Array): DataView => new DataView(memory.buffer);

/** A call that the system refused. */
export class SystemError extends Error {
  readonly errno: number;
  /** Its name, as Node's own errors have it. */
  readonly code: string;

  constructor(call: string, errno: number) {
    const code = Object.entries(constants.errno).find(([, number]) => number === errno)?.[0] ?? String(errno);
    super(`${call}: ${code}`);
    this.errno = errno;
    this.code = code;
  }
}

export interface Received {
  /** 0 at the end of the stream, or where descriptors were lost; undefined while nothing is there. */
  readonly bytes: number | undefined;
  /** Descriptors that came with them; the caller's to close. */
  readonly fds: readonly number[];
}

export interface UnixSockets {
  /** A listening socket; the file's mode is the process's mask's. Throws SystemError. */
  listen(path: string): number;
  /** A connected socket. Throws SystemError. */
  connect(path: string): number;
  /** The next client that waits, or undefined. Throws SystemError. */
  accept(listener: number): number | undefined;
  /** Reads at most `length` bytes to `target[at]`; never waits. Who went away has ended the stream. */
  receive(fd: number, target: Uint8Array, at: number, length: number): Received;
  /**
   * Sends what there is room for of `length` bytes at `source[at]`, with descriptors; never waits. Returns how many went,
   * undefined if the other side is gone.
   */
  send(
    fd: number,
    source: Uint8Array,
    at: number,
    length: number,
    fds?: readonly number[],
  ): number | undefined;
  /** What of `events` is there now, waiting at most `ms`, or for ever with -1; also if the descriptor is at its end. */
  poll(fd: number, events: number, ms: number): boolean;
  /** `then` is called when one of `events` is there, or the socket was shut down; it stays open until then. */
  whenReady(fd: number, events: number, then: () => void): void;
  /** Ends the connection for both sides and for who waits; the descriptor stays. */
  shutdown(fd: number): void;
}

/** Loads the package; throws `vmm/native-missing` where it, or the system, is not there. */
export async function loadUnixSockets(): Promise<UnixSockets> {
  const missing = (reason: string, cause?: unknown): Error =>
    vmmErrors.error('native-missing', { package: 'koffi', reason }, cause);
  if (process.platform !== 'linux' || !['x64', 'arm64', 'riscv64'].includes(process.arch)) {
    throw missing(`it is used on 64-bit Linux alone, and this is ${process.platform} on ${process.arch}`);
  }
  const { default: koffi } = await import('koffi').catch((error: unknown) => {
    throw missing('it is not installed', error);
  });
  const c = koffi.load(null);
  const calls = {
    socket: c.func('int socket(int, int, int)'),
    bind: c.func('int bind(int, void *, uint32_t)'),
    listen: c.func('int listen(int, int)'),
    connect: c.func('int connect(int, void *, uint32_t)'),
    accept4: c.func('int accept4(int, void *, void *, int)'),
    recvmsg: c.func('int64_t recvmsg(int, void *, int)'),
    sendmsg: c.func('int64_t sendmsg(int, void *, int)'),
    poll: c.func('int poll(void *, uint64_t, int)'),
    shutdown: c.func('int shutdown(int, int)'),
  };
  const { address, errno } = koffi;

  const header = fixed(msghdr.size);
  const headerView = viewOf(header);
  const vector = fixed(iovec.size);
  const vectorView = viewOf(vector);
  const control = fixed(cmsghdr.size + DESCRIPTORS_MAX * 4);
  const controlView = viewOf(control);
  const looked = fixed(pollfd.size);
  const watched = new Set<Uint8Array>();
  /** Points the message's header at `length` bytes of memory, and at `controlBytes` of descriptors. */
  const compose = (memory: Uint8Array, at: number, length: number, controlBytes: number): void => {
    iovec.write(vectorView, 0, { base: Number(address(memory)) + at, length });
    msghdr.write(headerView, 0, {
      iov: Number(address(vector)),
      iovLength: 1,
      control: controlBytes === 0 ? 0 : Number(address(control)),
      controlLength: controlBytes,
    });
  };
  /** Descriptors in the control data that `recvmsg` left. */
  const received = (): number[] => {
    const there = headerView.getUint32(msghdr.offset.controlLength, true);
    const fds: number[] = [];
    if (there < cmsghdr.size) return fds;
    const { length, level, type } = cmsghdr.read(controlView, 0);
    if (level !== SOL_SOCKET || type !== SCM_RIGHTS) return fds;
    for (let at = cmsghdr.size; at + 4 <= Math.min(length, there); at += 4) {
      fds.push(controlView.getInt32(at, true));
    }
    return fds;
  };
  const retried = (call: () => number | bigint): number => {
    for (;;) {
      const result = Number(call());
      if (result >= 0 || errno() !== EINTR) return result;
    }
  };
  const opened = (path: string, name: 'bind' | 'connect'): number => {
    const fd = Number(calls.socket(AF_UNIX, SOCK_OURS, 0));
    if (fd < 0) throw new SystemError('socket', errno());
    const name16 = fixed(sockaddr.BYTES);
    viewOf(name16).setUint16(sockaddr.FAMILY, AF_UNIX, true);
    new TextEncoder().encodeInto(path, name16.subarray(sockaddr.PATH, sockaddr.BYTES - 1));
    if (Number(calls[name](fd, name16, sockaddr.BYTES)) < 0) {
      const error = new SystemError(name, errno());
      closeSync(fd);
      throw error;
    }
    return fd;
  };

  return {
    listen(path) {
      const fd = opened(path, 'bind');
      if (Number(calls.listen(fd, 8)) >= 0) return fd;
      const error = new SystemError('listen', errno());
      closeSync(fd);
      throw error;
    },
    connect: (path) => opened(path, 'connect'),
    accept(listener) {
      const fd = retried(() => calls.accept4(listener, null, null, SOCK_OURS & ~SOCK_STREAM));
      if (fd >= 0) return fd;
      if (errno() === EAGAIN) return undefined;
      throw new SystemError('accept', errno());
    },
    receive(fd, target, at, length) {
      compose(target, at, length, control.length);
      const bytes = retried(() => calls.recvmsg(fd, header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC));
      if (bytes >= 0) {
        const fds = received();
        if ((headerView.getUint32(msghdr.offset.flags, true) & MSG_CTRUNC) === 0) return { bytes, fds };
        // Some of them are lost, for this process can have no more: who sent them counts on all.
        for (const one of fds) closeSync(one);
        return { bytes: 0, fds: [] };
      }
      return { bytes: errno() === EAGAIN ? undefined : 0, fds: [] };
    },
    send(fd, source, at, length, fds = []) {
      const controlBytes = fds.length === 0 ? 0 : cmsghdr.size + 4 * fds.length;
      if (controlBytes > 0) {
        cmsghdr.write(controlView, 0, { length: controlBytes, level: SOL_SOCKET, type: SCM_RIGHTS });
        fds.forEach((one, i) => {
          controlView.setInt32(cmsghdr.size + 4 * i, one, true);
        });
      }
      compose(source, at, length, controlBytes);
      const bytes = retried(() => calls.sendmsg(fd, header, MSG_DONTWAIT | MSG_NOSIGNAL));
      if (bytes >= 0) return bytes;
      if (errno() === EAGAIN) return 0;
      if (errno() === EPIPE || errno() === ECONNRESET) return undefined;
      throw new SystemError('sendmsg', errno());
    },
    poll(fd, events, ms) {
      pollfd.write(viewOf(looked), 0, { fd, events });
      const found = retried(() => calls.poll(looked, 1, ms));
      return found > 0 && viewOf(looked).getUint32(pollfd.offset.events, true) >>> REVENTS_SHIFT !== 0;
    },
    whenReady(fd, events, then) {
      const asked = fixed(pollfd.size);
      pollfd.write(viewOf(asked), 0, { fd, events });
      // Held until it is over, for the thread of the pool writes to it.
      watched.add(asked);
      const wait = (): void =>
        calls.poll.async(asked, 1, LOOKS_UP_MS, (_error: unknown, found: unknown) => {
          if (found === 0) {
            wait();
            return;
          }
          watched.delete(asked);
          then();
        });
      wait();
    },
    shutdown(fd) {
      calls.shutdown(fd, SHUT_RDWR);
    },
  };
}
