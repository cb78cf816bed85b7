/** The serial ports between guest and host: streams that lose nothing, whatever either side does. */
import { describe, expect, it } from 'vitest';
import { seededRandom } from '../../base/random.js';
import { gpa } from '../../base/units.js';
import { SerialDevice } from '../../devices/serial/device.js';
import { SERIAL_FIFO_BYTES, SERIAL_PORTS, serialRegisters } from '../../devices/serial/registers.js';
import { GuestRam } from '../../vmm/ram/guest-ram.js';

const { reg } = serialRegisters;
const RAM_BYTES = 64 * 1024;

function world() {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1, shared: true });
  const ram = GuestRam.create(memory, RAM_BYTES / 4096);
  const interrupts: (readonly [target: number, vector: number])[] = [];
  const changed: string[] = [];
  const device = new SerialDevice({
    memory: ram,
    interrupt: (target, vector) => interrupts.push([target, vector]),
    changed: (port) => changed.push(port),
  });
  const at = (register: { offset: number; stride: number }, port: number) =>
    register.offset + port * register.stride;
  const { read, write } = device.regions[0]!.handler;
  return {
    device,
    ram,
    interrupts,
    changed,
    port: (index: number) => device.calls.get(SERIAL_PORTS[index]!)!,
    read: (register: { offset: number; stride: number }, port = 0) => read(at(register, port), 4),
    write: (register: { offset: number; stride: number }, value: number, port = 0) =>
      write(at(register, port), 4, value),
  };
}

/** The guest puts the text into RAM and sends it. */
function send(w: ReturnType<typeof world>, text: string, port = 0): void {
  w.ram.write(gpa(0x1000), new TextEncoder().encode(text));
  w.write(reg.ADDRESS, 0x1000, port);
  w.write(reg.SEND, text.length, port);
}

const textOf = (bytes: Uint8Array): string => new TextDecoder().decode(bytes.slice());

describe('a serial port', () => {
  it('is open when a program of the guest says so, and the host hears of it', () => {
    const w = world();
    expect(w.port(1).isOpen()).toBe(false);
    w.write(reg.CONTROL, 1, 1);
    expect([w.port(0).isOpen(), w.port(1).isOpen()]).toEqual([false, true]);
    expect(w.changed).toEqual([SERIAL_PORTS[1]]);
  });

  it('carries bytes both ways, each port its own, and interrupts the vCPU that the guest named', () => {
    const w = world();
    w.write(reg.CONTROL, (2 << 16) | (0x31 << 8) | 1, 1);
    expect(w.port(1).write(new TextEncoder().encode('ping'))).toBe(4);
    expect(w.interrupts).toEqual([[2, 0x31]]);
    expect([w.read(reg.PENDING, 0), w.read(reg.PENDING, 1)]).toEqual([0, 4]);
    w.write(reg.ADDRESS, 0x2000, 1);
    w.write(reg.RECEIVE, 3, 1);
    expect(textOf(w.ram.view(gpa(0x2000), 4)!)).toBe('pin\0');
    expect(w.read(reg.PENDING, 1)).toBe(1);
    send(w, 'pong', 1);
    expect(w.port(0).read()).toHaveLength(0);
    expect(textOf(w.port(1).read())).toBe('pong');
    expect(w.interrupts).toHaveLength(2);
    expect(w.port(1).read()).toHaveLength(0);
    expect(w.interrupts).toHaveLength(2);
  });

  it('says how much of what is sent it takes, and goes on when there is room', () => {
    const w = world();
    const long = new Uint8Array(SERIAL_FIFO_BYTES + 100).fill(7);
    expect(w.port(0).write(long)).toBe(SERIAL_FIFO_BYTES);
    expect(w.port(0).write(long)).toBe(0);
    w.write(reg.RECEIVE, 100);
    expect(w.port(0).write(long)).toBe(100);
    send(w, 'x'.repeat(4000));
    expect(w.read(reg.ROOM)).toBe(96);
    send(w, 'y'.repeat(4000));
    expect(textOf(w.port(0).read())).toBe('x'.repeat(4000) + 'y'.repeat(96));
    expect(w.read(reg.ROOM)).toBe(SERIAL_FIFO_BYTES);
  });

  it('sends nothing, and keeps what it has, for addresses that are not RAM', () => {
    const w = world();
    w.port(0).write(Uint8Array.of(1, 2, 3));
    for (const address of [RAM_BYTES - 1, 0xffff_ffff]) {
      w.write(reg.ADDRESS, address);
      w.write(reg.SEND, 0xffff_ffff);
      w.write(reg.RECEIVE, 0xffff_ffff);
    }
    expect(w.port(0).read()).toHaveLength(0);
    expect(w.read(reg.PENDING)).toBe(3);
  });

  it('moves with what is on its way in both directions', () => {
    const [from, to] = [world(), world()];
    from.write(reg.CONTROL, 0x3101);
    from.port(0).write(new TextEncoder().encode('request'));
    send(from, 'answer', 1);
    to.device.restore(from.device.save());
    expect(to.port(0).isOpen()).toBe(true);
    expect(textOf(to.port(1).read())).toBe('answer');
    to.write(reg.ADDRESS, 0x3000);
    to.write(reg.RECEIVE, 100);
    expect(textOf(to.ram.view(gpa(0x3000), 7)!)).toBe('request');
  });

  it('answers whatever a guest writes', () => {
    const w = world();
    const random = seededRandom(1);
    const { read, write } = w.device.regions[0]!.handler;
    for (let i = 0; i < 3000; i++) {
      const at = random.below(0x30) * 4;
      write(at, 4, random.below(2) === 0 ? random.below(2 ** 32) : random.below(0x2000));
      read(at, 4);
      w.port(i & 1).write(new Uint8Array(random.below(64)));
      if (i % 7 === 0) w.port(i & 1).read();
    }
    expect(w.read(reg.PENDING)).toBeLessThanOrEqual(SERIAL_FIFO_BYTES);
  });
});
