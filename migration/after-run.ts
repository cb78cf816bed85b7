/**
 * Devices once the guest runs at the destination: there those are started that come after the guest, here what was kept of
 * them is let go. The migration can't fail any more; what goes wrong is noted on both sides.
 */
import { isFerryError } from '../base/errors.js';
import { settleAll } from '../base/settle.js';
import { type Duration, nanoseconds } from '../base/units.js';
import type { Chosen, OnDevice } from './approaches.js';
import type { Destination } from './destination-context.js';
import { malformed } from './frame.js';
import { NEVER, type Wait, withPatience } from './patience.js';
import type { SourceMachine } from './ports.js';
import type { Source } from './source-context.js';
import type { DeviceStart } from './start/start.js';

/** At the destination: the guest gets its devices; how that went is told to the source, and a failure noted. */
export async function startDevices(destination: Destination): Promise<void> {
  const { hello, starts, talk } = destination;
  const coming = hello?.devices ?? [];
  const devices = await settleAll(
    coming.map(async ({ name }) => {
      const start = starts.find((one) => one.name === name);
      if (start === undefined) return { name, ns: 0, problem: 'there is no such device at the destination' };
      return { name, ...(await startDevice(destination, start)) };
    }),
  );
  talk.post({ kind: 'devices-started', devices });
}

async function startDevice(
  destination: Destination,
  { name, does }: OnDevice<DeviceStart>,
): Promise<{ readonly ns: Duration; readonly problem: string | null }> {
  const { chosen, scheduler, timeline, parameters } = destination;
  const wait = {
    effort: 'start',
    approach: chosen?.start.name ?? '',
    device: name,
    duration: parameters.duration('deviceStartTimeoutMs'),
    grace: parameters.duration('answerTimeoutMs'),
  };
  const from = timeline.now();
  let problem: string | null = null;
  try {
    await withPatience(scheduler, wait, async (patience) => does.afterRun?.(patience));
  } catch (error) {
    if (!isFerryError(error)) throw error;
    destination.afterwards ??= error.toJSON();
    problem = error.message.slice(0, 1024);
  }
  const ns = timeline.span(name, 'start', from, problem === null ? undefined : { failed: problem });
  return { ns, problem };
}

/** How long a tracking may take to begin or to end where the guest is asked for it. */
export const trackingWait = ({
  chosen,
  machine,
  parameters,
}: Pick<Source, 'parameters'> & {
  readonly chosen: Pick<Chosen, 'tracking'> | undefined;
  readonly machine: Pick<SourceMachine, 'devices'>;
}): Wait => ({
  effort: 'tracking',
  approach: chosen?.tracking.name ?? '',
  device: machine.devices.map(({ name }) => name).join(', ') || 'the machine',
  duration: parameters.duration('requestTimeoutMs'),
  grace: parameters.duration('answerTimeoutMs'),
});

/** At the destination: what the tracking had switched on in the guest is switched off; a failure is noted. */
export async function endTracking(destination: Destination): Promise<void> {
  const { chosen, machine, scheduler } = destination;
  const arrived = chosen?.tracking.arrived;
  if (arrived === undefined) return;
  try {
    await withPatience(scheduler, trackingWait(destination), (patience) =>
      arrived(machine.devices, { patience, givenUp: NEVER }),
    );
  } catch (error) {
    if (!isFerryError(error)) throw error;
    destination.afterwards ??= error.toJSON();
  }
}

/**
 * At the source: hears how the devices came to work where they are started after the guest, and lets go what was kept of
 * them, whatever was heard.
 */
export async function finishDevices(source: Source): Promise<void> {
  const { stats, stops } = source;
  const noted = (error: unknown): void => {
    if (!isFerryError(error)) throw error;
    stats.wentWrongAfterwards(error);
  };
  await hearOfDevices(source).catch(noted);
  await settleAll(stops.map(async ({ does }) => does.release?.())).catch(noted);
}

async function hearOfDevices({ talk, stats, chosen, machine, parameters }: Source): Promise<void> {
  if (chosen?.start.afterRun !== true) return;
  // The destination gives its approach this patience and this grace; what it has to say is on its way then.
  const patience = parameters.duration('deviceStartTimeoutMs') + 2 * parameters.duration('answerTimeoutMs');
  const report = await talk.expect(['devices-started'], nanoseconds(patience));
  const told = report.devices.map(({ name }) => name).join(', ');
  const known = machine.devices.map(({ name }) => name).join(', ');
  if (told !== known) throw malformed('devices-started', 'devices', `${told || 'none'}, not ${known}`);
  stats.devicesStarted(report);
}
