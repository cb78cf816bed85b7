/**
 * Where a frame goes: `length` bytes without FCS, from `at` in `bytes`. The memory belongs to the caller and holds the
 * frame during the call only; whoever needs it longer copies it. Three plain arguments, so that frames go from a
 * socket's chunk through the switch to the next socket without an object or a copy in between.
 */
export type FrameSink = (bytes: Uint8Array, at: number, length: number) => void;
