// Spinlocks. A lock is one 32-bit word in memory, given by its address. Locks that an interrupt handler also takes need
// the irqsave form. The loop's own safepoint lets a waiting vCPU be interrupted, stopped and moved.
import { local_irq_restore, local_irq_save } from '../asm/irqflags';

export function spin_lock(lock: usize): void {
  while (atomic.cmpxchg<u32>(lock, 0, 1) != 0) {}
}

export function spin_trylock(lock: usize): bool {
  return atomic.cmpxchg<u32>(lock, 0, 1) == 0;
}

// @ts-ignore: decorator
@inline export function spin_unlock(lock: usize): void {
  atomic.store<u32>(lock, 0);
}

/** Disables interrupts and takes the lock; returns the flags for spin_unlock_irqrestore. */
export function spin_lock_irqsave(lock: usize): u32 {
  const flags = local_irq_save();
  spin_lock(lock);
  return flags;
}

// @ts-ignore: decorator
@inline export function spin_unlock_irqrestore(lock: usize, flags: u32): void {
  atomic.store<u32>(lock, 0);
  local_irq_restore(flags);
}
