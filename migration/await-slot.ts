/** Waiting for what the guest does with a slot. */
import type { DeviceSlot, SlotState } from './ports.js';

/** What a slot is like with a device that the guest uses. */
export const isOn = ({ link, powerIndicator }: SlotState): boolean => link && powerIndicator === 'on';
export const isEmpty = ({ present }: SlotState): boolean => !present;

/** Does `begin`, and resolves when the slot is `so`, or one of `ends` does. Rejects as any of them does. */
export async function awaitSlot(
  slot: DeviceSlot,
  so: (state: SlotState) => boolean,
  begin: () => Promise<unknown>,
  ...ends: Promise<void>[]
): Promise<void> {
  let stopListening = (): void => undefined;
  const heard = new Promise<void>((resolve) => {
    stopListening = slot.onChange((state) => {
      if (so(state)) resolve();
    });
  });
  const reached = begin().then(async () => {
    if (!so(await slot.state())) await heard;
  });
  try {
    await Promise.race([reached, ...ends]);
  } finally {
    stopListening();
  }
}
