/** What can go wrong in what people run. */
import { catalogue, entry } from '../base/errors.js';

/** Processes of ours that others are driven by. */
export type SpawnedProcess = 'VMM' | 'fabric' | 'NIC' | 'QEMU';

export const labErrors = catalogue('lab', {
  usage: entry<{ why: string; command: string }>({
    exit: 'usage',
    text: ({ why }) => why,
    advice: ({ command }) => `See '${command} --help'.`,
  }),
  'process-died': entry<{ what: SpawnedProcess; pid: number; how: string; lastWords: string }>({
    exit: 'failed',
    text: ({ what, pid, how, lastWords }) =>
      `the ${what} process ${pid} ended (${how})${lastWords === '' ? '' : `; it said: ${lastWords}`}`,
    advice: ({ what }) =>
      what === 'QEMU'
        ? 'What it said tells the cause; docs/real-linux.md says what is known to end it.'
        : `What it said tells the cause; start it by hand with \`ferry ${what.toLowerCase()}\` to see more.`,
  }),
  'process-silent': entry<{ what: SpawnedProcess; pid: number; waitedMs: number }>({
    exit: 'environment',
    text: ({ what, pid, waitedMs }) =>
      `the ${what} process ${pid} did not open its monitor within ${waitedMs} ms`,
    advice: () => 'The machine may be overloaded or out of memory; try again, or allow more time.',
  }),
  'fault-impossible': entry<{ what: string; why: string }>({
    exit: 'environment',
    text: ({ what, why }) => `it is not possible here to ${what}: ${why}`,
    advice: () => 'prlimit of util-linux, and the right to use it on own processes, are needed.',
  }),
  'monitor-lost': entry<{ address: string; why: string }>({
    exit: 'failed',
    text: ({ address, why }) => `the connection to the monitor at ${address} is gone: ${why}`,
    advice: () => 'See whether the process behind it still runs, and connect again.',
  }),
  'monitor-no-qmp': entry<{ address: string; why: string }>({
    exit: 'environment',
    text: ({ address, why }) => `what answers at ${address} does not speak QMP: ${why}`,
    advice: () => "Give the address of a monitor (`--monitor` of `ferry vmm`, or QEMU's `-qmp`).",
  }),
  'monitor-refused': entry<{ command: string; class: string; desc: string }>({
    exit: 'refused',
    text: ({ command, desc }) => `the monitor refused '${command}': ${desc}`,
    advice: () => 'Its words name the reason; `query-status` tells the run state.',
  }),
  timeout: entry<{ what: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ what, waitedMs }) => `${what} did not happen within ${waitedMs} ms`,
    advice: () => 'Allow more time, or see in the record or the console what it waits for.',
  }),
  'guest-ended': entry<{ desc: string; lastLines: string }>({
    exit: 'guest',
    text: ({ desc, lastLines }) => `${desc}${lastLines === '' ? '' : `; its last words: ${lastLines}`}`,
    advice: () => 'Run it alone with `ferry vmm --guest IMAGE` to see all that it says.',
  }),
  'guest-failed': entry<{ line: string; status: number; output: string }>({
    exit: 'guest',
    text: ({ line, status, output }) => `the guest's '${line}' ended with status ${status}: ${output}`,
    advice: () => "Its own words name the reason; the guest's `dmesg` may tell more.",
  }),
  'world-missing': entry<{ why: string }>({
    exit: 'environment',
    text: ({ why }) => why,
    advice: () =>
      "scripts/qemu-world FOLDER makes one from Debian's packages: some 60 MB, no root, nothing is installed. Then say --world FOLDER.",
  }),
  'qemu-failed': entry<{ status: string; why: string }>({
    exit: 'failed',
    text: ({ status, why }) => `QEMU's migration ended ${status}: ${why}`,
    advice: () => "The guest goes on at the source. QEMU's words name the reason; its log may tell more.",
  }),
  'emulator-old': entry<{ path: string; version: string; needed: string }>({
    exit: 'environment',
    text: ({ path, version, needed }) =>
      `${path} is QEMU ${version}, which is older than ${needed} and has no vfio-user devices to rely on`,
    advice: () => 'scripts/qemu-world FOLDER makes a folder with a newer one, and installs nothing.',
  }),
  'file-failed': entry<{ path: string; what: string; reason: string }>({
    exit: 'environment',
    text: ({ path, what, reason }) => `${path} can't be ${what}: ${reason}`,
    advice: () => 'Check the name, and whether you may read or write there.',
  }),
  'package-missing': entry<{ name: string; command: string }>({
    exit: 'environment',
    text: ({ name, command }) => `${command} needs the package ${name}, which is not installed`,
    advice: ({ name }) => `Install it beside vf-ferry: npm install ${name}`,
  }),
  'output-cut': entry<{ what: string; path: string; reason: string }>({
    exit: 'environment',
    text: ({ what, path, reason }) => `the ${what} in ${path} is cut: ${reason}`,
    advice: () => 'What is in it can be relied on; the rest is missing. All else went on.',
  }),
  'recording-damaged': entry<{ files: string }>({
    exit: 'not-verified',
    text: ({ files }) => `damaged or cut short: ${files}`,
    advice: () => 'The lines above tell where; what stands before that place can be relied on.',
  }),
  'comparison-unreadable': entry<{ path: string; reason: string }>({
    exit: 'refused',
    text: ({ path, reason }) => `${path} can't be read as a comparison: ${reason}`,
    advice: () => 'Give a file that `ferry compare --json` wrote, with this version of vf-ferry.',
  }),
  'campaign-file': entry<{ path: string; reason: string }>({
    exit: 'refused',
    text: ({ path, reason }) => `${path} can't be gone on with: ${reason}`,
    advice: () =>
      'Give the file that the same command wrote, of the same build, or one that there is not yet.',
  }),
  'queue-failed': entry<{ url: string; reason: string }>({
    exit: 'environment',
    text: ({ url, reason }) => `the queue at ${url} can't be reached: ${reason}`,
    advice: () => 'Start Redis or Valkey there, or give the address at which it listens.',
  }),
  'portion-failed': entry<{ from: number; to: number; reason: string }>({
    exit: 'failed',
    text: ({ from, to, reason }) => `seeds ${from} to ${to} were given up: ${reason}`,
    advice: ({ from, to }) =>
      `Run them here to see more: ferry simulate --seeds ${from}..${to}. The rest is kept; the same command goes on with it.`,
  }),
  experiment: entry<{ problems: string }>({
    exit: 'refused',
    text: ({ problems }) => problems,
    advice: () =>
      "docs/experiments.md says what an experiment may say; an editor does so too, where '$schema' names experiment.schema.json.",
  }),
  'experiment-elsewhere': entry<{ name: string; harness: string; harnesses: string }>({
    exit: 'refused',
    text: ({ name, harness, harnesses }) => `${name} is not for the harness ${harness}, but for ${harnesses}`,
    advice: () => "Leave the harness out, or name it in the experiment's `harness` if it can do all of it.",
  }),
  'recording-unreadable': entry<{ path: string; reason: string }>({
    exit: 'refused',
    text: ({ path, reason }) => `${path} can't be read as a recording: ${reason}`,
    advice: () =>
      'Give a folder that `ferry migrate --record` or `ferry vmm --record-to` wrote, or one file of it.',
  }),
});
