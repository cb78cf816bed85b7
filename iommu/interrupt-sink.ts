/** Where interrupts go once they may: the local APICs of the machine, as the composition wires them. */
export interface InterruptSink {
  /**
   * A message as written: compatibility format, or one of the unit's own events, which are not remapped.
   * Address bits [19:12] name the destination, data bits [7:0] the vector (Intel SDM vol. 3, 11.11).
   */
  message(addressLow: number, addressHigh: number, data: number): void;
  /** A remapped interrupt: attributes of its table entry (VT-d 5.1.5). */
  remapped(destination: number, vector: number, deliveryMode: number, logical: boolean, level: boolean): void;
  /** Notification of a posted interrupt whose request is in the descriptor already (VT-d 5.2.3). */
  notify(destination: number, vector: number): void;
}
