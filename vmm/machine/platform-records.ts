/**
 * Records of what belongs to the machine rather than to one of its devices: its clock, and the local APICs' command
 * registers. They travel in front of the devices' records.
 */
import type { DeviceRecord } from '../../base/device-record.js';
import { f64, layout, u32 } from '../../base/layout.js';
import { vmmErrors } from '../errors.js';
import type { VcpuExtra } from '../vcpu/core.js';

const CLOCK = { name: 'clock', version: 1 };
const LAPIC = { name: 'lapic', version: 2 };

export const PLATFORM_RECORDS: readonly { readonly name: string; readonly version: number }[] = [
  CLOCK,
  LAPIC,
];

const clockState = layout('clock_state', {
  /** The host's wall clock when the machine's clock was stopped, ns since 1970. */
  stoppedAtWallNs: f64(),
});

const lapicState = layout('lapic_state', { icrHigh: u32(), icrLow: u32() });

export interface PlatformState {
  readonly stoppedAtWallNs: number;
  readonly vcpus: readonly VcpuExtra[];
}

export function encodePlatform(state: PlatformState): DeviceRecord[] {
  const lapics = new Uint8Array(state.vcpus.length * lapicState.size);
  const view = new DataView(lapics.buffer);
  state.vcpus.forEach(({ icrHigh, icrLow }, i) => {
    lapicState.write(view, i * lapicState.size, { icrHigh: icrHigh >>> 0, icrLow: icrLow >>> 0 });
  });
  return [
    { ...CLOCK, state: clockState.encode({ stoppedAtWallNs: state.stoppedAtWallNs }) },
    { ...LAPIC, state: lapics },
  ];
}

/** Throws `vmm/state-refused`. */
export function decodePlatform(records: readonly DeviceRecord[], vcpus: number): PlatformState {
  const take = (at: number, { name, version }: typeof CLOCK, bytes: number): DataView => {
    const record = records[at];
    const refuse = (problem: string): never => {
      throw vmmErrors.error('state-refused', { record: `device ${name}`, problem });
    };
    if (record === undefined || record.name !== name) return refuse(`there is none at place ${at}`);
    if (record.version !== version) return refuse(`version ${record.version} instead of ${version}`);
    if (record.state.length !== bytes) return refuse(`${record.state.length} bytes instead of ${bytes}`);
    return new DataView(record.state.buffer, record.state.byteOffset, bytes);
  };
  const clock = clockState.read(take(0, CLOCK, clockState.size), 0);
  if (!(clock.stoppedAtWallNs >= 0 && clock.stoppedAtWallNs < Infinity)) {
    const problem = `stopped at ${clock.stoppedAtWallNs}`;
    throw vmmErrors.error('state-refused', { record: `device ${CLOCK.name}`, problem });
  }
  const lapics = take(1, LAPIC, vcpus * lapicState.size);
  return {
    stoppedAtWallNs: clock.stoppedAtWallNs,
    vcpus: Array.from({ length: vcpus }, (_, i) => {
      const { icrHigh, icrLow } = lapicState.read(lapics, i * lapicState.size);
      return { icrHigh: icrHigh | 0, icrLow: icrLow | 0 };
    }),
  };
}

/** A platform record in words, for `ferry inspect`; undefined if it is not one of these. Never throws for bad bytes. */
export function describePlatform(record: DeviceRecord): readonly (readonly [string, string])[] | undefined {
  const { name, state } = record;
  const view = new DataView(state.buffer, state.byteOffset, state.byteLength);
  if (name === CLOCK.name) {
    if (state.length < clockState.size) return [['record', 'too short']];
    const { stoppedAtWallNs } = clockState.read(view, 0);
    const at = new Date(stoppedAtWallNs / 1e6);
    const shown = Number.isNaN(at.getTime()) ? String(stoppedAtWallNs) : at.toISOString();
    return [['stopped at', shown]];
  }
  if (name === LAPIC.name) {
    return Array.from({ length: Math.floor(state.length / lapicState.size) }, (_, i) => {
      const { icrHigh, icrLow } = lapicState.read(view, i * lapicState.size);
      const shown = [icrHigh, icrLow].map((half) => half.toString(16).padStart(8, '0'));
      return [`vcpu${i} ICR`, `0x${shown.join('_')}`] as const;
    });
  }
  return undefined;
}
