/**
 * The last words of a process: an error as people, or as a program with `--json`, shall see it, and the exit status.
 */
import { readFileSync } from 'node:fs';
import { SourceMap, type SourceMapPayload } from 'node:module';
import { pathToFileURL } from 'node:url';
import { FerryError } from '../../base/errors.js';
import { EXIT_STATUS } from '../../base/exit-status.js';

export interface Report {
  /** For standard error, line feed included. */
  readonly text: string;
  readonly exitStatus: number;
}

/**
 * What to print for `error`, and the status to exit with. A FerryError gives its words and advice; anything else is a
 * defect of ours, reported as one, with the place it happened at.
 */
export function reportOf(error: unknown, json: boolean): Report {
  if (error instanceof FerryError) {
    const text = json
      ? JSON.stringify({ error: error.toJSON() })
      : `ferry: ${error.message} [${error.code}]\n  ${error.advice}`;
    return { text: `${text}\n`, exitStatus: error.exitStatus };
  }
  const what = error instanceof Error ? `${error.name}: ${error.message}` : String(error);
  const place = error instanceof Error ? placeOf(error) : '';
  const advice = 'This is a defect of vf-ferry, not of yours; please report it with what led to it.';
  const text = json
    ? JSON.stringify({
        error: {
          code: 'defect',
          message: what,
          advice,
          exit: 'defect',
          exitStatus: EXIT_STATUS.defect,
          facts: { place },
        },
      })
    : `ferry: defect: ${what}${place === '' ? '' : ` (${place})`}\n  ${advice}`;
  return { text: `${text}\n`, exitStatus: EXIT_STATUS.defect };
}

/** The innermost place of ours in the error's stack, `vmm/process/vmm.ts:12:3`. */
function placeOf(error: Error): string {
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const places = frames.map((frame) => sourceOf(/([^\s()]+:\d+:\d+)\)?$/.exec(frame)?.[1] ?? ''));
  const ours = places.find((place) => !/^node:|\bbase\/errors\./.test(place)) ?? places[0] ?? '';
  return /(?:[^/]+\/){0,3}[^/]+$/.exec(ours)?.[0] ?? '';
}

/** The place in the source that a place in a bundle was made from, by the map beside it; any other place as it is. */
function sourceOf(place: string): string {
  // Modules go by URL, what is compiled ahead by path.
  const [, file, line, column] = /^(file:.*|\/.*):(\d+):(\d+)$/.exec(place) ?? [];
  if (file === undefined) return place;
  const url = file.startsWith('/') ? pathToFileURL(file).href : file;
  try {
    const map = new SourceMap(JSON.parse(readFileSync(new URL(`${url}.map`), 'utf8')) as SourceMapPayload);
    const entry = map.findEntry(Number(line) - 1, Number(column) - 1);
    if (!('originalSource' in entry)) return place;
    return `${new URL(entry.originalSource, url).pathname}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  } catch {
    return place;
  }
}
