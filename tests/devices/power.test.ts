import { describe, expect, test } from 'vitest';
import { POWER_BUTTON_NAME, PowerDevice, type PowerRequest } from '../../devices/power/device.js';

function power() {
  const asked: PowerRequest[] = [];
  const interrupts: [number, number][] = [];
  const device = new PowerDevice({
    request: (what) => asked.push(what),
    interrupt: (target, vector) => interrupts.push([target, vector]),
  });
  const { press } = device.calls.get(POWER_BUTTON_NAME)!;
  return { device, asked, interrupts, press, handler: device.regions[0]!.handler };
}

describe('the power device', () => {
  test('asks for what its register is told', () => {
    const { asked, handler } = power();
    for (const value of [1, 2, 3]) handler.write(0, 4, value);
    expect(asked).toEqual(['off', 'reset', 'panic']);
  });

  test('other values, other offsets and reads do nothing', () => {
    const { asked, handler } = power();
    for (const value of [0, 4, 0xffff_ffff]) handler.write(0, 4, value);
    handler.write(8, 4, 1);
    expect(handler.read(0, 4)).toBe(0);
    expect(asked).toEqual([]);
  });

  test('its button interrupts the vCPU that was named, each time, and nobody before one was', () => {
    const { interrupts, press, handler, asked } = power();
    expect(press()).toBe(false);
    handler.write(4, 4, 0xffff_0221);
    expect(handler.read(4, 4)).toBe(0x0221);
    expect([press(), press()]).toEqual([true, true]);
    expect(interrupts).toEqual([
      [2, 0x21],
      [2, 0x21],
    ]);
    handler.write(4, 4, 0x0200);
    expect(press()).toBe(false);
    expect([interrupts.length, asked]).toEqual([2, []]);
  });

  test('who hears of its button moves with it, and a record of another version or size does not', () => {
    const here = power();
    const there = power();
    here.handler.write(4, 4, 0x0130);
    const record = here.device.save();
    there.device.restore(record);
    expect(there.press()).toBe(true);
    expect(there.interrupts).toEqual([[1, 0x30]]);
    expect(() => there.device.restore({ ...record, version: 1 })).toThrow(
      expect.objectContaining({ code: 'devices/recordVersion' }),
    );
    expect(() => there.device.restore({ ...record, state: Uint8Array.of(1) })).toThrow(
      expect.objectContaining({ code: 'devices/recordRefused' }),
    );
  });
});
