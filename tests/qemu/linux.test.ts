/**
 * A real Linux with its own driver, on a virtual function of ours that QEMU has over vfio-user: one boot, many checks, in an order that
 * leaves the function as each found it. `npm run test:qemu` runs it, where there is a world (`scripts/qemu-world FOLDER`).
 */
import { afterAll, beforeAll, describe } from 'vitest';
import { findWorld } from '../../lab/qemu/world.js';
import { restarts, settings } from './driver.js';
import { filters } from './filters.js';
import { capture, transfers, tunnels } from './traffic.js';
import { LinuxWorld } from './world.js';

const found = findWorld();
const why = typeof found === 'string' ? ` (skipped: ${found})` : '';

describe.skipIf(typeof found === 'string')(`Linux's ixgbevf on a virtual function of ours${why}`, () => {
  let world: LinuxWorld;
  const it = (): LinuxWorld => world;

  beforeAll(async () => {
    if (typeof found !== 'string') world = await LinuxWorld.boot(found);
  });
  afterAll(() => world?.close());

  describe('its settings', () => settings(it));
  describe('starting over', () => restarts(it));
  describe('what it lets in', () => filters(it));
  describe('transfers', () => transfers(it));
  describe('tunnels', () => tunnels(it));
  describe('all that was captured', () => capture(it));
});
