/**
 * Where hot-plug's time goes: what the guest's console says, each line with the guest's own clock, and between its lines what the host
 * saw of the driver at the registers of its device.
 */
import type { BringUpStep } from '../../devices/nic82599/bring-up.js';
import type { TimelineEntry } from '../../migration/timeline.js';
import type { ConsoleLine } from '../move/check.js';
import { guestSeconds } from '../move/verdict.js';

export interface PlugStep {
  /** What the guest did from `fromNs` until `toNs`. */
  readonly what: string;
  /** On the guest's clock, which stands in the blackout; from the first step on. */
  readonly fromNs: number;
  readonly toNs: number;
}

/** A step ends with its mark, and begins where the one before ended; the first begins with its own. */
interface Mark {
  readonly what: string;
  /** On the guest's clock; undefined where it was not seen at or behind `from`. */
  readonly find: (seen: Seen, fromNs: number) => number | undefined;
}

interface Seen {
  readonly console: readonly ConsoleLine[];
  readonly bringUp: readonly { readonly step: BringUpStep; readonly ns: number }[];
  readonly firstPacketNs: number | undefined;
}

const nsOf = ({ text }: ConsoleLine): number => Math.round(guestSeconds(text)! * 1e9);

/** A line of the console; of several in a row the last, if `last`. */
const said = (what: string, side: ConsoleLine['side'], line: RegExp, last = false): Mark => ({
  what,
  find: ({ console }, fromNs) => {
    const fits = (one: ConsoleLine | undefined): boolean =>
      one !== undefined && one.side === side && line.test(one.text);
    let at = console.findIndex((one) => fits(one) && nsOf(one) >= fromNs);
    if (at < 0) return undefined;
    while (last && fits(console[at + 1])) at++;
    return nsOf(console[at]!);
  },
});

/** Lines take a while to arrive, so that what the host saw may seem to lie before what the guest said earlier. */
const UNSURE_NS = 20e6;

/** A step of the driver as the host saw it. */
const seen = (what: string, step: BringUpStep): Mark => ({
  what,
  find: ({ bringUp }, fromNs) => {
    const found = bringUp.find((one) => one.step === step && one.ns >= fromNs - UNSURE_NS);
    return found && Math.max(found.ns, fromNs);
  },
});

const PRESS = /pciehp: Slot\(\d+\): Button press: will power off/;
const REMOVED = /\] pci \S+: removed$/;
const CONFIGURATION = /\] pci \S+: \[[0-9a-f]{4}:[0-9a-f]{4}\] type 00/;

/** In their order. Those that a slot or a start does not have are missing. */
const MARKS: readonly Mark[] = [
  said('asked to let it go', 'source', PRESS),
  said('blink, and driver lets go', 'source', REMOVED),
  said(
    'power off, and move',
    'destination',
    /pciehp: Slot\(\d+\): (Button press: will power on|Card present|Link Up)/,
  ),
  said('presence and power', 'destination', /pciehp: Slot\(\d+\): (Card present|Link Up)/, true),
  said('wait for the link', 'destination', CONFIGURATION),
  said('configuration', 'destination', /\] pci \S+: BAR \d+ \[mem/, true),
  seen('probe, until the reset', 'function-reset'),
  seen('reset, until the mailbox', 'mailbox'),
  said('mailbox, until the probe is over', 'destination', /Virtual Function$/),
  seen('transmit ring', 'transmit'),
  seen('receive ring', 'receive'),
  seen('interrupts', 'interrupts'),
  said('address', 'destination', /IP-Config: Complete|ipaddr=.* are back$/),
  said('link of the interface', 'destination', /NIC Link is Up/),
  { what: 'first packet at the peer', find: ({ firstPacketNs }) => firstPacketNs },
];

/** What else than the console was seen, on the clock of all processes of the host. */
export interface SeenOutside {
  /** The destination's timeline. */
  readonly timeline: readonly TimelineEntry[];
  /** The first packet after the gap. */
  readonly firstPacketNs: number | undefined;
}

const NOTHING: SeenOutside = { timeline: [], firstPacketNs: undefined };

/** The steps of a device that was unplugged at the source and plugged in at the destination; none of one that was not. */
export function plugSteps(
  lines: readonly ConsoleLine[],
  { timeline, firstPacketNs }: SeenOutside = NOTHING,
): readonly PlugStep[] {
  const removed = lines.findLast(({ side, text }) => side === 'source' && REMOVED.test(text));
  const cameBack = lines.some(({ side, text }) => side === 'destination' && CONFIGURATION.test(text));
  if (removed === undefined || !cameBack) return [];
  const console = lines.filter(({ text }) => guestSeconds(text) !== undefined);
  const pressed = console.findLast((one) => one.side === 'source' && PRESS.test(one.text));
  const offset = aheadNs(console);
  const onGuests = (ns: number): number => ns - offset!;
  const bringUp = timeline.flatMap(({ what, at, facts }) =>
    what === 'bring-up' && offset !== undefined
      ? [{ step: facts?.step as BringUpStep, ns: onGuests(at) }]
      : [],
  );
  const evidence: Seen = {
    console,
    bringUp,
    firstPacketNs: firstPacketNs === undefined || offset === undefined ? undefined : onGuests(firstPacketNs),
  };
  const found: { readonly what: string; readonly ns: number }[] = [];
  let from = nsOf(pressed ?? removed);
  for (const { what, find } of MARKS) {
    const ns = find(evidence, from);
    if (ns === undefined || ns < from) continue;
    found.push({ what, ns });
    from = ns;
  }
  const begin = found[0]!.ns;
  return found.slice(1).map(({ what, ns }, i) => ({
    what,
    fromNs: found[i]!.ns - begin,
    toNs: ns - begin,
  }));
}

/**
 * How far the host's clock is ahead of the guest's at the destination: a line arrives soon after the guest said it, so that it is what
 * lies between for the quickest.
 */
function aheadNs(console: readonly ConsoleLine[]): number | undefined {
  const ahead = console.flatMap((one) =>
    one.side === 'destination' && one.atNs !== undefined ? [one.atNs - nsOf(one)] : [],
  );
  return ahead.length === 0 ? undefined : Math.min(...ahead);
}
