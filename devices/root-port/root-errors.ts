/** What a root port does with error messages from below: root error status, source ids, interrupt. 6.2.6, 7.8.4.10 */
import type { RequesterId } from '../../base/dma.js';
import type { RegisterFile } from '../../base/registers.js';
import type { ErrorSeverity } from '../pci/function.js';
import type { RootPortLayout } from './registers.js';

/** True if the port passes messages of this severity on: its own enable, or SERR forwarding for the serious ones. */
export function forwardsErrors(
  config: RegisterFile,
  layout: RootPortLayout,
  severity: ErrorSeverity,
): boolean {
  const { DEVICE_CONTROL } = layout.cap.pcie;
  const { CORRECTABLE_ENABLE, NONFATAL_ENABLE, FATAL_ENABLE } = DEVICE_CONTROL.fields;
  const { BRIDGE_CONTROL } = layout.header;
  if (severity === 'correctable') return config.getField(DEVICE_CONTROL, CORRECTABLE_ENABLE) === 1;
  const enable = severity === 'fatal' ? FATAL_ENABLE : NONFATAL_ENABLE;
  return (
    config.getField(DEVICE_CONTROL, enable) === 1 ||
    config.getField(BRIDGE_CONTROL, BRIDGE_CONTROL.fields.SERR_FORWARD) === 1
  );
}

/**
 * Records an error message. Returns true if the interrupt is to be sent: an enabled cause that was clear is now set.
 */
export function recordError(
  config: RegisterFile,
  layout: RootPortLayout,
  severity: ErrorSeverity,
  source: RequesterId,
): boolean {
  const { ROOT_STATUS, ROOT_COMMAND, ERROR_SOURCE } = layout.cap.aer;
  const status = ROOT_STATUS.fields;
  const command = config.get(ROOT_COMMAND);
  if (severity === 'correctable') {
    if (config.getField(ROOT_STATUS, status.CORRECTABLE) === 1) {
      config.setField(ROOT_STATUS, status.MULTIPLE_CORRECTABLE, 1);
      return false;
    }
    config.setField(ROOT_STATUS, status.CORRECTABLE, 1);
    config.setField(ERROR_SOURCE, ERROR_SOURCE.fields.CORRECTABLE, source);
    return ROOT_COMMAND.fields.CORRECTABLE.get(command) === 1;
  }
  if (config.getField(ROOT_STATUS, status.UNCORRECTABLE) === 1) {
    config.setField(ROOT_STATUS, status.MULTIPLE_UNCORRECTABLE, 1);
  } else {
    config.setField(ROOT_STATUS, status.UNCORRECTABLE, 1);
    config.setField(ERROR_SOURCE, ERROR_SOURCE.fields.UNCORRECTABLE, source);
    if (severity === 'fatal') config.setField(ROOT_STATUS, status.FIRST_FATAL, 1);
  }
  const [cause, enable] =
    severity === 'fatal'
      ? [status.FATAL, ROOT_COMMAND.fields.FATAL]
      : [status.NONFATAL, ROOT_COMMAND.fields.NONFATAL];
  const wasClear = config.getField(ROOT_STATUS, cause) === 0;
  config.setField(ROOT_STATUS, cause, 1);
  return wasClear && enable.get(command) === 1;
}
