import { describe, expect, test } from 'vitest';
import { PowerDevice, type PowerRequest } from '../../devices/power/device.js';

function power() {
  const asked: PowerRequest[] = [];
  const device = new PowerDevice((what) => asked.push(what));
  return { device, asked, handler: device.regions[0]!.handler };
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
    handler.write(4, 4, 1);
    expect(handler.read(0, 4)).toBe(0);
    expect(asked).toEqual([]);
  });

  test('has an empty record and refuses any other', () => {
    const { device } = power();
    const record = device.save();
    device.restore(record);
    expect(() => device.restore({ ...record, version: 7 })).toThrow(
      expect.objectContaining({ code: 'devices/recordVersion' }),
    );
    expect(() => device.restore({ ...record, state: Uint8Array.of(1) })).toThrow(
      expect.objectContaining({ code: 'devices/recordRefused' }),
    );
  });
});
