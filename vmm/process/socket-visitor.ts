import type { Socket } from 'node:net';
import { SocketControlLink } from '../control-link/socket-link.js';
import type { TlsBinding } from '../tls/session.js';
import { FIRST_WORDS, type Visitor } from './doorstep.js';

/** Who has connected by `socket`, which is its own from now on. */
export function socketVisitor(socket: Socket, binding?: TlsBinding): Visitor {
  const from = nameOf(socket);
  return {
    // Judged by its header already, before memory is taken for what is none.
    link: new SocketControlLink(socket, from, FIRST_WORDS),
    from,
    binding,
    get gone() {
      return socket.destroyed;
    },
    drop: () => socket.destroy(),
  };
}

/** Names the other end of `socket`. */
export const nameOf = ({ remoteAddress, remotePort }: Socket): string =>
  remoteAddress === undefined ? 'a local process' : `${remoteAddress}, port ${remotePort ?? 0}`;
