/** An assigned device whose steps are put down on a timeline, whoever asks for them. */
import type { AssignedDevice } from './ports.js';
import { observed, type Timeline } from './timeline.js';

/** The device with each step that is asked of it on the timeline, under the device's name. */
export function onTimeline(device: AssignedDevice, timeline: Timeline): AssignedDevice {
  const { name, dma, vfio, slot } = device;
  const here = (): Timeline => timeline;
  return {
    ...device,
    dma: dma && observed(dma, name, here, ['track', 'readDirty']),
    vfio:
      vfio &&
      observed(vfio, name, here, [
        'preCopy',
        'quiesce',
        'stopCopy',
        'resume',
        'write',
        'load',
        'save',
        'reset',
      ]),
    slot: slot && observed(slot, name, here, ['pressAttentionButton', 'remove', 'insert']),
  };
}
