/**
 * Faults of a simulated migration, and their names. A name is all that it takes to inflict one again:
 *
 *     cut@source/commit#0            the control link breaks before that message arrives
 *     flip@destination/prepared#0=7  its bit 7 arrives flipped
 *     data-flip@0/90000=3            bit 3 of byte 90,000 of data channel 0
 *     kill-source@2500us             the source's process ends so long after `migrate`
 *     cancel@source/round-end#1      an operator cancels when the source sends that message
 *     unplug@start                   an operator asks for it right before `migrate`
 *
 * Messages are counted by sender and kind, from 0.
 */
import { type FrameKind, frameKinds } from '../../migration/frame.js';
import { BROKEN, DAMAGED, DATA_DAMAGED, SILENT } from '../checkers/causes.js';
import type { Side } from './link.js';

/** What can be done to a control message that is on its way, and to which errors that may lead. */
const MESSAGE_FAULTS = {
  delay: SILENT,
  cut: BROKEN,
  'cut-after': BROKEN,
  silence: SILENT,
  truncate: DAMAGED,
  flip: DAMAGED,
  garbage: DAMAGED,
  repeat: DAMAGED,
  'other-version': DAMAGED,
} as const;
const DATA_FAULTS = {
  'data-cut': BROKEN,
  'data-flip': DATA_DAMAGED,
  'data-stall': SILENT,
  'data-truncate': BROKEN,
  'data-delay': SILENT,
} as const;
/** Of a process that ends in good order, and says so. */
const ENDED = new RegExp(`/vmm-ended$|${SILENT.source}`);
/** A guest that stands still answers nothing that the migration asks of it: neither its driver, nor its agent, nor its slot. */
const STOOD_STILL = /\/(guest-silent|agent-silent|still-plugged-in)$/;
const WORKER_LOST = new RegExp(`/worker-lost$|${BROKEN.source}`);
/** Whoever waits for the guest has waited long enough. */
const OVERDUE =
  /\/(guest-silent|agent-silent|approach-overdue|still-plugged-in|not-plugged-in|not-plugged-in-again|not-plugged-in-yet|not-recovered)$/;
/** Of a process that stood still, or whose clock is wrong: to who waits it is as if nothing had come for so long, of the peer or of the guest. */
const LATE = new RegExp(`${SILENT.source}|${OVERDUE.source}`);
/** Of a guest that does not do what it is asked, says that it can't, or has nothing any more that could be asked. */
const REFUSED_BY_GUEST = new RegExp(
  `/(guest|agent)-[a-z-]+$|/(no-interface|no-failover|unplug-cancelled)$|${OVERDUE.source}`,
);
const PROCESS_FAULTS = {
  'kill-source': SILENT,
  'kill-destination': SILENT,
  'quit-source': ENDED,
  'quit-destination': ENDED,
  'suspend-source': LATE,
  'suspend-destination': LATE,
  'drift-source': LATE,
  'drift-destination': LATE,
  'jump-source': LATE,
  'jump-destination': LATE,
  'set-back-source': /^$/,
  'set-back-destination': /^$/,
  // Of a thread that works a data channel. One of a vCPU or of the devices takes its process with it.
  'lose-worker-source': WORKER_LOST,
  'lose-worker-destination': WORKER_LOST,
} as const;
/** What an operator asks of a monitor: the source's, unless the name says another. */
const OPERATOR_FAULTS = {
  cancel: /\/cancelled$/,
  stop: STOOD_STILL,
  cont: /^$/,
  'stop-destination': STOOD_STILL,
  'cont-destination': /^$/,
  parameters: /^$/,
  'migrate-again': /^$/,
  unplug: /\/not-plugged-in$/,
  replug: /^$/,
  // While its driver recovers the guest does nothing else that is asked of its devices.
  'inject-error': STOOD_STILL,
  'dirty-rate': /^$/,
  // What it asks for is for who has made the plan to judge.
  execute: /\/(cancelled|guest-silent)$/,
} as const;
/** The carrier of the cable of a VMM's NIC goes, and comes back. */
const NETWORK_FAULTS = { 'link-flap': /^$/, 'link-flap-destination': /^$/ } as const;
/** What the guest does at that moment, wherever it runs, for so long: not for the sake of who moves it. */
const GUEST_FAULTS = {
  'guest-toggles': REFUSED_BY_GUEST,
  'guest-unloads': REFUSED_BY_GUEST,
  'guest-lies': REFUSED_BY_GUEST,
  'guest-crashes': new RegExp(`/machine-state$|${OVERDUE.source}`),
} as const;
/** The destination's host has another NIC, or none that is free; that has an end with the migration. */
const HOST_FAULTS = {
  'other-device': /\/(machine-incompatible|device-mismatch|device-differs|approach|blocked)$/,
} as const;
/** Somebody else comes to a door: to that of the destination, or to those of the source's data channels. */
const STRANGER_FAULTS = { stranger: /\/(busy|crowded)$/, 'data-stranger': /^$/ } as const;

const CAUSES = {
  ...MESSAGE_FAULTS,
  ...DATA_FAULTS,
  ...PROCESS_FAULTS,
  ...OPERATOR_FAULTS,
  ...NETWORK_FAULTS,
  ...GUEST_FAULTS,
  ...HOST_FAULTS,
  ...STRANGER_FAULTS,
} as const;

export type MessageFault = keyof typeof MESSAGE_FAULTS;
export type DataFault = keyof typeof DATA_FAULTS;
export type FaultKind = keyof typeof CAUSES;

export type When =
  | { readonly at: 'message'; readonly from: Side; readonly kind: FrameKind; readonly nth: number }
  | { readonly at: 'byte'; readonly channel: number; readonly byte: number }
  | { readonly at: 'time'; readonly us: number }
  /** Right before `migrate`. */
  | { readonly at: 'start' }
  /** At the nth event of that name at a side's monitor, from 0, in which these members are as they are here. */
  | {
      readonly at: 'event';
      readonly side: Side;
      readonly event: string;
      readonly nth: number;
      readonly where: Readonly<Record<string, unknown>>;
    };

/** What an operator types. */
export interface MonitorCall {
  readonly side: Side;
  readonly command: string;
  readonly arguments: object;
}

export interface Fault {
  readonly kind: FaultKind;
  readonly when: When;
  /**
   * Of what takes time microseconds, of a drifting clock thousandths of how fast it should go, of `truncate` bytes that are left, of `flip` and `data-flip` a bit, of others a
   * choice.
   */
  readonly amount: number;
  /** Of `execute`. */
  readonly call?: MonitorCall;
}

export const isMessageFault = (kind: FaultKind): kind is MessageFault => kind in MESSAGE_FAULTS;
export const isDataFault = (kind: FaultKind): kind is DataFault => kind in DATA_FAULTS;

/** Codes of errors that may come of it. */
export const causesOf = ({ kind }: Fault): RegExp => CAUSES[kind];

const HAS_AMOUNT: readonly FaultKind[] = [
  ...(['delay', 'truncate', 'flip', 'garbage', 'other-version', 'data-flip', 'data-delay'] as const),
  ...(['suspend-source', 'suspend-destination', 'drift-source', 'drift-destination'] as const),
  ...(['jump-source', 'jump-destination', 'set-back-source', 'set-back-destination'] as const),
  ...(['lose-worker-source', 'lose-worker-destination', 'other-device'] as const),
  ...(['guest-toggles', 'guest-unloads', 'guest-lies'] as const),
  ...([
    'parameters',
    'link-flap',
    'link-flap-destination',
    'inject-error',
    'stranger',
    'data-stranger',
  ] as const),
];

/** One with a call or at an event is a matter of an experiment: its name tells of it, and does not stand for it. */
export function nameOfFault({ kind, when, amount, call }: Fault): string {
  const how = call === undefined ? (HAS_AMOUNT.includes(kind) ? `=${amount}` : '') : `=${call.command}`;
  switch (when.at) {
    case 'message':
      return `${kind}@${when.from}/${when.kind}#${when.nth}${how}`;
    case 'byte':
      return `${kind}@${when.channel}/${when.byte}${how}`;
    case 'time':
      return `${kind}@${when.us}us${how}`;
    case 'start':
      return `${kind}@${START}${how}`;
    case 'event':
      return `${kind}@${when.side}/${when.event}#${when.nth}${how}`;
  }
}

const START = 'start';
const NAME =
  /^([a-z-]+)@(?:(source|destination)\/([a-z-]+)#(\d{1,6})|(\d{1,2})\/(\d{1,9})|(\d{1,9})us|start)(?:=(\d{1,9}))?$/;

/** The fault of that name; undefined if there is none. */
export function faultOfName(name: string): Fault | undefined {
  const match = NAME.exec(name);
  if (match === null || !Object.hasOwn(CAUSES, match[1]!) || match[1] === 'execute') return undefined;
  const kind = match[1] as FaultKind;
  const [, , from, message, nth, channel, byte, us, amount = '0'] = match;
  let when: When;
  if (from !== undefined) {
    if (isDataFault(kind) || !Object.hasOwn(frameKinds, message!)) return undefined;
    when = { at: 'message', from: from as Side, kind: message as FrameKind, nth: Number(nth) };
  } else if (channel !== undefined) {
    if (!isDataFault(kind)) return undefined;
    when = { at: 'byte', channel: Number(channel), byte: Number(byte) };
  } else {
    if (isDataFault(kind) || isMessageFault(kind)) return undefined;
    when = us === undefined ? { at: 'start' } : { at: 'time', us: Number(us) };
  }
  return { kind, when, amount: Number(amount) };
}
