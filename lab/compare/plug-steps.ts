/** Where hot-plug's time goes inside the guest: what its console says, each line with the guest's own clock. */
import type { ConsoleLine } from '../move/check.js';
import { guestSeconds } from '../move/verdict.js';

export interface PlugStep {
  /** What the guest did from `fromNs` until `toNs`. */
  readonly what: string;
  /** On the guest's clock, which stands in the blackout; from the first step on. */
  readonly fromNs: number;
  readonly toNs: number;
}

/** A step ends with its line, and begins where the one before ended; the first begins with its own. */
interface StepLine {
  readonly side: ConsoleLine['side'];
  readonly what: string;
  readonly line: RegExp;
  /** The last such line counts, of those that come in a row. */
  readonly last?: boolean;
}

/** In their order. Those that a slot or a start does not have are missing. */
const LINES: readonly StepLine[] = [
  { side: 'source', what: 'asked to let it go', line: /pciehp: Slot\(\d+\): Button press: will power off/ },
  { side: 'source', what: 'blink, and driver lets go', line: /^\S* *\S*\] pci \S+: removed$/ },
  {
    side: 'destination',
    what: 'power off, and move',
    line: /pciehp: Slot\(\d+\): (Button press: will power on|Card present|Link Up)/,
  },
  {
    side: 'destination',
    what: 'presence and power',
    line: /pciehp: Slot\(\d+\): (Card present|Link Up)/,
    last: true,
  },
  { side: 'destination', what: 'wait for the link', line: /\] pci \S+: \[[0-9a-f]{4}:[0-9a-f]{4}\] type 00/ },
  { side: 'destination', what: 'configuration', line: /\] pci \S+: BAR \d+ \[mem/, last: true },
  { side: 'destination', what: 'probe, reset, mailbox', line: /Virtual Function$/ },
  {
    side: 'destination',
    what: 'address, rings, interrupts',
    line: /IP-Config: Complete|ipaddr=.* are back$/,
  },
  { side: 'destination', what: 'link of the interface', line: /NIC Link is Up/ },
];

/** The steps of a device that was unplugged at the source and plugged in at the destination; none of one that was not. */
export function plugSteps(console: readonly ConsoleLine[]): readonly PlugStep[] {
  const found: { readonly what: string; readonly ns: number }[] = [];
  let at = console.findLastIndex(({ side, text }) => side === 'source' && LINES[1]!.line.test(text));
  if (at < 0 || !console.some(({ side, text }) => side === 'destination' && LINES[4]!.line.test(text)))
    return [];
  const press = console
    .slice(0, at)
    .findLastIndex((one) => one.side === 'source' && LINES[0]!.line.test(one.text));
  if (press >= 0) at = press;
  for (const { side, what, line, last } of LINES) {
    const fits = (one: ConsoleLine | undefined): boolean =>
      one !== undefined && one.side === side && line.test(one.text);
    let next = console.findIndex((one, i) => i >= at && fits(one));
    if (next < 0) continue;
    while (last === true && fits(console[next + 1])) next++;
    at = next;
    found.push({ what, ns: Math.round(guestSeconds(console[next]!.text)! * 1e9) });
  }
  const begin = found[0]!.ns;
  return found.slice(1).map(({ what, ns }, i) => ({
    what,
    fromNs: found[i]!.ns - begin,
    toNs: ns - begin,
  }));
}
