/** Bytes between a wire and a stream socket, of whatever kind. */
import type { Socket } from 'node:net';
import type { Wire } from '../../migration/pages/wire.js';

/** One gathering write. */
export function writePieces(
  socket: Socket,
  pieces: readonly Uint8Array[],
  count: number,
  taken: () => void,
): void {
  const last = count - 1;
  socket.cork();
  for (let i = 0; i < last; i++) socket.write(pieces[i]!);
  socket.write(pieces[last]!, (error) => {
    if (!error) taken(); // else 'close' follows, and says why
  });
  socket.uncork();
}

/** Node does not aim the reads of this socket: what came is copied to where the wire's user wants it. */
export function copyTo(wire: Wire, socket: Socket): void {
  socket.on('data', (chunk: Buffer) => {
    for (let at = 0; at < chunk.length && !socket.destroyed; ) {
      const target = wire.user.target();
      const lengthBytes = Math.min(target.length, chunk.length - at);
      target.set(chunk.subarray(at, at + lengthBytes));
      at += lengthBytes;
      if (wire.user.filled(lengthBytes)) continue;
      socket.pause();
      if (at < chunk.length) socket.unshift(chunk.subarray(at));
      return;
    }
  });
}
