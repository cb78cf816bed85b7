/** The power button of a machine with the guest kernel, where it was started and where it was moved to. */
import { expect, test } from 'vitest';
import type { Machine } from '../../vmm/machine/machine.js';
import { echoingAlone, moveUnderTraffic } from './passthrough-world.js';

const SAID = [
  expect.stringMatching(/acpid: power button pressed$/),
  expect.stringMatching(/reboot: Power down$/),
];
const said = (console: readonly string[]) => console.filter((line) => /acpid|reboot/.test(line));

/** Resolves with how the guest ended. */
const pressed = async (machine: Machine): Promise<string> => {
  const ended = new Promise<string>((resolve) => {
    machine.on((event) => {
      if (event.kind === 'power-off' || event.kind === 'power-reset') resolve(event.kind);
    });
  });
  expect(await machine.pressPowerButton()).toBe(true);
  return ended;
};

test('a guest under traffic turns its machine off', () =>
  echoingAlone(async ({ machine, console }) => {
    expect(await pressed(machine)).toBe('power-off');
    expect(said(console)).toEqual(SAID);
  }));

test('a guest that was moved hears of the button that is where it is now', async () => {
  let end: string | undefined;
  const { source, console } = await moveUnderTraffic({
    rate: 1000,
    after: async (machine) => {
      end = await pressed(machine);
    },
  });
  expect([source.status, end]).toEqual(['completed', 'power-off']);
  expect(said(console)).toEqual(SAID);
});
