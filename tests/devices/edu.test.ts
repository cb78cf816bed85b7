/** The `edu` device by its registers, as a driver meets them; and given to a guest, with the host's hand on it. */
import { describe, expect, it } from 'vitest';
import type { DmaPort, MsiPort } from '../../base/dma.js';
import { assignEdu } from '../../devices/edu/assigned.js';
import { EduDevice } from '../../devices/edu/device.js';
import {
  EDU_BUFFER,
  EDU_BUFFER_BYTES,
  EDU_DMA_INTERRUPT,
  EDU_FACTORIAL_INTERRUPT,
  EDU_IDENTIFICATION,
  eduLayout,
  eduRegisters,
} from '../../devices/edu/registers.js';
import type { MessageRouter } from '../../devices/pci/assigned-backend.js';
import { AssignedEdu } from '../../devices/vfio/assigned-edu.js';
import { VfioMigration } from '../../devices/vfio/migration.js';
import { PRE_COPY_P2P, RESUMING, RUNNING, STOP, STOP_COPY } from '../../devices/vfio/states.js';
import { drain, feed } from './vfio-world.js';

const reg = eduRegisters.reg;
const { COMMAND } = eduLayout.header;
const msi = eduLayout.cap.msi;
const START = 1;
const TO_MEMORY = 2;
const INTERRUPT = 4;
const MESSAGE = { address: 0xfee0_0000, data: 0x33 };
const MEMORY_BYTES = 64 * 1024;

/** A device that may reach memory and has its message, on the host's side. */
class Bench {
  readonly memory = new Uint8Array(MEMORY_BYTES);
  readonly messages: number[] = [];
  readonly edu: EduDevice;
  wakeups = 0;

  constructor(name = 'edu0') {
    const { memory, messages } = this;
    const inside = (at: number, length: number): boolean => at + length <= memory.length;
    const ports: DmaPort & MsiPort = {
      read(_source, address, target, at, length) {
        if (!inside(address, length)) return false;
        target.set(memory.subarray(address, address + length), at);
        return true;
      },
      write(_source, address, source, at, length) {
        if (inside(address, length)) memory.set(source.subarray(at, at + length), address);
      },
      writeDescriptor() {},
      send: (_source, _address, data) => messages.push(data),
    };
    this.edu = new EduDevice({ name, wake: () => this.wakeups++ });
    const upstream = { open: true, bus: 1, dma: ports, msi: ports, decodeChanged() {}, errorMessage() {} };
    this.edu.attach(upstream);
    this.master(true);
    const { config } = this.edu.fn;
    config.set(msi.ADDRESS, MESSAGE.address);
    config.set(msi.DATA, MESSAGE.data);
    this.edu.fn.configWrite(msi.CONTROL.offset, 2, msi.CONTROL.fields.ENABLE.mask);
  }

  master(on: boolean): void {
    this.edu.fn.configWrite(COMMAND.offset, 2, on ? COMMAND.fields.MASTER.mask : 0);
  }

  read(register: { readonly offset: number }): number {
    return this.edu.fn.behaviour.readBar(0, register.offset, 4);
  }

  write(register: { readonly offset: number }, value: number): void {
    this.edu.fn.behaviour.writeBar(0, register.offset, 4, value);
  }

  transfer(source: number, destination: number, count: number, command: number): void {
    this.write(reg.DMA_SOURCE, source);
    this.write(reg.DMA_DESTINATION, destination);
    this.write(reg.DMA_COUNT, count);
    this.write(reg.DMA_COMMAND, command | START);
  }

  get busy(): boolean {
    return (this.read(reg.DMA_COMMAND) & START) !== 0;
  }
}

describe('the edu device', () => {
  it('says who it is, that it is alive, and all ones where it has nothing', () => {
    const bench = new Bench();
    expect(bench.read(reg.IDENTIFICATION)).toBe(EDU_IDENTIFICATION);
    bench.write(reg.LIVENESS, 0x1234_5678);
    expect(bench.read(reg.LIVENESS)).toBe(0xedcb_a987);
    expect([bench.read({ offset: 0x10 }), bench.read({ offset: 0x8_0000 })]).toEqual([
      0xffff_ffff, 0xffff_ffff,
    ]);
  });

  it('computes factorials modulo 2^32, whatever of, and says when it is done if it is to', () => {
    const bench = new Bench();
    for (const [value, result] of [
      [0, 1],
      [5, 120],
      [13, 0x7328_cc00],
      [33, 0x8000_0000],
      [34, 0],
      [0xffff_ffff, 0],
    ] as const) {
      bench.write(reg.FACTORIAL, value);
      expect(bench.read(reg.STATUS)).toBe(1);
      bench.write(reg.FACTORIAL, 77);
      bench.edu.run();
      expect([bench.read(reg.STATUS), bench.read(reg.FACTORIAL)]).toEqual([0, result]);
    }
    expect(bench.messages).toEqual([]);
    bench.write(reg.STATUS, 0x80);
    bench.write(reg.FACTORIAL, 4);
    bench.edu.run();
    expect(bench.messages).toEqual([MESSAGE.data]);
    expect(bench.read(reg.INTERRUPT_STATUS)).toBe(EDU_FACTORIAL_INTERRUPT);
  });

  it('raises the interrupt that it is told to, until each cause is acknowledged', () => {
    const bench = new Bench();
    bench.write(reg.INTERRUPT_RAISE, 0x30);
    expect([bench.read(reg.INTERRUPT_STATUS), bench.messages.length]).toEqual([0x30, 1]);
    bench.write(reg.INTERRUPT_ACKNOWLEDGE, 0x10);
    expect(bench.read(reg.INTERRUPT_STATUS)).toBe(0x20);
    expect(bench.read(reg.INTERRUPT_RAISE)).toBe(0);
  });

  it('moves bytes from memory to its buffer and back, one transfer at a time', () => {
    const bench = new Bench();
    bench.memory.set([1, 2, 3, 4, 5], 0x1000);
    bench.transfer(0x1000, EDU_BUFFER + 100, 5, INTERRUPT);
    expect(bench.busy).toBe(true);
    // Nobody changes what is being carried out.
    bench.write(reg.DMA_COUNT, 2);
    bench.write(reg.DMA_COMMAND, START | TO_MEMORY);
    bench.edu.run();
    expect([bench.busy, bench.read(reg.INTERRUPT_STATUS)]).toEqual([false, EDU_DMA_INTERRUPT]);
    bench.transfer(EDU_BUFFER + 101, 0x2000, 4, TO_MEMORY);
    bench.edu.run();
    expect([...bench.memory.subarray(0x2000, 0x2005)]).toEqual([2, 3, 4, 5, 0]);
    expect(bench.messages).toHaveLength(1);
  });

  it.each([
    ['before the buffer', EDU_BUFFER - 1, 1],
    ['beyond the buffer', EDU_BUFFER + 1, EDU_BUFFER_BYTES],
    ['of nothing', EDU_BUFFER, 0],
    ['of all that a register holds', EDU_BUFFER, 0xffff_ffff],
  ])('moves nothing %s, and the transfer ends as any other', (_, own, count) => {
    const bench = new Bench();
    bench.memory.fill(7);
    bench.transfer(own, 0, count, TO_MEMORY | INTERRUPT);
    bench.edu.run();
    bench.transfer(0, own, count, INTERRUPT);
    bench.edu.run();
    expect(bench.busy).toBe(false);
    expect(bench.memory.every((byte) => byte === 7)).toBe(true);
    expect(bench.messages).toHaveLength(2);
    bench.transfer(EDU_BUFFER, 0x100, 16, TO_MEMORY);
    bench.edu.run();
    expect([...bench.memory.subarray(0x100, 0x110)]).toEqual(new Array(16).fill(0));
  });

  it('keeps its buffer where memory does not answer', () => {
    const bench = new Bench();
    bench.transfer(MEMORY_BYTES - 2, EDU_BUFFER, 16, 0);
    bench.edu.run();
    bench.memory.fill(7);
    bench.transfer(EDU_BUFFER, 0, 2, TO_MEMORY);
    bench.edu.run();
    expect([...bench.memory.subarray(0, 3)]).toEqual([0, 0, 7]);
  });

  it('waits with a transfer while it may not master the bus, is quiesced or stopped, and then goes on', () => {
    const bench = new Bench();
    const { edu } = bench;
    const halts = [
      [() => bench.master(false), () => bench.master(true)],
      [() => edu.quiesce(), () => edu.start()],
      [() => edu.stop(), () => edu.start()],
    ] as const;
    for (const [halt, goOn] of halts) {
      bench.memory.fill(7);
      halt();
      bench.transfer(EDU_BUFFER, 0, 4, TO_MEMORY | INTERRUPT);
      edu.run();
      expect([bench.busy, bench.memory[0]]).toEqual([true, 7]);
      goOn();
      edu.run();
      expect([bench.busy, bench.memory[0]]).toEqual([false, 0]);
    }
    expect(bench.messages).toHaveLength(halts.length);
  });

  it('computes and interrupts while it is quiesced, and keeps both for later while it is stopped', () => {
    const bench = new Bench();
    bench.edu.quiesce();
    bench.write(reg.FACTORIAL, 3);
    bench.edu.run();
    bench.write(reg.INTERRUPT_RAISE, 1);
    expect([bench.read(reg.FACTORIAL), bench.messages.length]).toEqual([6, 1]);
    bench.edu.stop();
    bench.write(reg.FACTORIAL, 4);
    bench.edu.run();
    bench.write(reg.INTERRUPT_RAISE, 1);
    expect([bench.read(reg.STATUS), bench.messages.length]).toEqual([1, 1]);
    bench.edu.start();
    bench.edu.run();
    expect([bench.read(reg.FACTORIAL), bench.messages.length]).toEqual([24, 2]);
  });
});

/** One given to a guest, which has set it up, as a migration has it. */
function assignedBench() {
  const bench = new Bench();
  const routed: (object | undefined)[] = [];
  const router: MessageRouter = {
    route: (_vector, message) => {
      routed.push(message);
      return message;
    },
  };
  const assigned = assignEdu('edu0', bench.edu, router);
  const fabric = new Bench().edu.fn.upstream;
  assigned.attach(fabric);
  const setUp = (): void => {
    assigned.fn.configWrite(msi.ADDRESS.offset, 4, 0xfee0_1000);
    assigned.fn.configWrite(msi.DATA.offset, 2, 0x55);
    assigned.fn.configWrite(msi.CONTROL.offset, 2, msi.CONTROL.fields.ENABLE.mask);
    assigned.fn.configWrite(COMMAND.offset, 2, COMMAND.fields.MEMORY.mask | COMMAND.fields.MASTER.mask);
  };
  return {
    bench,
    assigned,
    routed,
    setUp,
    migration: new VfioMigration(new AssignedEdu(bench.edu, assigned)),
  };
}

describe('a transfer for which memory is not there yet', () => {
  /** A bench whose memory is there when it is said to be. */
  function lateBench() {
    const bench = new Bench();
    const asked: number[][] = [];
    const released: number[][] = [];
    let there = false;
    bench.edu.presence = {
      present: (_requester, address, length, access) => {
        asked.push([address, length, access]);
        return there;
      },
      release: (_requester, address, length) => void released.push([address, length]),
    };
    const arrive = (): void => {
      there = true;
      bench.edu.memoryArrived(0x1000, 0x1000);
      bench.edu.run();
    };
    return { bench, asked, released, arrive };
  }

  it.each([
    ['to memory', EDU_BUFFER, 0x1800, TO_MEMORY, 2],
    ['from memory', 0x1800, EDU_BUFFER, 0, 1],
  ])(
    '%s stands in the registers, and is done once when that has come',
    (_, source, destination, way, access) => {
      const { bench, asked, released, arrive } = lateBench();
      bench.memory.fill(7);
      bench.transfer(source, destination, 4, way | INTERRUPT);
      bench.edu.run();
      bench.edu.run();
      expect([bench.busy, bench.messages, bench.memory[0x1800]]).toEqual([true, [], 7]);
      expect(asked).toEqual([
        [0x1800, 4, access],
        [0x1800, 4, access],
      ]);
      // Of other memory it takes no notice.
      const { wakeups } = bench;
      bench.edu.memoryArrived(0x3000, 0x1000);
      expect(bench.wakeups).toBe(wakeups);
      arrive();
      expect(bench.wakeups).toBe(wakeups + 1);
      expect([bench.busy, bench.messages.length, bench.memory[0x1800]]).toEqual([
        false,
        1,
        way === TO_MEMORY ? 0 : 7,
      ]);
      expect(released).toEqual([[0x1800, 4]]);
    },
  );

  it('asks for nothing that it does not move', () => {
    const { bench, asked } = lateBench();
    bench.transfer(EDU_BUFFER + 1, 0x1800, EDU_BUFFER_BYTES, TO_MEMORY);
    bench.edu.run();
    expect([bench.busy, asked]).toEqual([false, []]);
  });

  it('is forgotten with a reset, and moves like one that was not begun', () => {
    const { bench, released, arrive } = lateBench();
    bench.transfer(EDU_BUFFER, 0x1800, 4, TO_MEMORY);
    bench.edu.run();
    const other = new Bench();
    other.memory.fill(7);
    other.edu.restore(bench.edu.save());
    other.edu.run();
    expect([other.busy, other.memory[0x1800]]).toEqual([false, 0]);
    bench.memory.fill(7);
    bench.edu.fn.reset('function');
    expect(released.length).toBe(1);
    arrive();
    expect([bench.busy, bench.memory[0x1800]]).toEqual([false, 7]);
  });
});

describe('the edu device of a guest', () => {
  it('sends the message that the guest set, and holds it back while the guest masks it', () => {
    const { bench, assigned, routed, setUp } = assignedBench();
    setUp();
    expect(routed.at(-1)).toEqual({ address: 0xfee0_1000, data: 0x55 });
    bench.write(reg.INTERRUPT_RAISE, 1);
    expect(bench.messages).toEqual([0x55]);
    assigned.fn.configWrite(msi.MASK.offset, 4, 1);
    bench.write(reg.INTERRUPT_RAISE, 1);
    expect([bench.messages.length, assigned.fn.configRead(msi.PENDING.offset, 4)]).toEqual([1, 1]);
    assigned.fn.configWrite(msi.MASK.offset, 4, 0);
    expect([bench.messages.length, assigned.fn.configRead(msi.PENDING.offset, 4)]).toEqual([2, 0]);
    assigned.fn.configWrite(msi.CONTROL.offset, 2, 0);
    bench.write(reg.INTERRUPT_RAISE, 1);
    expect(bench.messages).toHaveLength(2);
  });

  it('masters no bus while the host keeps its gate closed, and nothing stays of its settings after a reset', () => {
    const { bench, assigned, setUp } = assignedBench();
    setUp();
    bench.memory.fill(7);
    assigned.setGate(false);
    bench.transfer(EDU_BUFFER, 0, 4, TO_MEMORY);
    bench.edu.run();
    expect(bench.memory[0]).toBe(7);
    assigned.setGate(true);
    bench.edu.run();
    expect(bench.memory[0]).toBe(0);
    bench.write(reg.LIVENESS, 1);
    assigned.fn.reset('function');
    expect([bench.read(reg.LIVENESS), bench.edu.fn.mastering, assigned.fn.mastering]).toEqual([
      0,
      false,
      false,
    ]);
  });

  it('goes on as another device of another host with the transfer that it had not begun', () => {
    const source = assignedBench();
    source.setUp();
    source.bench.memory.set([9, 8, 7], 0x40);
    source.bench.transfer(0x40, EDU_BUFFER, 3, INTERRUPT);
    source.bench.edu.run();
    source.migration.setState(PRE_COPY_P2P);
    source.bench.transfer(EDU_BUFFER, 0x80, 3, TO_MEMORY | INTERRUPT);
    source.bench.edu.run();
    source.migration.setState(STOP_COPY);
    const { bytes } = drain(source.migration.session!);
    const target = assignedBench();
    target.migration.setState(RESUMING);
    feed(target.migration.session!, bytes, 100);
    target.migration.setState(STOP);
    expect(target.bench.busy).toBe(true);
    target.migration.setState(RUNNING);
    target.bench.edu.run();
    expect([...target.bench.memory.subarray(0x80, 0x84)]).toEqual([9, 8, 7, 0]);
    expect(target.bench.messages).toEqual([0x55]);
    expect(source.bench.memory[0x80]).toBe(0);
  });

  it('refuses a state whose buffer is not its buffer, and is as before', () => {
    const { edu } = new Bench();
    const before = edu.save();
    const state = before.state.slice(0, before.state.length - 1);
    new DataView(state.buffer).setUint32(state.length - EDU_BUFFER_BYTES - 3, EDU_BUFFER_BYTES - 1, true);
    expect(() => edu.restore({ ...before, state })).toThrow(/buffer: 4095 bytes of a buffer of 4096/);
    expect(edu.save()).toEqual(before);
  });
});
