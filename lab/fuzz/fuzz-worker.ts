/** A thread of the fuzz: one run of one target, whose report it answers with. */
import { parentPort, workerData } from 'node:worker_threads';
import { fuzzInputs } from './engine.js';
import { INPUT_TARGETS } from './targets.js';
import { tellingOf, type WatchedRun } from './watched.js';

const { target, seed, inputs, running } = workerData as WatchedRun;
parentPort!.postMessage(await fuzzInputs(INPUT_TARGETS[target](), seed, inputs, tellingOf(running)));
