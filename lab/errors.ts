/**
 * What can go wrong in what people run. Exit status 2 is wrong use of a command; 70 is kept for defects of ours;
 * the others are 71 to 79 and 105 to 109, each used once; 141 is that of a process that SIGPIPE ended.
 */
import { catalogue, entry } from '../base/errors.js';

/** Processes of ours that others are driven by. */
export type SpawnedProcess = 'VMM' | 'fabric';

export const labErrors = catalogue('lab', {
  usage: entry<{ why: string; command: string }>({
    exitStatus: 2,
    text: ({ why }) => why,
    advice: ({ command }) => `See '${command} --help'.`,
  }),
  'process-died': entry<{ what: SpawnedProcess; pid: number; how: string; lastWords: string }>({
    exitStatus: 71,
    text: ({ what, pid, how, lastWords }) =>
      `the ${what} process ${pid} ended (${how})${lastWords === '' ? '' : `; it said: ${lastWords}`}`,
    advice: ({ what }) =>
      `What it said tells the cause; start it by hand with \`ferry ${what.toLowerCase()}\` to see more.`,
  }),
  'process-silent': entry<{ what: SpawnedProcess; pid: number; waitedMs: number }>({
    exitStatus: 72,
    text: ({ what, pid, waitedMs }) =>
      `the ${what} process ${pid} did not open its monitor within ${waitedMs} ms`,
    advice: () => 'The machine may be overloaded or out of memory; try again, or allow more time.',
  }),
  'monitor-lost': entry<{ address: string; why: string }>({
    exitStatus: 73,
    text: ({ address, why }) => `the connection to the monitor at ${address} is gone: ${why}`,
    advice: () => 'See whether the process behind it still runs, and connect again.',
  }),
  'monitor-no-qmp': entry<{ address: string; why: string }>({
    exitStatus: 74,
    text: ({ address, why }) => `what answers at ${address} does not speak QMP: ${why}`,
    advice: () => "Give the address of a monitor (`--monitor` of `ferry vmm`, or QEMU's `-qmp`).",
  }),
  'monitor-refused': entry<{ command: string; class: string; desc: string }>({
    exitStatus: 75,
    text: ({ command, desc }) => `the monitor refused '${command}': ${desc}`,
    advice: () => 'Its words name the reason; `query-status` tells the run state.',
  }),
  timeout: entry<{ what: string; waitedMs: number }>({
    exitStatus: 76,
    text: ({ what, waitedMs }) => `${what} did not happen within ${waitedMs} ms`,
    advice: () => 'Allow more time, or see in the record or the console what it waits for.',
  }),
  'guest-ended': entry<{ desc: string; lastLines: string }>({
    exitStatus: 105,
    text: ({ desc, lastLines }) => `${desc}${lastLines === '' ? '' : `; its last words: ${lastLines}`}`,
    advice: () => 'Run it alone with `ferry vmm --guest IMAGE` to see all that it says.',
  }),
  'file-failed': entry<{ path: string; what: string; reason: string }>({
    exitStatus: 3,
    text: ({ path, what, reason }) => `${path} can't be ${what}: ${reason}`,
    advice: () => 'Check the name, and whether you may read or write there.',
  }),
  'recording-damaged': entry<{ files: string }>({
    exitStatus: 77,
    text: ({ files }) => `damaged or cut short: ${files}`,
    advice: () => 'The lines above tell where; what stands before that place can be relied on.',
  }),
  'recording-unreadable': entry<{ path: string; reason: string }>({
    exitStatus: 78,
    text: ({ path, reason }) => `${path} can't be read as a recording: ${reason}`,
    advice: () =>
      'Give a folder that `ferry migrate --record` or `ferry vmm --record-to` wrote, or one file of it.',
  }),
});
