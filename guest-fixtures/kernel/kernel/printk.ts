// The kernel log: lines with a level and a timestamp in a ring of records, and from there to the console. Whoever holds
// the console prints for everybody, so printk never waits for another CPU's output.
import { local_irq_restore, local_irq_save } from '../asm/irqflags';
import { scnprintf } from '../lib/vsprintf';
import { PRINTK_LINE_MAX, cpu_line, this_cpu } from './percpu';
import { spin_lock, spin_lock_irqsave, spin_trylock, spin_unlock, spin_unlock_irqrestore } from './spinlock';
import { NSEC_PER_SEC, NSEC_PER_USEC, ktime_get } from './time';

export const LOGLEVEL_EMERG: u32 = 0;
export const LOGLEVEL_ERR: u32 = 3;
export const LOGLEVEL_WARNING: u32 = 4;
export const LOGLEVEL_INFO: u32 = 6;
export const CONSOLE_LOGLEVEL_DEFAULT: u32 = 7;
export const CONSOLE_LOGLEVEL_QUIET: u32 = 4;

/** A record is this header, then the text (timestamp to newline), padded to 8 bytes. */
// @ts-ignore: decorator
@unmanaged class PrintkRecord {
  /** Bytes to the next record; the text is shorter. */
  size: u32;
  length: u16;
  /** LEVEL_SKIP: nothing here, the ring goes on at its start. */
  level: u16;
}

const LEVEL_SKIP: u16 = 0xffff;
const LOG_BUF_LEN: u32 = 16384;

/** Positions count bytes since boot and wrap through the ring by modulo. */
// @ts-ignore: decorator
@unmanaged class PrintkRing {
  lock: u32;
  console_lock: u32;
  /** Where the next record goes, the oldest one that is still whole, and the next one to print. */
  next: u64;
  oldest: u64;
  printed: u64;
  /** Records that the ring swallowed before the console saw them. */
  dropped: u32;
  console_loglevel: u32;
  /** Prints `length` bytes at `text`; null until a console is registered. */
  console_write: ((text: usize, length: u32) => void) | null;
}

const log_buf = memory.data(16384, 4096);
const ring = changetype<PrintkRing>(memory.data(64, 64));
const console_line = memory.data(512, 64);

// @ts-ignore: decorator
@inline function ring_lock(): usize { return changetype<usize>(ring) + offsetof<PrintkRing>('lock'); }
// @ts-ignore: decorator
@inline function console_lock_word(): usize { return changetype<usize>(ring) + offsetof<PrintkRing>('console_lock'); }
// @ts-ignore: decorator
@inline function record_at(position: u64): PrintkRecord {
  return changetype<PrintkRecord>(log_buf + (<u32>position & (LOG_BUF_LEN - 1)));
}

/** Makes room for `size` bytes in one piece and returns its record. The ring's lock is held. */
function reserve(size: u32): PrintkRecord {
  const tail = LOG_BUF_LEN - (<u32>ring.next & (LOG_BUF_LEN - 1));
  const need: u32 = tail < size ? tail + size : size;
  while (ring.next + need - ring.oldest > LOG_BUF_LEN) {
    if (ring.oldest == ring.printed) {
      ring.dropped += <u32>(record_at(ring.oldest).level != LEVEL_SKIP);
      ring.printed += record_at(ring.oldest).size;
    }
    ring.oldest += record_at(ring.oldest).size;
  }
  if (tail < size) {
    const skip = record_at(ring.next);
    skip.size = tail;
    skip.level = LEVEL_SKIP;
    ring.next += tail;
  }
  const record = record_at(ring.next);
  record.size = size;
  ring.next += size;
  return record;
}

/** Prints the records that the console has not seen. Its lock is held. */
function console_flush(): void {
  const write = ring.console_write;
  if (write === null) return;
  for (;;) {
    let length: u32 = 0;
    const flags = spin_lock_irqsave(ring_lock());
    const more = ring.printed != ring.next;
    if (ring.dropped != 0) {
      length = scnprintf(console_line, PRINTK_LINE_MAX, '** %u printk messages dropped **\n', ring.dropped);
      ring.dropped = 0;
    } else if (more) {
      const record = record_at(ring.printed);
      if (record.level != LEVEL_SKIP && <u32>record.level < ring.console_loglevel) {
        length = record.length;
        memory.copy(console_line, changetype<usize>(record) + offsetof<PrintkRecord>(), length);
      }
      ring.printed += record.size;
    }
    spin_unlock_irqrestore(ring_lock(), flags);
    if (length != 0) write(console_line, length);
    if (!more) return;
  }
}

/** Keeps the console for the caller: lines wait in the ring until console_unlock. Task context only. */
export function console_lock(): void {
  spin_lock(console_lock_word());
}

function unprinted(): bool {
  return ring.console_write !== null && atomic.load<u64>(changetype<usize>(ring) + offsetof<PrintkRing>('next')) != ring.printed;
}

/** Prints what has waited and lets others print. A line that came in between the two is not left behind. */
export function console_unlock(): void {
  do {
    console_flush();
    spin_unlock(console_lock_word());
  } while (unprinted() && spin_trylock(console_lock_word()));
}

/** Logs one line. Format and arguments as lib/vsprintf; callable from anywhere. */
export function printk(
  level: u32, format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0,
): void {
  const flags = local_irq_save();
  const line = cpu_line(this_cpu());
  const now = ktime_get();
  const us = (now % NSEC_PER_SEC) / NSEC_PER_USEC;
  let length = scnprintf(line, PRINTK_LINE_MAX, '[%5u.%06u] ', now / NSEC_PER_SEC, us);
  length += scnprintf(line + length, PRINTK_LINE_MAX - 1 - length, format, a, b, c, d, e, f);
  store<u8>(line + length, 0x0a);
  length++;
  spin_lock(ring_lock());
  const record = reserve((offsetof<PrintkRecord>() + length + 7) & ~7);
  record.length = <u16>length;
  record.level = <u16>level;
  memory.copy(changetype<usize>(record) + offsetof<PrintkRecord>(), line, length);
  spin_unlock(ring_lock());
  if (spin_trylock(console_lock_word())) console_unlock();
  local_irq_restore(flags);
}

export function pr_emerg(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  printk(LOGLEVEL_EMERG, format, a, b, c, d, e, f);
}
export function pr_err(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  printk(LOGLEVEL_ERR, format, a, b, c, d, e, f);
}
export function pr_warn(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  printk(LOGLEVEL_WARNING, format, a, b, c, d, e, f);
}
export function pr_info(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  printk(LOGLEVEL_INFO, format, a, b, c, d, e, f);
}

/** A workload's own output: what a program prints to its terminal, so no log level hides it. */
export function tty_print(format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0, d: u64 = 0, e: u64 = 0, f: u64 = 0): void {
  printk(LOGLEVEL_EMERG, format, a, b, c, d, e, f);
}

/** Boot CPU: the console's driver. What was logged before is printed now. Lines are at most PRINTK_LINE_MAX bytes. */
export function register_console(write: (text: usize, length: u32) => void): void {
  console_lock();
  ring.console_write = write;
  console_unlock();
}

/** Only lines below `level` reach the console. */
export function console_set_loglevel(level: u32): void {
  ring.console_loglevel = level;
}

/** The panicking CPU must not wait for a lock whose owner it has stopped, or is itself. */
export function console_flush_on_panic(): void {
  spin_unlock(ring_lock());
  spin_unlock(console_lock_word());
}
