/** Guests that do not help: what our guest kernel can be told to do to a migration, and by which words of its command line. */

export const GUEST_BEHAVIOURS = [
  'silent',
  'late',
  'lying',
  'dirtying',
  'driverless',
  'starved',
  'cancelling',
  'toggling',
] as const;
export type GuestBehaviour = (typeof GUEST_BEHAVIOURS)[number];

/** What such a guest does, in a few words. */
export const BEHAVIOUR_TEXTS: Readonly<Record<GuestBehaviour, string>> = {
  silent: 'offers all that it can, and hears nothing of slots, errors and requests of the host',
  late: 'hears of slots, errors and requests of the host half a second late',
  lying: 'answers requests of the host as if it had done what they ask, and goes on using its device',
  dirtying: 'writes to half of its free memory as fast as it can, once the host has asked it anything',
  driverless: 'has no driver for its device',
  starved: 'has 5 % of a CPU: something more important has the rest',
  cancelling: 'has the attention button pressed again while a slot that shall be turned off blinks',
  toggling: 'takes its device down and sets it up again, over and over',
};

/** Words of the kernel's command line. */
export const behaviourWords = (behaviour: GuestBehaviour): string =>
  behaviour === 'driverless' ? 'module_blacklist=ixgbevf' : `behaviour=${behaviour}`;
