/** What can go wrong around a VMM, in the user's words. */
import { catalogue, entry } from '../base/errors.js';

export const vmmErrors = catalogue('vmm', {
  'machine-option': entry<{ option: string; value: string; why: string }>({
    exit: 'usage',
    text: ({ option, value, why }) => `no machine can have ${option} ${value}: ${why}`,
    advice: ({ option }) => `Give another value for ${option}.`,
  }),
  'ram-unavailable': entry<{ ramBytes: number; reason: string }>({
    exit: 'environment',
    text: ({ ramBytes, reason }) =>
      `the host has no room for a guest with ${ramBytes / 1048576} MiB of RAM: ${reason}`,
    advice: () => 'Choose a smaller guest, or free memory (or address space, see `ulimit -v`) on this host.',
  }),
  'image-refused': entry<{ name: string; why: string }>({
    exit: 'refused',
    text: ({ name, why }) => `the guest image '${name}' can't be used: ${why}`,
    advice: () => 'Build the image again with `ferry guest build`, or give the machine what the image needs.',
  }),
  'guest-crashed': entry<{ vcpu: number; reason: string; where: string }>({
    exit: 'guest',
    text: ({ vcpu, reason, where }) => `guest crashed: ${reason}${where} on vCPU ${vcpu}`,
    advice: () => 'The fault is in the guest; its console tells what it did before.',
  }),
  'guest-unresponsive': entry<{ vcpu: number; command: string; waitedMs: number }>({
    exit: 'guest',
    text: ({ vcpu, command, waitedMs }) =>
      `vCPU ${vcpu} did not reach a safepoint within ${waitedMs} ms (${command}); it was stopped by force`,
    advice: () =>
      'The guest overwrites its kick word, or its image was not built by `ferry guest build`; its state is lost.',
  }),
  'machine-incompatible': entry<{ differences: string; count: number }>({
    exit: 'refused',
    text: ({ differences }) => `this machine can't take over the guest: ${differences}`,
    advice: () => 'Start the destination with the same memory size, vCPUs and devices as the source.',
  }),
  'state-refused': entry<{ record: string; problem: string }>({
    exit: 'refused',
    text: ({ record, problem }) => `the state of ${record} is not valid: ${problem}`,
    advice: () => 'The record was damaged on the way, or the peer runs another version. Nothing was started.',
  }),
  'machine-state': entry<{ operation: string; state: string }>({
    exit: 'refused',
    text: ({ operation, state }) => `the machine can't ${operation} while it is ${state}`,
    advice: () => 'Query the state of the machine, and wait for it or start a new one.',
  }),
  'bad-address': entry<{ address: string; why: string }>({
    exit: 'usage',
    text: ({ address, why }) => `'${address}' is no socket address: ${why}`,
    advice: () => 'Write it as tcp:HOST:PORT or unix:PATH.',
  }),
  'listen-failed': entry<{ address: string; reason: string }>({
    exit: 'environment',
    text: ({ address, reason }) => `can't listen at ${address}: ${reason}`,
    advice: () => 'Choose an address that is free and permitted, or end the process that uses it.',
  }),
  options: entry<{ why: string }>({
    exit: 'usage',
    text: ({ why }) => `a VMM can't be started with these options: ${why}`,
    advice: () => 'See `ferry vmm --help` for what goes together.',
  }),
  'image-unreadable': entry<{ path: string; reason: string }>({
    exit: 'environment',
    text: ({ path, reason }) => `can't read the guest image ${path}: ${reason}`,
    advice: () => 'Give the path of an image that `ferry guest build` wrote.',
  }),
  'guest-panic': entry<Record<string, never>>({
    exit: 'guest',
    text: () => 'the guest reported a panic',
    advice: () => 'The fault is in the guest; its console tells what it found.',
  }),
  'dump-failed': entry<{ path: string; reason: string }>({
    exit: 'environment',
    text: ({ path, reason }) => `can't write the configuration space to ${path}: ${reason}`,
    advice: () => 'Give a file in a folder that exists and may be written to.',
  }),
  'output-cut': entry<{ what: string; path: string; reason: string }>({
    exit: 'environment',
    text: ({ what, path, reason }) => `the ${what} in ${path} is cut: ${reason}`,
    advice: () =>
      'What is in it can be relied on; the rest is missing. The guest, and its migration, went on.',
  }),
  'owner-file': entry<{ path: string; why: string }>({
    exit: 'environment',
    text: ({ path, why }) => `can't keep in ${path} who has the guest: ${why}`,
    advice: () => 'Name a file of its own for each VMM, in a folder that may be written to.',
  }),
  'guest-elsewhere': entry<{
    path: string;
    guest: string;
    otherSide: string;
    migrationId: string;
    since: string;
  }>({
    exit: 'refused',
    text: ({ path, guest, otherSide, migrationId, since }) =>
      guest === 'elsewhere'
        ? `the guest is not to be started here: it was moved to ${otherSide} on ${since} (migration ${migrationId}, says ${path})`
        : `the guest is not to be started here: ${otherSide} may have it, since migration ${migrationId} of ${since} was never heard of again (says ${path})`,
    advice: ({ guest, path }) =>
      guest === 'elsewhere'
        ? `Let it come back with --incoming; if it has ended over there, remove ${path}.`
        : `Ask the VMM on the other side with \`query-status\`; only if the guest does not run there, and never will, remove ${path}.`,
  }),
  'netdev-failed': entry<{ address: string; reason: string }>({
    exit: 'environment',
    text: ({ address, reason }) => `can't plug the NIC in at ${address}: ${reason}`,
    advice: () =>
      'Start `ferry fabric --listen ADDRESS` there first, or leave --netdev out for a NIC without a cable.',
  }),
  'native-missing': entry<{ package: string; reason: string }>({
    exit: 'environment',
    text: ({ package: name, reason }) => `file descriptors over sockets need the package ${name}: ${reason}`,
    advice: ({ package: name }) => `Install it beside vf-ferry: npm install ${name}`,
  }),
});
