/** What can be wrong with the world around devices: configuration and records that arrive from a peer. */
import { catalogue, entry } from '../base/errors.js';

export const deviceErrors = catalogue('devices', {
  recordRefused: entry<{ device: string; difference: string }>({
    exit: 'refused',
    text: ({ device, difference }) => `the saved state of ${device} does not fit this machine: ${difference}`,
    advice: () =>
      'start the destination with the same devices and options as the source; if they are the same, the record was damaged on its way',
  }),
  recordVersion: entry<{ device: string; version: number; supported: number }>({
    exit: 'refused',
    text: ({ device, version, supported }) =>
      `the saved state of ${device} has version ${version}; this release reads version ${supported}`,
    advice: () => 'run the same release of vf-ferry on both sides',
  }),
  addressTaken: entry<{ device: string; address: string }>({
    exit: 'refused',
    text: ({ device, address }) => `${device} can't be placed at ${address}: another device is there`,
    advice: () => 'choose a free bus, device and function number',
  }),
  noSuchFunction: entry<{ device: string; fn: number; count: number }>({
    exit: 'refused',
    text: ({ device, fn, count }) => `${device} has no virtual function ${fn}: ${count} are enabled`,
    advice: () => 'enable more virtual functions, or name one that exists',
  }),
  channelFull: entry<{ device: string; waiting: number }>({
    exit: 'failed',
    text: ({ device, waiting }) => `${device}: the guest has not looked at ${waiting} requests of its host`,
    advice: () =>
      'ask again when it has answered some of them, or use an approach that asks nothing of the guest',
  }),
  vfioRefused: entry<{ device: string; request: string; problem: string; errno: Errno }>({
    exit: 'refused',
    text: ({ device, request, problem, errno }) => `${device}: ${request} refused: ${problem} (${errno})`,
    advice: () => 'read the device’s features and its state first, and ask for what both allow',
  }),
  migrationIncompatible: entry<{ device: string; differences: string }>({
    exit: 'refused',
    text: ({ device, differences }) =>
      `${device} is not the device that the state was saved from: ${differences}`,
    advice: () =>
      'give the destination a device of the same kind, revision and capabilities as the source has',
  }),
  migrationStreamVersion: entry<{ device: string; version: number; supported: number }>({
    exit: 'refused',
    text: ({ device, version, supported }) =>
      `the device state for ${device} is in stream format ${version}; this release reads ${supported}`,
    advice: () => 'run the same release of vf-ferry on both sides',
  }),
  migrationDamaged: entry<{ device: string; section: string; problem: string }>({
    exit: 'refused',
    text: ({ device, section, problem }) =>
      `the device state for ${device} is damaged, ${section}: ${problem}`,
    advice: () => 'the device was left as it was; transfer its state again',
  }),
});

/** What a request of the VFIO interface fails with, by its name in Linux. */
export type Errno = 'EINVAL' | 'EBUSY' | 'E2BIG' | 'EIO' | 'ENOTTY' | 'ENODEV';
