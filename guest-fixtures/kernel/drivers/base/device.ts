// What every device is, whatever bus it is on.
import { ListHead } from '../../lib/list';

/** On its bus's list. */
// @ts-ignore: decorator
@unmanaged export class Device extends ListHead {
  /** Raw bytes with a NUL. */
  name: usize;
  /** String literal: name of the driver that has it, or 0. */
  driver_name: usize;
}
