/** The thread of one data channel at the destination. */
import type { MessagePort } from 'node:worker_threads';
import type { DestinationCommand, DestinationReport } from '../../migration/pages/crew.js';
import { DestinationChannel } from '../../migration/pages/destination-channel.js';
import { realTime } from '../threads/real-time.js';
import { memoryBuffer, simdKernels } from './kernels.js';
import type { DestinationTask } from './messages.js';
import { connectWire } from './socket-wire.js';

/** Piscina task: resolves when the owner has closed the channel. */
export default async function destinationWorker(given: {
  task: DestinationTask;
  port: MessagePort;
}): Promise<void> {
  const { task, port } = given;
  const channel = new DestinationChannel({
    task,
    ram: memoryBuffer(task.memory),
    kernels: simdKernels(task.memory),
    scheduler: realTime,
    connect: (host, portNumber, user) => connectWire(host, portNumber, user, task.tls),
    connectTimeoutMs: task.connectTimeoutMs,
    allocate: (bytes) => Buffer.alloc(bytes),
    report: (report: DestinationReport) => port.postMessage(report),
  });
  port.on('message', (command: DestinationCommand) => channel.take(command));
  await channel.done;
  port.close();
}
