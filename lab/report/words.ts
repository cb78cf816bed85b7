/**
 * Figures in words. One place decides how sizes, rates, times and counts look, so that the table of one command can
 * be read against the table of another.
 */
import prettyBytes from 'pretty-bytes';
import { PAGE_BYTES } from '../../base/units.js';

/** Made when it is first needed: that takes as long as loading everything else of a help text. */
let count: Intl.NumberFormat | undefined;

/** `12,345`. */
export function formatCount(value: number): string {
  count ??= new Intl.NumberFormat('en-GB');
  return count.format(value);
}

/** `64.3 MiB`. */
export const formatBytes = (bytes: number): string => prettyBytes(bytes, { binary: true });

/** `1.9 GiB/s`: in the units of the sizes beside it, and as `--max-bandwidth` takes it. */
export const formatRate = (bytesPerSecond: number): string => `${formatBytes(bytesPerSecond)}/s`;

export const formatPages = (pages: number): string => formatBytes(pages * PAGE_BYTES);

/** Nanoseconds as `3.42 ms`, `0.87 ms`, `1.21 s`: three figures, never more precise than the clock deserves. */
export function formatTime(ns: number): string {
  const ms = ns / 1e6;
  if (ms >= 10_000) return `${(ms / 1e3).toFixed(1)} s`;
  if (ms >= 1000) return `${(ms / 1e3).toFixed(2)} s`;
  if (ms >= 100) return `${ms.toFixed(0)} ms`;
  if (ms >= 10) return `${ms.toFixed(1)} ms`;
  return `${ms.toFixed(2)} ms`;
}

/** `37 %`. */
export const formatPercent = (share: number): string => `${(share * 100).toFixed(0)} %`;

/** A bar of `width` cells, filled to `share` (0 to 1) in eighths of a cell. */
export function bar(share: number, width: number): string {
  const eighths = Math.round(Math.min(1, Math.max(0, share)) * width * 8);
  const full = '█'.repeat(eighths >> 3);
  const rest = eighths & 7;
  return (full + (rest === 0 ? '' : ' ▏▎▍▌▋▊▉'[rest])).padEnd(width);
}
