/** What the world can get wrong about the IOMMU. A guest or a device that misbehaves gets faults, not errors. */
import { catalogue, entry } from '../base/errors.js';

export const iommuErrors = catalogue('iommu', {
  'record-version': entry<{ device: string; version: number; supported: number }>({
    exit: 'refused',
    text: ({ device, version, supported }) =>
      `the saved state of ${device} has version ${version}, this side reads version ${supported}`,
    advice: () => 'run the same release on both sides',
  }),
  'record-damaged': entry<{ device: string; problem: string }>({
    exit: 'refused',
    text: ({ device, problem }) => `the saved state of ${device} is damaged: ${problem}`,
    advice: () => 'start the migration again; the source still has the state',
  }),
  'capability-difference': entry<{ device: string; register: string; saved: string; here: string }>({
    exit: 'refused',
    text: ({ device, register, saved, here }) =>
      `${device} was saved with ${register} ${saved}, this side has ${here}`,
    advice: () => 'give both units the same options',
  }),
  refused: entry<{ operation: string; errno: string; problem: string }>({
    exit: 'refused',
    text: ({ operation, errno, problem }) => `${operation} refused (${errno}): ${problem}`,
    advice: () => 'correct the request; nothing was changed',
  }),
  'unit-error': entry<{ problem: string; status: string }>({
    exit: 'failed',
    text: ({ problem, status }) => `the remapping unit failed: ${problem} (FSTS ${status})`,
    advice: () => 'treat all memory as dirty and stop the devices behind this unit',
  }),
});
