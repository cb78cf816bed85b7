/** The errors of a migration: what the peer, the link or a parameter did wrong. The data channels have their own. */
import { catalogue, entry } from '../base/errors.js';

const assigned = (device: string): string =>
  device === '' ? 'no assigned device' : `the assigned device ${device}`;

export const migrationErrors = catalogue('migration', {
  'not-a-stream': entry<{ found: string }>({
    exit: 'failed',
    text: ({ found }) => `the peer does not speak the migration protocol: ${found}`,
    advice: () =>
      'Check that the address is that of a `ferry vmm --incoming`, and that nothing stands between.',
  }),
  'peer-version': entry<{ ours: number; theirs: number }>({
    exit: 'refused',
    text: ({ ours, theirs }) => `the peer speaks protocol version ${theirs}, this side version ${ours}`,
    advice: () => 'Run the same version of vf-ferry at both ends.',
  }),
  'malformed-message': entry<{ message: string; field: string; problem: string }>({
    exit: 'failed',
    text: ({ message, field, problem }) => `message \`${message}\` from the peer: ${field}: ${problem}`,
    advice: () => 'The peer or the link is faulty; this is never retried.',
  }),
  'unexpected-message': entry<{ message: string; phase: string; expected: string }>({
    exit: 'failed',
    text: ({ message, phase, expected }) =>
      `message \`${message}\` from the peer is not valid in phase ${phase} (expected ${expected})`,
    advice: () => 'The peer does not follow the protocol; run the same version of vf-ferry at both ends.',
  }),
  'no-hello': entry<{ waitedMs: number }>({
    exit: 'refused',
    text: ({ waitedMs }) => `no introduction within ${waitedMs} ms`,
    advice: () => 'A source introduces itself at once; what connected is none.',
  }),
  crowded: entry<{ most: number }>({
    exit: 'refused',
    text: ({ most }) => `${most} other connections came after this one, which has not introduced itself`,
    advice: () => 'A source introduces itself at once; what connected is none.',
  }),
  busy: entry<Record<string, never>>({
    exit: 'refused',
    text: () => 'the destination is taking in another guest',
    advice: () => 'Wait for its end, or choose another destination.',
  }),
  'not-waiting': entry<Record<string, never>>({
    exit: 'refused',
    text: () => 'the destination waits for no guest any more',
    advice: () => '`migrate-incoming` at its monitor makes it wait again.',
  }),
  'peer-closed': entry<{ phase: string }>({
    exit: 'failed',
    text: ({ phase }) => `the peer closed the control link in phase ${phase}`,
    advice: () => 'See the log of the peer for its reason, and start the migration again.',
  }),
  'link-broken': entry<{ peer: string; reason: string }>({
    exit: 'failed',
    text: ({ peer, reason }) => `the control link with ${peer} broke: ${reason}`,
    advice: () => 'Check the network and the log of the peer, and start the migration again.',
  }),
  'peer-silent': entry<{ phase: string; waitedMs: number; expected: string }>({
    exit: 'failed',
    text: ({ phase, waitedMs, expected }) =>
      `no ${expected} from the peer for ${waitedMs} ms in phase ${phase}`,
    advice: () =>
      'Check that the peer runs and the network between; `peer-timeout` and `answer-timeout` set the wait.',
  }),
  'take-back-failed': entry<{ reason: string; because: string; count: number }>({
    exit: 'failed',
    text: ({ reason, because, count }) =>
      `the migration failed (${because}), and of what it had done ${count === 1 ? 'one thing' : `${count} things`} could not be undone: ${reason}`,
    advice: () => 'Everything else was undone.',
  }),
  cancelled: entry<{ phase: string }>({
    exit: 'failed',
    text: ({ phase }) => `the migration was cancelled in phase ${phase}`,
    advice: () => 'It can be started again at any time.',
  }),
  'vmm-ended': entry<{ side: string; phase: string }>({
    exit: 'failed',
    text: ({ side, phase }) => `the VMM at the ${side} was ended in phase ${phase}`,
    advice: () => 'A VMM that is to live longer than its migration is ended after it (`query-migrate`).',
  }),
  'integrity-mismatch': entry<{ pages: string; count: number }>({
    exit: 'failed',
    text: ({ pages, count }) =>
      `${count === 1 ? 'one page' : `${count} pages`} arrived other than sent: ${count === 1 ? 'page' : 'pages'} ${pages}`,
    advice: () => 'Bytes changed on the way between the two hosts; check memory and network.',
  }),
  'verification-failed': entry<{ differences: string; count: number }>({
    exit: 'not-verified',
    text: ({ differences, count }) =>
      `the machine at the destination differs in ${count} places: ${differences}`,
    advice: () => 'Nothing was committed; please report this with the recorded stream.',
  }),
  'not-decided': entry<{ phase: string }>({
    exit: 'unknown-owner',
    text: ({ phase }) =>
      `the destination is in phase ${phase}, and does not know yet whether it will run the guest`,
    advice: () => 'Ask it again.',
  }),
  'not-known': entry<Record<string, never>>({
    exit: 'unknown-owner',
    text: () => 'this VMM knows nothing of that migration',
    advice: () => 'It may have been another process that was told to run the guest.',
  }),
  'commit-unacknowledged': entry<{ reason: string }>({
    exit: 'unknown-owner',
    text: ({ reason }) =>
      `the destination was told to run the guest, but did not confirm it (${reason}): where the guest runs is unknown`,
    advice: () => 'Until it is known where the guest runs, end neither side.',
  }),
  parameter: entry<{ parameter: string; value: string; problem: string }>({
    exit: 'usage',
    text: ({ parameter, value, problem }) => `migration parameter ${parameter} = ${value}: ${problem}`,
    advice: () => '`ferry migrate --help` lists the parameters with their ranges.',
  }),
  'message-too-large': entry<{ message: string; bytes: number; bytesMax: number }>({
    exit: 'failed',
    text: ({ message, bytes, bytesMax }) =>
      `message \`${message}\` would take ${bytes} bytes, at most ${bytesMax}`,
    advice: () => "This machine's state is too large for the protocol.",
  }),
  'round-incomplete': entry<{ round: number; field: string; sent: number; received: number }>({
    exit: 'failed',
    text: ({ round, field, sent, received }) =>
      `round ${round}: the source sent ${sent} ${field}, the destination received ${received}`,
    advice: () => 'A data channel lost or invented frames.',
  }),
  approach: entry<{ effort: string; approach: string; problem: string }>({
    exit: 'refused',
    text: ({ effort, approach, problem }) => `migration parameter ${effort} = ${approach}: ${problem}`,
    advice: ({ effort }) => `Leave ${effort} at \`auto\`, which chooses what fits the machine.`,
  }),
  blocked: entry<{ effort: string; reasons: string }>({
    exit: 'refused',
    text: ({ effort, reasons }) => `migration blocked: there is no ${effort} for this machine: ${reasons}`,
    advice: () =>
      'One of these reasons has to go: by another device, or a guest that offers what is missing.',
  }),
  'guest-silent': entry<{ device: string; request: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ device, request, waitedMs }) =>
      `the guest's driver of ${device} did not answer ${request} within ${waitedMs} ms`,
    advice: () =>
      '`request-timeout` sets the wait; an approach in which the guest has no part needs no answer.',
  }),
  'guest-refused': entry<{ device: string; request: string; answer: string }>({
    exit: 'failed',
    text: ({ device, request, answer }) =>
      `the guest's driver of ${device} answered ${request} with ${answer}`,
    advice: () => "The guest's log may say why; an approach in which the guest has no part needs no answer.",
  }),
  'guest-broke-word': entry<{ device: string }>({
    exit: 'failed',
    text: ({ device }) =>
      `the guest's driver of ${device} answered that it had taken its device down, and lets it reach memory`,
    advice: () =>
      'The host has kept the device from memory meanwhile; an approach in which the guest has no part does not rely on it.',
  }),
  'agent-silent': entry<{ device: string; command: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ device, command, waitedMs }) =>
      `the guest's agent, asked about ${device}, did not answer ${command} within ${waitedMs} ms`,
    advice: () => '`request-timeout` sets the wait; another start asks no agent.',
  }),
  'agent-refused': entry<{ device: string; command: string; answer: string }>({
    exit: 'failed',
    text: ({ device, command, answer }) =>
      `the guest's agent, asked about ${device}, answered ${command} with ${answer}`,
    advice: () => "`guest-info` at the agent's socket lists what it can do; another start asks no agent.",
  }),
  'no-interface': entry<{ device: string; mac: string }>({
    exit: 'failed',
    text: ({ device, mac }) => `the guest's agent knows no interface of ${device}, with the address ${mac}`,
    advice: () => "The guest's console tells what its driver made of the device.",
  }),
  'approach-overdue': entry<{ effort: string; approach: string; device: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ effort, approach, device, waitedMs }) =>
      `${effort} = ${approach} has come to no end with ${device} in ${waitedMs} ms`,
    advice: ({ effort }) =>
      `That is a defect of the approach: it was told when its time was over. Choose another ${effort}.`,
  }),
  'not-plugged-in': entry<{ approach: string; device: string }>({
    exit: 'refused',
    text: ({ approach, device }) => `stop = ${approach}: ${device} is not in its slot`,
    advice: () => 'Put it back (`device_add` at the monitor), or choose another stop.',
  }),
  'still-plugged-in': entry<{ approach: string; device: string; powerIndicator: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ approach, device, powerIndicator, waitedMs }) =>
      `stop = ${approach}: the guest has not let ${device} go in ${waitedMs} ms; its power indicator: ${powerIndicator}`,
    advice: () =>
      'A guest without hot-plug, or without CPU time, does not answer; `request-timeout` gives it longer.',
  }),
  'unplug-cancelled': entry<{ approach: string; device: string }>({
    exit: 'failed',
    text: ({ approach, device }) =>
      `stop = ${approach}: the guest was about to let ${device} go, and the button of its slot was pressed again`,
    advice: () =>
      'Whoever did that wants the device to stay; an approach in which the guest has no part does not ask.',
  }),
  'no-failover': entry<{ device: string; problem: string }>({
    exit: 'failed',
    text: ({ device, problem }) => `the guest can't go on without ${device}: ${problem}`,
    advice: () =>
      'Another stop does without a standby; the standby and its driver are looked at with `x-ferry-query-nic`.',
  }),
  'not-plugged-in-again': entry<{
    approach: string;
    device: string;
    powerIndicator: string;
    waitedMs: number;
  }>({
    exit: 'failed',
    text: ({ approach, device, powerIndicator, waitedMs }) =>
      `stop = ${approach}: the guest has not taken ${device} back into use in ${waitedMs} ms; its power indicator: ${powerIndicator}`,
    advice: () => 'It is in its slot, where the guest may still find it; its console tells what it lacks.',
  }),
  'not-plugged-in-yet': entry<{ approach: string; device: string; powerIndicator: string; waitedMs: number }>(
    {
      exit: 'failed',
      text: ({ approach, device, powerIndicator, waitedMs }) =>
        `start = ${approach}: the guest has not taken ${device} into use in ${waitedMs} ms; its power indicator: ${powerIndicator}`,
      advice: () => 'It is in its slot, where the guest may still find it; its console tells what it lacks.',
    },
  ),
  'approach-unknown': entry<{ effort: string; approach: string; known: string }>({
    exit: 'refused',
    text: ({ effort, approach, known }) =>
      `the source chose ${effort} = ${approach}, which the destination does not know (it knows ${known})`,
    advice: () => 'Run the same version of vf-ferry at both ends, with the same approaches of your own.',
  }),
  'own-approach': entry<{ effort: string; path: string; problem: string }>({
    exit: 'usage',
    text: ({ effort, path, problem }) => `${effort} = module:${path}: ${problem}`,
    advice: ({ effort }) =>
      `The module exports a descriptor as \`${effort}\`, or by default: docs/own-approaches.md shows one.`,
  }),
  'own-approach-failed': entry<{ effort: string; approach: string; step: string; reason: string }>({
    exit: 'failed',
    text: ({ effort, approach, step, reason }) => `${effort} = ${approach} failed in ${step}: ${reason}`,
    advice: () => 'The approach is of your own: the reason is what its module threw.',
  }),
  'device-mismatch': entry<{ source: string; destination: string }>({
    exit: 'refused',
    text: ({ source, destination }) =>
      `the source has ${assigned(source)}, the destination ${assigned(destination)}`,
    advice: () => 'Start the destination with the same assigned device as the source.',
  }),
  'guest-not-listening': entry<{ approach: string; device: string }>({
    exit: 'failed',
    text: ({ approach, device }) =>
      `start = ${approach}: the guest does not listen to errors or events of ${device}, and does not know that it has a new one`,
    advice: () => 'Unplug the device and plug it in again, or choose a start that the guest can follow.',
  }),
  'not-recovered': entry<{ approach: string; device: string; waitedMs: number }>({
    exit: 'failed',
    text: ({ approach, device, waitedMs }) =>
      `start = ${approach}: the guest's driver has not set ${device} up again in ${waitedMs} ms`,
    advice: () => "The guest's console tells how far its driver came.",
  }),
  'device-differs': entry<{ device: string; start: string; differences: string; copes: string }>({
    exit: 'refused',
    text: ({ device, start, differences }) =>
      `the destination's ${device} is another, and start = ${start} does not cope with that: ${differences}`,
    advice: ({ copes }) =>
      copes === ''
        ? 'Give the destination the same device as the source.'
        : `Give the destination the same device as the source, or choose a start that copes: ${copes}.`,
  }),
  'bad-recording': entry<{ at: number; problem: string }>({
    exit: 'refused',
    text: ({ at, problem }) => `recorded control stream, byte ${at}: ${problem}`,
    advice: () => 'Give the file `control.bin` of a recorded migration.',
  }),
});
