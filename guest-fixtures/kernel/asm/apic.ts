// The local APIC's interrupt command register: how one vCPU starts or interrupts another (Intel SDM vol. 3, 11.6.1).
import {
  ICR_MODE_FIXED,
  ICR_MODE_STARTUP,
  ICR_SHORTHAND_OTHERS,
  LAPIC_ICR_HIGH,
  LAPIC_ICR_LOW,
} from '../generated/abi';
import { boot_params } from './setup';
import { writel } from './io';
import { local_irq_restore, local_irq_save } from './irqflags';

const ICR_MODE_SHIFT: u32 = 8;
const ICR_SHORTHAND_SHIFT: u32 = 18;
const ICR_DESTINATION_SHIFT: u32 = 24;

/** The two halves of the command must not be torn apart by an interrupt handler that sends one of its own. */
function icr_write(low: u32, destination: u32): void {
  const flags = local_irq_save();
  const lapic = boot_params().lapic_base;
  writel(destination << ICR_DESTINATION_SHIFT, lapic + LAPIC_ICR_HIGH);
  writel(low, lapic + LAPIC_ICR_LOW);
  local_irq_restore(flags);
}

/** Sends `vector` to one vCPU. */
export function apic_send_ipi(cpu: u32, vector: u32): void {
  icr_write(vector | (ICR_MODE_FIXED << ICR_MODE_SHIFT), cpu);
}

/** Sends `vector` to all vCPUs but this one. */
export function apic_send_ipi_others(vector: u32): void {
  icr_write(vector | (ICR_MODE_FIXED << ICR_MODE_SHIFT) | (ICR_SHORTHAND_OTHERS << ICR_SHORTHAND_SHIFT), 0);
}

/** Start-up IPI: the vCPU enters secondary_start. */
export function apic_start_cpu(cpu: u32): void {
  icr_write(ICR_MODE_STARTUP << ICR_MODE_SHIFT, cpu);
}
