/** Device models that are attacked access by access, by a driver that lies; each run is a machine. */
import { fuzzConfigAndBars } from '../../devices/nic82599/fuzz.js';
import { fuzzVtd } from '../../iommu/fuzz.js';
import { formatCount } from '../report/words.js';

export interface DriverReport {
  readonly seed: number;
  /** Accesses made. */
  readonly accesses: number;
  /** What was wrong, with the number of the access; empty if nothing was. */
  readonly failures: readonly string[];
  /** What the run met, for people; the figures themselves stand beside it. */
  readonly met: string;
}

type Driver = (seed: number, accesses: number, begins: (number: number) => void) => DriverReport;

function driveNic(seed: number, accesses: number, begins: (number: number) => void): DriverReport {
  const report = fuzzConfigAndBars(seed, accesses, undefined, begins);
  const { dmaRequests, dmaBlocked, framesSent, framesReceived } = report;
  const met =
    `${formatCount(dmaRequests)} DMA requests (${formatCount(dmaBlocked)} blocked), ` +
    `${formatCount(framesSent)} frames sent, ${formatCount(framesReceived)} received`;
  return { ...report, met };
}

function driveUnit(seed: number, accesses: number, begins: (number: number) => void): DriverReport {
  const report = fuzzVtd(seed, accesses, undefined, begins);
  const { translated, blocked, remapped, posted, descriptors, guardNamed } = report;
  const met =
    `${formatCount(translated)} translations (${formatCount(blocked)} blocked), ` +
    `${formatCount(remapped + posted)} interrupts, ${formatCount(descriptors)} descriptors` +
    (guardNamed ? ', writes judged in part' : '');
  return { ...report, met };
}

export const DRIVERS = { nic: driveNic, vtd: driveUnit } as const satisfies Record<string, Driver>;
export type DriverName = keyof typeof DRIVERS;
export const isDriver = (name: string): name is DriverName => Object.hasOwn(DRIVERS, name);
