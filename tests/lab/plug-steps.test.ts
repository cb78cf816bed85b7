/** Where hot-plug's time goes, as a guest's console has it. */
import { describe, expect, it } from 'vitest';
import { plugSteps } from '../../lab/compare/plug-steps.js';
import type { TimelineEntry } from '../../migration/timeline.js';
import { PLUGGED } from './sample-plug.js';

const lasting = (console = PLUGGED): Record<string, number> =>
  Object.fromEntries(
    plugSteps(console).map(({ what, fromNs, toNs }) => [what, Math.round((toNs - fromNs) / 1e6)]),
  );
const without = (...words: readonly string[]) =>
  PLUGGED.filter(({ text }) => !words.some((word) => text.includes(word)));

describe('the steps of a device that goes and comes', () => {
  it('follow each other from the button to the link, each as long as the guest took, boot apart', () => {
    const steps = plugSteps(PLUGGED);
    expect(lasting()).toEqual({
      'blink, and driver lets go': 5000,
      'power off, and move': 1000,
      'presence and power': 10,
      'wait for the link': 130,
      configuration: 2,
      'mailbox, until the probe is over': 20,
      address: 10,
      'link of the interface': 10,
    });
    expect(steps[0]!.fromNs).toBe(0);
    for (const [i, { fromNs }] of steps.entries()) if (i > 0) expect(fromNs).toBe(steps[i - 1]!.toNs);
  });

  it('are fewer in a slot without a button, and where no link comes', () => {
    const quick = lasting(without('Button press'));
    expect(Object.keys(quick)[0]).toBe('power off, and move');
    expect(quick['wait for the link']).toBe(130);
    expect(lasting(without('Link is Up'))).not.toHaveProperty('link of the interface');
  });

  it('have between them what the host saw at the device, and the peer, on the one clock', () => {
    // The host's clock is 100 s ahead; lines take 1 ms or more to arrive.
    const late = [3, 1, 2, 9];
    const arrived = PLUGGED.map((line, i) => ({
      ...line,
      atNs: Math.round(Number(/\d+\.\d+/.exec(line.text)![0]) * 1e9) + 100e9 + late[i % 4]! * 1e6,
    }));
    const at = (step: string, ms: number) =>
      ({
        who: 'vf0',
        what: 'bring-up',
        at: 100e9 + (ms + 1) * 1e6,
        facts: { step },
      }) as unknown as TimelineEntry;
    const timeline = [
      at('function-reset', 10_140),
      at('mailbox', 10_150),
      at('function-reset', 10_163),
      at('transmit', 10_164),
      at('receive', 10_166),
      at('interrupts', 10_170),
    ];
    const steps = plugSteps(arrived, { timeline, firstPacketNs: 110.203e9 });
    const ms = steps.map(({ what, fromNs, toNs }) => [what, Math.round((toNs - fromNs) / 1e6)]);
    expect(ms.slice(5)).toEqual([
      ['probe, until the reset', 0],
      ['reset, until the mailbox', 8],
      ['mailbox, until the probe is over', 12],
      ['transmit ring', 2],
      ['receive ring', 2],
      ['interrupts', 4],
      ['address', 2],
      ['link of the interface', 10],
      ['first packet at the peer', 20],
    ]);
  });

  it('are none of a device that stayed, or never came back', () => {
    expect(plugSteps(without('removed'))).toEqual([]);
    expect(plugSteps(PLUGGED.filter(({ side }) => side === 'source'))).toEqual([]);
  });
});
