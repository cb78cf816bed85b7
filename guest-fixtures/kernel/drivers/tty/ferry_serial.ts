// The serial ports: byte streams to programs of the host. Bytes cross through memory, a buffer for two register writes.
import { readl, writel } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { smp_processor_id } from '../../asm/processor';
import { irq_alloc_vector, request_irq } from '../../kernel/irq';
import { str } from '../../lib/string';

const SERIAL_PORT_BYTES: u32 = 0x40;
const SERIAL_CONTROL: u32 = 0x00;
const SERIAL_CONTROL_OPEN: u32 = 1;
const SERIAL_ADDRESS: u32 = 0x04;
const SERIAL_SEND: u32 = 0x08;
const SERIAL_RECEIVE: u32 = 0x0c;
const SERIAL_PENDING: u32 = 0x10;
const SERIAL_ROOM: u32 = 0x14;

// @ts-ignore: decorator
@inline export function have_ferry_serial(): bool { return boot_params().serial_base != 0; }

// @ts-ignore: decorator
@inline function port_base(port: u32): u32 { return boot_params().serial_base + port * SERIAL_PORT_BYTES; }

/**
 * Opens a port: `handler` is called with `data`, as an interrupt handler of this CPU, when bytes have come or there is room
 * again. False if there is no vector left.
 */
export function ferry_serial_open(port: u32, handler: (data: usize) => void, data: usize): bool {
  const vector = irq_alloc_vector();
  if (vector == 0 || !request_irq(vector, handler, str('ferry-serial'), data)) return false;
  writel((smp_processor_id() << 16) | (vector << 8) | SERIAL_CONTROL_OPEN, port_base(port) + SERIAL_CONTROL);
  return true;
}

/** Takes up to `size` bytes that have come; returns how many. */
export function ferry_serial_read(port: u32, buffer: usize, size: u32): u32 {
  const count = min<u32>(readl(port_base(port) + SERIAL_PENDING), size);
  if (count == 0) return 0;
  writel(<u32>buffer, port_base(port) + SERIAL_ADDRESS);
  writel(count, port_base(port) + SERIAL_RECEIVE);
  return count;
}

/** Sends as many of `size` bytes as there is room for; returns how many. */
export function ferry_serial_write(port: u32, buffer: usize, size: u32): u32 {
  const count = min<u32>(readl(port_base(port) + SERIAL_ROOM), size);
  if (count == 0) return 0;
  writel(<u32>buffer, port_base(port) + SERIAL_ADDRESS);
  writel(count, port_base(port) + SERIAL_SEND);
  return count;
}
