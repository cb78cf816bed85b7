/** What makes two campaigns one: results of the same seeds may be put together only if all of it is the same. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { CREW_WORKER, type CrewData } from './crew.js';
import { nameOfFault } from './fault.js';

/** Characters of a hash that tell builds and campaigns apart. */
const DIGITS = 16;

const hashOf = (...parts: readonly (string | Uint8Array)[]): string => {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(part).update('\0');
  return hash.digest('hex').slice(0, DIGITS);
};

/** Of the program that simulates, and of the guest that moves. */
export const buildOf = ({ imagePath }: Pick<CrewData, 'imagePath'>): string =>
  hashOf(readFileSync(CREW_WORKER), readFileSync(imagePath));

/** Of all that decides what comes of a seed. */
export const campaignOf = (data: CrewData): string =>
  hashOf(
    buildOf(data),
    JSON.stringify(data.plan?.map(nameOfFault) ?? null),
    JSON.stringify(Object.entries(data.parameters ?? {}).sort()),
    data.machine ?? '',
  );
