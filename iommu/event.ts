/**
 * The unit's own message-signalled events (fault, invalidation completion, page request): each has a control register
 * with mask and pending bit, and message data and address (VT-d 11.4.7.2 and alike).
 */
import type { Register, RegisterFile } from '../base/registers.js';
import type { InterruptSink } from './interrupt-sink.js';
import { reg } from './registers.js';

export interface EventRegisters {
  readonly control: typeof reg.FECTL;
  readonly data: Register<unknown>;
  readonly address: Register<unknown>;
  readonly upperAddress: Register<unknown>;
}

export const FAULT_EVENT: EventRegisters = {
  control: reg.FECTL,
  data: reg.FEDATA,
  address: reg.FEADDR,
  upperAddress: reg.FEUADDR,
};
export const COMPLETION_EVENT: EventRegisters = {
  control: reg.IECTL,
  data: reg.IEDATA,
  address: reg.IEADDR,
  upperAddress: reg.IEUADDR,
};
export const PAGE_REQUEST_EVENT: EventRegisters = {
  control: reg.PECTL,
  data: reg.PEDATA,
  address: reg.PEADDR,
  upperAddress: reg.PEUADDR,
};

export class EventInterrupt {
  private readonly registers: RegisterFile<unknown>;
  private readonly names: EventRegisters;
  private readonly sink: InterruptSink;

  constructor(registers: RegisterFile<unknown>, names: EventRegisters, sink: InterruptSink) {
    this.registers = registers;
    this.names = names;
    this.sink = sink;
  }

  /** The condition arose: sends the message, or leaves it pending while masked. */
  raise(): void {
    const { control } = this.names;
    this.registers.setField(control, control.fields.IP, 1);
    this.sendPending();
  }

  /** Software handled every cause: a message not sent yet is not sent any more. */
  withdraw(): void {
    const { control } = this.names;
    this.registers.setField(control, control.fields.IP, 0);
  }

  /** Sends what is pending unless it is masked; what a write to the control register does. */
  sendPending(): void {
    const { registers, names } = this;
    const { IP, IM } = names.control.fields;
    const control = registers.get(names.control);
    if (IP.get(control) === 0 || IM.get(control) === 1) return;
    registers.setField(names.control, IP, 0);
    this.sink.message(
      registers.get(names.address),
      registers.get(names.upperAddress),
      registers.get(names.data),
    );
  }
}
