// Interrupt descriptors: which handler a vector has. Handlers run with interrupts disabled.
import { FIRST_EXTERNAL_VECTOR, TIMER_VECTOR } from '../generated/abi';
import { BUG_ON } from './panic';
import { NR_VECTORS, cpu_vector_counts, per_cpu, this_cpu } from './percpu';
import { pr_err } from './printk';
import { spin_lock_irqsave, spin_unlock_irqrestore } from './spinlock';

export type IrqHandler = (data: usize) => void;

// @ts-ignore: decorator
@unmanaged class IrqDesc {
  handler: IrqHandler | null;
  data: usize;
  /** String literal. */
  name: usize;
  /** Interrupts that found no handler. */
  spurious: u32;
}

const irq_desc = memory.data(256 * 16, 16);
const irq_desc_lock = memory.data(4, 4);

// @ts-ignore: decorator
@inline function desc_of(vector: u32): IrqDesc {
  return changetype<IrqDesc>(irq_desc + vector * offsetof<IrqDesc>());
}

/** Gives `vector` a handler; false if it has one already. `name` is a string literal's address. */
export function request_irq(vector: u32, handler: IrqHandler, name: usize, data: usize): bool {
  BUG_ON(vector >= NR_VECTORS, 'request_irq: vector out of range');
  const flags = spin_lock_irqsave(irq_desc_lock);
  const desc = desc_of(vector);
  const free = desc.handler === null;
  if (free) {
    desc.data = data;
    desc.name = name;
    desc.handler = handler;
  }
  spin_unlock_irqrestore(irq_desc_lock, flags);
  return free;
}

export function free_irq(vector: u32): void {
  const flags = spin_lock_irqsave(irq_desc_lock);
  desc_of(vector).handler = null;
  spin_unlock_irqrestore(irq_desc_lock, flags);
}

/**
 * Boot CPU: puts `handler` in the place of each that was requested as `name`, a string literal's address. `wrap` is told what it
 * replaces, and returns what it gets as its data.
 */
export function wrap_irq_handlers(
  name: usize, handler: IrqHandler, wrap: (replaced: IrqHandler, data: usize) => usize,
): void {
  for (let vector: u32 = 0; vector < NR_VECTORS; vector++) {
    const desc = desc_of(vector);
    const replaced = desc.handler;
    if (replaced === null || desc.name != name) continue;
    const data = wrap(replaced, desc.data);
    const flags = spin_lock_irqsave(irq_desc_lock);
    desc.data = data;
    desc.handler = handler;
    spin_unlock_irqrestore(irq_desc_lock, flags);
  }
}

/** Finds a device vector without a handler; 0 if all are taken. */
export function irq_alloc_vector(): u32 {
  for (let vector = FIRST_EXTERNAL_VECTOR; vector < TIMER_VECTOR; vector++) {
    if (desc_of(vector).handler === null) return vector;
  }
  return 0;
}

/** Vectors that have a handler. */
export function irq_handlers(): u32 {
  let count: u32 = 0;
  for (let vector: u32 = 0; vector < NR_VECTORS; vector++) count += <u32>(desc_of(vector).handler !== null);
  return count;
}

/** Interrupts that found no handler, of all vectors. */
export function irq_spurious(): u32 {
  let count: u32 = 0;
  for (let vector: u32 = 0; vector < NR_VECTORS; vector++) count += desc_of(vector).spurious;
  return count;
}

/** Calls the handler of `vector`. */
export function generic_handle_irq(vector: u32): void {
  const count = cpu_vector_counts(this_cpu()) + (vector << 2);
  store<u32>(count, load<u32>(count) + 1);
  const desc = desc_of(vector);
  const handler = desc.handler;
  if (handler !== null) {
    handler(desc.data);
    return;
  }
  desc.spurious++;
  if (desc.spurious == 1) pr_err('do_IRQ: %u.%u No irq handler for vector', this_cpu().cpu, vector);
}

/** Interrupts of `vector` that `cpu` has taken. */
export function kstat_irqs_cpu(vector: u32, cpu: u32): u32 {
  return load<u32>(cpu_vector_counts(per_cpu(cpu)) + (vector << 2));
}
