/**
 * Nothing that the guest has answered is forgotten: no packet comes twice, out of order or with a wrong byte, and no more are lost
 * than were sent while nobody could take them.
 *
 * It does not check packets of other flows, nor that none was lost while the guest stood still, nor TCP.
 */
import type { Checker } from './happened.js';

/** On their way through switch, rings and guest at the moment of the blackout. */
const ON_THEIR_WAY = 8;
/** From when a NIC takes the packets of a guest's address until the guest's driver does: the driver waits 10 ms for its reset alone. */
const PATH_CHANGE_NS = 15e6;

export const networkLedger: Checker = {
  name: 'network-ledger',
  check: ({ during, second, later, packetRate, senderStallNs = 0, outages = 0, pathChanges = 0 }) => {
    const findings: string[] = [];
    for (const flow of [during, second?.during, later]) {
      const arrived = flow?.arrived;
      if (!arrived) continue;
      const { duplicated, reordered, corrupt, tooLate } = arrived;
      for (const [what, count] of Object.entries({ duplicated, reordered, corrupt, tooLate })) {
        if (count > 0) findings.push(`${count} packets of ${flow.remote} ${what}`);
      }
      const sentInNs = arrived.longestGapNs + senderStallNs;
      const changesNs = pathChanges * PATH_CHANGE_NS;
      const gapPackets =
        (1 + outages) * Math.ceil((sentInNs / 1e9) * packetRate) +
        Math.ceil((changesNs / 1e9) * packetRate) +
        ON_THEIR_WAY;
      if (arrived.lost > gapPackets) {
        findings.push(
          `${arrived.lost} packets of ${flow.remote} lost, of which a gap of ${arrived.longestGapNs} ns explains ${gapPackets}`,
        );
      }
    }
    return findings;
  },
};
