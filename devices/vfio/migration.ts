/**
 * VFIO migration version 2 of one device: its state, the steps between states, and the data sessions that they open.
 *
 * Everything is synchronous: when `setState` returns, the device is there. A step that fails leaves ERROR, because what
 * the device is in the middle of a step nobody can say; what it *holds* is as it was, since restoring is all or
 * nothing. Only `reset` leads out of ERROR.
 */
import { unreachable } from '../../base/errors.js';
import { deviceErrors } from '../errors.js';
import type { MigratableDevice } from './migratable.js';
import {
  type DataSession,
  type PrecopyInfo,
  ResumingSession,
  SavingSession,
  wholeStreamBytes,
} from './session.js';
import {
  type DeviceState,
  ERROR,
  isSupported,
  MIGRATION_ALL,
  MIGRATION_STOP_COPY,
  nextState,
  PRE_COPY,
  PRE_COPY_P2P,
  RUNNING,
  STATES,
  STOP_COPY,
  stateName,
} from './states.js';

export class VfioMigration {
  readonly device: MigratableDevice;
  /** Answer to VFIO_DEVICE_FEATURE_MIGRATION. */
  readonly flags: number;
  private stateNow: DeviceState = RUNNING;
  private sessionNow: SavingSession | ResumingSession | undefined;

  /** The device is running. `flags` are MIGRATION_*; STOP_COPY is always among them. */
  constructor(device: MigratableDevice, flags = MIGRATION_ALL) {
    this.device = device;
    this.flags = flags | MIGRATION_STOP_COPY;
  }

  get state(): DeviceState {
    return this.stateNow;
  }

  /** The session of the state that the device is in, if it is one with data. */
  get session(): DataSession | undefined {
    return this.sessionNow;
  }

  /**
   * Takes the device to `to`, over as many steps as that needs. Returns the session that this opened, if any.
   * Throws a FerryError: `vfioRefused` (EINVAL) with nothing changed if there is no such state or way; what a step
   * failed with, and then the state is ERROR.
   */
  setState(to: number): DataSession | undefined {
    const { flags } = this;
    if (!isSupported(to, flags)) throw this.refused(to, 'this device has no such state');
    if (to === this.stateNow && to !== ERROR) return undefined;
    if (nextState(this.stateNow, to, flags) === undefined) {
      throw this.refused(to, `there is no way from ${stateName(this.stateNow)}`);
    }
    const before = this.sessionNow;
    while (this.stateNow !== to) this.step(nextState(this.stateNow, to, flags)!);
    return this.sessionNow === before ? undefined : this.sessionNow;
  }

  /** VFIO_DEVICE_RESET: the device as after power-on, running, whatever state it was in. */
  reset(): void {
    this.closeSession();
    this.device.reset();
    this.device.setActivity('running');
    this.stateNow = RUNNING;
  }

  /** VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: bytes that are still to be read if the device stops now. */
  get stopCopyBytes(): number {
    const { sessionNow } = this;
    return sessionNow instanceof SavingSession ? sessionNow.stopCopyBytes : wholeStreamBytes(this.device);
  }

  /** VFIO_MIG_GET_PRECOPY_INFO. Throws `vfioRefused` (EINVAL) outside the pre-copy states. */
  get precopyInfo(): PrecopyInfo {
    const { sessionNow, stateNow } = this;
    if (sessionNow instanceof SavingSession && (stateNow === PRE_COPY || stateNow === PRE_COPY_P2P)) {
      return sessionNow.precopyInfo;
    }
    throw deviceErrors.error('vfioRefused', {
      device: this.device.name,
      request: 'MIG_GET_PRECOPY_INFO',
      problem: `the device is in ${stateName(stateNow)}`,
      errno: 'EINVAL',
    });
  }

  private step(to: DeviceState): void {
    const from = this.stateNow;
    this.stateNow = ERROR;
    try {
      const session = STATES[from]!.session;
      // A state is taken over before anything may run on it.
      if (session === 'resuming') (this.sessionNow as ResumingSession).finish();
      this.device.setActivity(STATES[to]!.activity);
      if (STATES[to]!.session !== session) {
        this.closeSession();
        this.openSession(to);
      } else if (to === STOP_COPY) {
        (this.sessionNow as SavingSession).finish();
      }
    } catch (error) {
      this.closeSession();
      throw error;
    }
    this.stateNow = to;
  }

  private openSession(to: DeviceState): void {
    const kind = STATES[to]!.session;
    if (kind === undefined) return;
    if (kind === 'resuming') this.sessionNow = new ResumingSession(this.device);
    else if (kind === 'saving') this.sessionNow = new SavingSession(this.device, to !== STOP_COPY);
    else unreachable(kind);
  }

  private closeSession(): void {
    this.sessionNow?.close();
    this.sessionNow = undefined;
  }

  private refused(to: number, problem: string) {
    return deviceErrors.error('vfioRefused', {
      device: this.device.name,
      request: `state ${stateName(to)}`,
      problem,
      errno: 'EINVAL',
    });
  }
}
