/** A thread of a campaign: runs the seeds that it is sent, and answers with what came of them. */
import { readFileSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { Campaign, newTally } from './campaign.js';
import type { CrewData, Portion } from './crew.js';
import { shapeOfName } from './shape.js';

const { imagePath, plan, parameters, machine } = workerData as CrewData;
const image = readFileSync(imagePath);
const shape = machine === undefined ? undefined : shapeOfName(machine);
const opening = Campaign.open({
  image,
  ...(plan && { plan }),
  ...(parameters && { parameters }),
  ...(shape && { machine: shape }),
});

parentPort!.on('message', async ({ from, to }: Portion) => {
  const campaign = await opening;
  const tally = newTally();
  for (let seed = from; seed <= to; seed++) await campaign.run(seed, tally);
  parentPort!.postMessage(tally);
});
