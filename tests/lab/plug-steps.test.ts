/** Where hot-plug's time goes, as a guest's console has it. */
import { describe, expect, it } from 'vitest';
import { plugSteps } from '../../lab/compare/plug-steps.js';
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
      'probe, reset, mailbox': 20,
      'address, rings, interrupts': 10,
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

  it('are none of a device that stayed, or never came back', () => {
    expect(plugSteps(without('removed'))).toEqual([]);
    expect(plugSteps(PLUGGED.filter(({ side }) => side === 'source'))).toEqual([]);
  });
});
