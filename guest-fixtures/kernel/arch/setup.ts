// What the boot loader left: judged and shown.
import { boot_params } from '../asm/setup';
import { BOOT_PARAMS_VERSION, BOOT_PARAMS_VERSION_AT } from '../generated/abi';
import { panic } from '../kernel/panic';
import { pr_info } from '../kernel/printk';

/** With the console there: refuses a boot loader of another version, shows what was found. */
export function setup_arch(page: u32): void {
  const version = load<u16>(page + BOOT_PARAMS_VERSION_AT);
  if (version != BOOT_PARAMS_VERSION) {
    panic('boot information page has version %u, this kernel knows %u', version, BOOT_PARAMS_VERSION);
  }
  pr_info('Command line: %S', boot_params().command_line);
  pr_info('Hypervisor detected: %S', boot_params().hypervisor);
}
