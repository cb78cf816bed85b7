import type { Socket } from 'node:net';
import { SocketControlLink } from '../control-link/socket-link.js';
import { FIRST_WORDS, type Visitor } from './doorstep.js';

/** Who has connected by `socket`, which is its own from now on. */
export function socketVisitor(socket: Socket): Visitor {
  const { remoteAddress, remotePort } = socket;
  const from = remoteAddress === undefined ? 'a local process' : `${remoteAddress}, port ${remotePort ?? 0}`;
  return {
    // Judged by its header already, before memory is taken for what is none.
    link: new SocketControlLink(socket, from, FIRST_WORDS),
    from,
    get gone() {
      return socket.destroyed;
    },
    drop: () => socket.destroy(),
  };
}
