/**
 * What can go wrong around a VMM, in the user's words. Exit statuses 30 to 49 and 100 to 104, each used once:
 * 30-37 machine, 38-43 transfer, 44-49 addresses, monitor and process.
 */
import { catalogue, entry } from '../base/errors.js';

export const vmmErrors = catalogue('vmm', {
  'machine-option': entry<{ option: string; value: string; why: string }>({
    exitStatus: 30,
    text: ({ option, value, why }) => `no machine can have ${option} ${value}: ${why}`,
    advice: ({ option }) => `Give another value for ${option}.`,
  }),
  'ram-unavailable': entry<{ ramBytes: number; reason: string }>({
    exitStatus: 31,
    text: ({ ramBytes, reason }) =>
      `the host has no room for a guest with ${ramBytes / 1048576} MiB of RAM: ${reason}`,
    advice: () => 'Choose a smaller guest, or free memory (or address space, see `ulimit -v`) on this host.',
  }),
  'image-refused': entry<{ name: string; why: string }>({
    exitStatus: 32,
    text: ({ name, why }) => `the guest image '${name}' can't be used: ${why}`,
    advice: () => 'Build the image again with `ferry guest build`, or give the machine what the image needs.',
  }),
  'guest-crashed': entry<{ vcpu: number; reason: string; where: string }>({
    exitStatus: 33,
    text: ({ vcpu, reason, where }) => `guest crashed: ${reason}${where} on vCPU ${vcpu}`,
    advice: () => 'The fault is in the guest; its console tells what it did before.',
  }),
  'guest-unresponsive': entry<{ vcpu: number; command: string; waitedMs: number }>({
    exitStatus: 34,
    text: ({ vcpu, command, waitedMs }) =>
      `vCPU ${vcpu} did not reach a safepoint within ${waitedMs} ms (${command}); it was stopped by force`,
    advice: () =>
      'The guest overwrites its kick word, or its image was not built by `ferry guest build`; its state is lost.',
  }),
  'machine-incompatible': entry<{ differences: string; count: number }>({
    exitStatus: 35,
    text: ({ differences }) => `this machine can't take over the guest: ${differences}`,
    advice: () => 'Start the destination with the same memory size, vCPUs and devices as the source.',
  }),
  'state-refused': entry<{ record: string; problem: string }>({
    exitStatus: 36,
    text: ({ record, problem }) => `the state of ${record} is not valid: ${problem}`,
    advice: () => 'The record was damaged on the way, or the peer runs another version. Nothing was started.',
  }),
  'machine-state': entry<{ operation: string; state: string }>({
    exitStatus: 37,
    text: ({ operation, state }) => `the machine can't ${operation} while it is ${state}`,
    advice: () => 'Query the state of the machine, and wait for it or start a new one.',
  }),
  'bad-address': entry<{ address: string; why: string }>({
    exitStatus: 44,
    text: ({ address, why }) => `'${address}' is no socket address: ${why}`,
    advice: () => 'Write it as tcp:HOST:PORT or unix:PATH.',
  }),
  'listen-failed': entry<{ address: string; reason: string }>({
    exitStatus: 45,
    text: ({ address, reason }) => `can't listen at ${address}: ${reason}`,
    advice: () => 'Choose an address that is free and permitted, or end the process that uses it.',
  }),
  options: entry<{ why: string }>({
    exitStatus: 46,
    text: ({ why }) => `a VMM can't be started with these options: ${why}`,
    advice: () => 'See `ferry vmm --help` for what goes together.',
  }),
  'image-unreadable': entry<{ path: string; reason: string }>({
    exitStatus: 47,
    text: ({ path, reason }) => `can't read the guest image ${path}: ${reason}`,
    advice: () => 'Give the path of an image that `ferry guest build` wrote.',
  }),
  'guest-panic': entry<Record<string, never>>({
    exitStatus: 48,
    text: () => 'the guest reported a panic',
    advice: () => 'The fault is in the guest; its console tells what it found.',
  }),
  'dump-failed': entry<{ path: string; reason: string }>({
    exitStatus: 100,
    text: ({ path, reason }) => `can't write the configuration space to ${path}: ${reason}`,
    advice: () => 'Give a file in a folder that exists and may be written to.',
  }),
  'netdev-failed': entry<{ address: string; reason: string }>({
    exitStatus: 101,
    text: ({ address, reason }) => `can't plug the NIC in at ${address}: ${reason}`,
    advice: () =>
      'Start `ferry fabric --listen ADDRESS` there first, or leave --netdev out for a NIC without a cable.',
  }),
});
