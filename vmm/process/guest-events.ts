/** What a guest and its machine tell by themselves, as a VMM's monitors hear it. */
import { isFerryError } from '../../base/errors.js';
import { type QmpEvents, qomPathOf, vfioMigration } from '../monitor/protocol.js';
import type { ConsoleLog } from './console-log.js';
import type { GuestRun } from './guest-run.js';
import type { GuestEvents } from './ports.js';

/** Where it is told. */
export interface Tellers {
  readonly console: ConsoleLog;
  readonly emit: <K extends keyof QmpEvents>(name: K, data: QmpEvents[K]) => void;
  /** Something threw that must not. */
  readonly onDefect: (error: unknown) => void;
}

/** `tellsMigrations`: whether clients asked for the events of migrations. */
export function guestEvents(
  { console, emit, onDefect }: Tellers,
  guest: GuestRun,
  tellsMigrations: () => boolean,
): GuestEvents {
  return {
    console: (line) => console.push(line),
    consoleDropped: (lines) => console.lost(lines),
    device: (event) => {
      const { kind, device } = event;
      if (kind === 'failover-negotiated') emit('FAILOVER_NEGOTIATED', { 'device-id': device });
      if (kind === 'unplug-primary') emit('UNPLUG_PRIMARY', { 'device-id': device });
      if (kind === 'rx-filter') emit('NIC_RX_FILTER_CHANGED', { name: device, path: qomPathOf(device) });
      if (kind === 'vfio-state' && tellsMigrations()) {
        const data = vfioMigration(device, event.state);
        if (data !== undefined) emit('VFIO_MIGRATION', data);
      }
    },
    panicked: (error) => {
      console.flush();
      guest.ended('guest-panicked', error, () =>
        emit('GUEST_PANICKED', { action: 'pause', info: { type: 'ferry', desc: error.message } }),
      );
    },
    poweredOff: (reason) => {
      console.flush();
      guest.ended('shutdown', undefined, () => emit('SHUTDOWN', { guest: true, reason }));
    },
    broken: (error) => {
      console.flush();
      guest.ended('internal-error', error);
      // What is no error of the world is a defect of ours, which ends the process.
      if (!isFerryError(error)) onDefect(error);
    },
  };
}
