/** The thread of one data channel at the destination. */
import type { DestinationCommand, DestinationReport } from '../../migration/pages/crew.js';
import { DestinationChannel } from '../../migration/pages/destination-channel.js';
import { realTime } from '../threads/real-time.js';
import { onTask } from '../threads/task-thread.js';
import type { PageTask } from './crew.js';
import { memoryBuffer, simdKernels } from './kernels.js';
import type { DestinationTask } from './messages.js';
import { connectWire } from './socket-wire.js';

onTask(async ({ task, port }: PageTask<DestinationTask>) => {
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
  // Until the owner has closed the channel.
  await channel.done;
  port.close();
});
