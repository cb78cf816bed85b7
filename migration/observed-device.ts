/** Assigned devices whose steps are put down on a timeline, whoever asks for them. */
import type { AssignedDevice, DmaWriter } from './ports.js';
import { observed, type Timeline } from './timeline.js';

/**
 * The devices with each step that is asked of them on the timeline, under the device's name. A writer that several have in
 * common stays one, under the name of the first.
 */
export function onTimeline(devices: readonly AssignedDevice[], timeline: Timeline): AssignedDevice[] {
  const writers = new Map<DmaWriter, DmaWriter>();
  for (const { name, dma } of devices) {
    if (dma === undefined || writers.has(dma)) continue;
    writers.set(
      dma,
      observed(dma, name, () => timeline, ['track', 'readDirty']),
    );
  }
  return devices.map((device) => oneOnTimeline(device, timeline, device.dma && writers.get(device.dma)));
}

function oneOnTimeline(
  device: AssignedDevice,
  timeline: Timeline,
  dma: DmaWriter | undefined,
): AssignedDevice {
  const { name, log, rings, vfio, slot, button, fn, standby, replay, agent } = device;
  const here = (): Timeline => timeline;
  return {
    ...device,
    dma,
    rings: rings && observed(rings, name, here, ['start', 'report', 'stop']),
    log: log && observed(log, name, here, ['start', 'report', 'stop']),
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
    button: button && observed(button, name, here, ['press']),
    slot: slot && observed(slot, name, here, ['takeOutWhenOff', 'keep', 'remove', 'insert']),
    fn:
      fn &&
      observed(fn, name, here, [
        'closeGate',
        'openGate',
        'isolate',
        'restore',
        'reportError',
        'announce',
        'announceOnceReceiving',
      ]),
    replay: replay && observed(replay, name, here, ['readOut', 'take', 'putBack', 'release']),
    agent: agent && observed(agent, name, here, ['execute']),
    standby: standby && observed(standby, name, here, ['problem', 'takeOver']),
  };
}
