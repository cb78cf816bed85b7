/**
 * One of the two processes of the bare pump beside whole moves: RAM from a process to another that was started for it, over
 * connections that stand, straight into memory, and nothing else.
 */
import { fileURLToPath } from 'node:url';
import { builtFile } from '../../../vmm/built.js';
import { answerSteps } from '../asked-process.js';
import { BareReceiver, BareSender } from '../bare-pump.js';
import { fillRandom, makeMemory } from '../memory.js';

export interface BareSettings {
  readonly bytes: number;
  /** Of a destination: its memory was touched before. */
  readonly touched: boolean;
}

export type BareStep =
  | { readonly step: 'open'; readonly channels: number }
  | { readonly step: 'connect'; readonly ports: readonly number[] }
  | { readonly step: 'go' }
  | { readonly step: 'received' };

/** `dist/lab/bench/migrate/bare-process.js`. */
export const BARE_PROCESS = builtFile('lab/bench/migrate/bare-process.js');

function source({ bytes }: BareSettings): (step: BareStep) => Promise<unknown> {
  const memory = makeMemory(bytes);
  fillRandom(memory);
  let sender: BareSender | undefined;
  return async (step) => {
    if (step.step === 'open') {
      await sender?.close();
      sender = new BareSender(memory.buffer as SharedArrayBuffer, bytes, step.channels);
      return sender.ports;
    }
    return sender?.go();
  };
}

function destination({ bytes, touched }: BareSettings): (step: BareStep) => Promise<unknown> {
  const memory = makeMemory(bytes);
  if (touched) Buffer.from(memory.buffer).fill(1);
  let receiver: BareReceiver | undefined;
  return async (step) => {
    if (step.step === 'connect') {
      receiver = new BareReceiver(step.ports, bytes, memory.buffer as SharedArrayBuffer);
      return receiver.connected;
    }
    return receiver?.received();
  };
}

if (process.send !== undefined && process.argv[1] === fileURLToPath(BARE_PROCESS)) {
  const settings = JSON.parse(process.argv[3] ?? '{}') as BareSettings;
  answerSteps((process.argv[2] === 'source' ? source : destination)(settings));
}
