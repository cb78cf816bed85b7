/** The thread of one data channel at the source. */
import type { SourceCommand, SourceReport } from '../../migration/pages/crew.js';
import { SourceChannel } from '../../migration/pages/source-channel.js';
import { realTime } from '../threads/real-time.js';
import { onTask } from '../threads/task-thread.js';
import type { PageTask } from './crew.js';
import { memoryBuffer, simdKernels } from './kernels.js';
import type { SourceTask } from './messages.js';
import { Recording } from './recording.js';
import { SocketListener } from './socket-wire.js';

onTask(async ({ task, port }: PageTask<SourceTask>) => {
  const { memory, host, tls, helloTimeoutMs, recording } = task;
  const channel = new SourceChannel({
    task,
    ram: memoryBuffer(memory),
    kernels: simdKernels(memory),
    scheduler: realTime,
    listener: (knock) => new SocketListener(host, task.channel, knock, tls),
    helloTimeoutMs,
    recorder: recording === undefined ? undefined : (cut) => new Recording(recording, cut),
    allocate: (bytes) => Buffer.alloc(bytes),
    report: (report: SourceReport) => port.postMessage(report),
  });
  port.on('message', (command: SourceCommand) => channel.take(command));
  // Until the owner has closed the channel.
  await channel.done;
  port.close();
});
