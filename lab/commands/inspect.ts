/**
 * `ferry inspect`: explains a recorded migration stream, frame by frame. A recording is a folder: `control.bin` and a
 * `data-N.bin` for each channel; a single file of these will do as well.
 */

import { closeSync, openSync, readdirSync, readSync, statSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Command } from 'commander';
import { FerryError } from '../../base/errors.js';
import { ControlDescriber } from '../../migration/control-recording.js';
import { StreamDescriber } from '../../migration/pages/describe.js';
import { reasonOf } from '../../vmm/sockets/listening.js';
import { labErrors } from '../errors.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { parseWhole } from '../options/quantities.js';
import { describeDevice, deviceDataDescriber } from '../report/describe-device.js';

const CHUNK_BYTES = 1024 * 1024;
const MAGIC_BYTES = 8;

/** One file of a recording, explained. */
export interface Explained {
  readonly file: string;
  readonly lines: readonly string[];
  /** Whether what the file holds is a well-formed stream to its end. */
  readonly sound: boolean;
}

export function define(command: Command): void {
  command
    .argument('<stream>', "a recording's folder, or one file of it")
    .option(
      '--frames <n>',
      'page frames to show per data channel (default: 200)',
      optionValue('ferry inspect', '--frames', (text) => parseWhole(text, { max: 1e9 })),
    )
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Examples:
  ferry migrate --record recording
  ferry inspect recording                  everything, the control channel first
  ferry inspect recording/data-0.bin --frames 20

${exitStatuses('the recording is whole', ['refused', 'not-verified'])}`,
    )
    .action((stream: string) => {
      const { frames, json } = command.optsWithGlobals<{ frames?: number; json?: boolean }>();
      const explained = filesOf(stream).map((file) => explain(file, frames));
      if (json) process.stdout.write(`${JSON.stringify({ files: explained }, null, 2)}\n`);
      else {
        for (const { file, lines } of explained)
          process.stdout.write(`${basename(file)}\n${lines.map((line) => `  ${line}\n`).join('')}\n`);
      }
      const damaged = explained.filter(({ sound }) => !sound);
      if (damaged.length > 0) {
        throw labErrors.error('recording-damaged', { files: damaged.map(({ file }) => file).join(', ') });
      }
    });
}

function filesOf(stream: string): string[] {
  try {
    if (!statSync(stream).isDirectory()) return [stream];
    const names = readdirSync(stream).filter((name) => /^(control|data-\d+)\.bin$/.test(name));
    if (names.length === 0) throw unreadable(stream, 'there is no control.bin or data-N.bin in it');
    return names.sort().map((name) => join(stream, name));
  } catch (error) {
    throw error instanceof FerryError ? error : unreadable(stream, reasonOf(error), error);
  }
}

/** Explains one file in bounded memory, whatever is in it. */
export function explain(file: string, framesMax?: number): Explained {
  let descriptor: number;
  try {
    descriptor = openSync(file, 'r');
  } catch (error) {
    throw unreadable(file, reasonOf(error), error);
  }
  try {
    const chunk = new Uint8Array(CHUNK_BYTES);
    let length = readSync(descriptor, chunk);
    const start = chunk.subarray(0, Math.min(length, MAGIC_BYTES));
    const describer = StreamDescriber.recognises(start)
      ? new StreamDescriber(framesMax === undefined ? {} : { framesMax })
      : ControlDescriber.recognises(start)
        ? new ControlDescriber({ device: describeDevice, deviceData: deviceDataDescriber() })
        : undefined;
    if (describer === undefined)
      throw unreadable(file, 'it does not begin as a recorded control or data channel does');
    const lines: string[] = [];
    while (length > 0) {
      lines.push(...describer.push(chunk.subarray(0, length)));
      length = readSync(descriptor, chunk);
    }
    lines.push(...describer.end());
    return { file, lines, sound: !describer.failed };
  } catch (error) {
    throw (error as { syscall?: unknown }).syscall === undefined
      ? error
      : unreadable(file, reasonOf(error), error);
  } finally {
    closeSync(descriptor);
  }
}

function unreadable(path: string, reason: string, cause?: unknown): Error {
  return labErrors.error('recording-unreadable', { path, reason }, cause);
}
