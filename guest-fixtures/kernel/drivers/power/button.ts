// The power button, by the lines of Linux's driver (drivers/acpi/button.c) and of the acpid that most small systems have with it:
// whoever presses it wants the machine off.
import { writel } from '../../asm/io';
import { boot_params } from '../../asm/setup';
import { smp_processor_id } from '../../asm/processor';
import { irq_alloc_vector, request_irq } from '../../kernel/irq';
import { pr_err, pr_info } from '../../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../../kernel/workqueue';
import { str } from '../../lib/string';
import { machine_power_off } from './power';

const POWER_BUTTON: u32 = 0x04;
const POWER_BUTTON_TARGET_SHIFT: u32 = 8;

const button_work = changetype<WorkStruct>(memory.data(64, 16));

function acpi_button_notify(_data: usize): void {
  schedule_work(button_work);
}

function acpid_power_button(_work: WorkStruct): void {
  pr_info('acpid: power button pressed');
  pr_info('reboot: Power down');
  machine_power_off();
}

/** Boot CPU, before what is done to handlers of what the host says. */
export function acpi_button_init(): void {
  INIT_WORK(button_work, acpid_power_button, 0);
  const vector = irq_alloc_vector();
  if (vector == 0 || !request_irq(vector, acpi_button_notify, str('acpi'), 0)) {
    pr_err('ACPI: button: no vector for the power button');
    return;
  }
  writel((smp_processor_id() << POWER_BUTTON_TARGET_SHIFT) | vector, boot_params().power_base + POWER_BUTTON);
  pr_info('ACPI: button: Power Button [PWRF]');
}
