/** A thread of the fuzz: one run of one target, whose report it answers with. */
import { parentPort, workerData } from 'node:worker_threads';
import { DRIVERS, isDriver } from './drivers.js';
import { fuzzInputs } from './engine.js';
import { INPUT_TARGETS } from './targets.js';
import { tellingOf, type WatchedRun } from './watched.js';

const { target, seed, inputs, running } = workerData as WatchedRun;
const begins = tellingOf(running);
parentPort!.postMessage(
  isDriver(target)
    ? DRIVERS[target](seed, inputs, begins)
    : await fuzzInputs(INPUT_TARGETS[target](), seed, inputs, begins),
);
