/**
 * Entry of a VMM process that a program spawns: `node main.js OPTIONS [FD]`, with `VmmOptions` as JSON, and the file
 * descriptor of the spawner's monitor connection. People use `ferry vmm`.
 */
import { loadVmm } from './load.js';

function parse(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? '') as unknown;
  } catch {
    return undefined;
  }
}

const { runVmm } = loadVmm();
const [, , optionsText, fdText] = process.argv;
process.exitCode = await runVmm(parse(optionsText), {
  notices: false,
  ...(fdText === undefined ? {} : { ownerFd: Number(fdText) }),
});
