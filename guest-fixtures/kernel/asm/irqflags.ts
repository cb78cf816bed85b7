// The interrupt flag. Interrupts arrive at safepoints (function entries and loop heads) while it is set.
import { ferry_halt, ferry_irq_restore, ferry_irq_save } from './ferry';

/** Disables interrupts; returns the former flag for local_irq_restore. */
// @ts-ignore: decorator
@inline export function local_irq_save(): u32 { return ferry_irq_save(); }
// @ts-ignore: decorator
@inline export function local_irq_restore(flags: u32): void { ferry_irq_restore(flags); }
// @ts-ignore: decorator
@inline export function local_irq_disable(): void { ferry_irq_save(); }
// @ts-ignore: decorator
@inline export function local_irq_enable(): void { ferry_irq_restore(1); }

/**
 * `sti; hlt`: enables interrupts and waits for one. No safepoint lies between the two, so an interrupt that came
 * while they were off ends the wait instead of slipping in before it.
 */
// @ts-ignore: decorator
@inline export function native_safe_halt(): void {
  ferry_irq_restore(1);
  ferry_halt();
}
