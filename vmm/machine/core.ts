/**
 * What every part of a machine works on: its drivers, the state that it is in, the guest in it, and the two operations
 * that all others come down to, stopping and starting. Nothing here is asked for by a user; see `machine.ts`.
 */

import type { CodeVariant } from '../../base/abi/image.js';
import { type FerryError, invariant } from '../../base/errors.js';
import { settleAll } from '../../base/settle.js';
import { type Duration, instant, nanoseconds } from '../../base/units.js';
import type { PowerRequest } from '../../devices/power/device.js';
import { POWER_BUTTON_NAME, type PowerButton } from '../../devices/power/device.js';
import { SERIAL_PORTS, type SerialPortName } from '../../devices/serial/registers.js';
import type { AssignedDevice, MachineDescription, MachineState } from '../../migration/ports.js';
import type { Timeline } from '../../migration/timeline.js';
import { AgentClient } from '../agent/client.js';
import type { SerialLine } from '../agent/serial-line.js';
import { vmmErrors } from '../errors.js';
import type { PassthroughDevice } from '../passthrough/device.js';
import { type DeviceEvent, factsOf } from '../passthrough/events.js';
import type { PassthroughHost } from '../passthrough/host.js';
import type { HostIommu } from '../passthrough/iommu.js';
import type { NetworkControl } from '../passthrough/network-control.js';
import {
  assignedName,
  assignedNames,
  IOMMU_NAME,
  NETWORK_NAME,
  NIC_NAME,
  virtioName,
} from '../passthrough/records.js';
import type { VfDevice } from '../passthrough/vf-device.js';
import type { VirtioNic } from '../passthrough/virtio-nic.js';
import { explainCrash, type GuestCrash } from '../vcpu/crash.js';
import {
  assignedDevice,
  PLATFORM_NAME,
  type PlatformCalls,
  type Remote,
  remote,
  serialLine,
} from './device-calls.js';
import { deviceRecords } from './devices.js';
import type { DriverEvents, MachineDrivers } from './drivers.js';
import { MachineEvents, type MachineRunState } from './events.js';
import { type Guest, guestInRam } from './guest-in-ram.js';
import type { MachineOptions } from './options.js';
import { encodePlatform, PLATFORM_RECORDS } from './platform-records.js';
import { vcpusOnTimeline } from './vcpus-on-timeline.js';

const NS_PER_MS = 1e6;

export class MachineCore {
  readonly options: MachineOptions;
  readonly drivers: MachineDrivers;
  /** In the thread that owns them: the platform's devices, the host's NIC, what was assigned, of that the NIC's, and our own. */
  readonly platform: Remote<PlatformCalls>;
  readonly nic: Remote<PassthroughHost> | undefined;
  readonly powerButton: Remote<PowerButton>;
  /** Its NICs as stations of a network. */
  readonly network: Remote<NetworkControl> | undefined;
  readonly assigned: readonly Remote<PassthroughDevice>[];
  readonly functions: readonly Remote<VfDevice>[];
  readonly virtio: readonly Remote<VirtioNic>[];
  readonly devices: readonly AssignedDevice[];
  /** By the names of the ports. */
  readonly serial: (port: SerialPortName) => SerialLine;
  readonly events = new MachineEvents();
  /** The guest and its code; undefined before `boot`, and before enough of a guest that comes has arrived. */
  guest: Guest | undefined;
  /** The guest that is on its way here, as the source described it. */
  expected: MachineDescription | undefined;
  /** The code that the vCPUs run. */
  variant: CodeVariant | undefined;
  /** The wall clock when the vCPUs last stopped, ns. */
  stoppedAtWallNs = 0;
  /** How long the slowest of the assigned devices took to start the last time. */
  deviceStart: Duration | undefined;
  timeline: Timeline | undefined;
  #state: MachineRunState = 'empty';
  #ended: Promise<void> | undefined;
  /** Operations that change whether vCPUs run happen one after the other. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(options: MachineOptions, makeDrivers: (events: DriverEvents) => MachineDrivers) {
    this.options = options;
    const drivers = makeDrivers(this.#driverEvents());
    this.drivers = { ...drivers, vcpus: vcpusOnTimeline(drivers.vcpus, () => this.timeline) };
    this.platform = remote(drivers.devices, PLATFORM_NAME);
    const { nic } = options;
    this.powerButton = remote(drivers.devices, POWER_BUTTON_NAME);
    this.nic = nic && remote(drivers.devices, NIC_NAME);
    this.network = nic && remote(drivers.devices, NETWORK_NAME);
    const names = nic === undefined ? [] : assignedNames(nic);
    this.assigned = names.map((name) => remote(drivers.devices, name));
    this.serial = (port) => serialLine(port, drivers.devices, this.events);
    this.functions = (nic?.macs ?? []).map((_, i) => remote(drivers.devices, assignedName(i)));
    this.virtio = (nic?.virtio ?? []).map((_, i) => remote(drivers.devices, virtioName(i)));
    const domain = remote<HostIommu>(drivers.devices, IOMMU_NAME);
    const agent = new AgentClient(this.serial(SERIAL_PORTS[1]), () =>
      Math.floor(drivers.wallNow() / NS_PER_MS),
    );
    this.devices = names.map((name) =>
      assignedDevice(name, drivers.devices, domain, this.events, nic!, agent),
    );
  }

  get state(): MachineRunState {
    return this.#state;
  }

  get description(): MachineDescription {
    const { ram, range } = this.drivers;
    const guest = this.guest;
    const { imageGpa, imageBytes, imageHash } =
      guest === undefined
        ? (this.expected ?? { imageGpa: 0, imageBytes: 0, imageHash: '' })
        : { ...guest, imageHash: guest.code.hash };
    return {
      ramBytes: ram.u8.length,
      vcpus: range.vcpus.length,
      migratedPages: range.firstPage,
      imageGpa,
      imageBytes,
      imageHash,
      devices: [...PLATFORM_RECORDS, ...deviceRecords(this.options.nic)],
    };
  }

  /** From here on, until `undefined`, what the vCPUs are asked to do is put down as well. */
  observe(timeline: Timeline | undefined): void {
    this.timeline = timeline;
  }

  /** Stops every vCPU at a safepoint, and the devices: all of the machine stands, or all of it goes on. */
  pause(): Promise<void> {
    return this.exclusively(async () => {
      this.require('pause', 'running', 'paused');
      if (this.#state === 'paused') return;
      try {
        await this.stop();
      } catch (error) {
        // What did stand goes on. If that fails too, it is told the same way the next time; this is what came first.
        if (this.#state === 'running') await this.start().catch(() => undefined);
        throw error;
      }
      this.require('pause', 'running');
      this.enter('paused');
    });
  }

  /** All of the machine goes on, or none of it. */
  resume(): Promise<void> {
    return this.exclusively(async () => {
      this.require('resume', 'paused', 'running');
      if (this.#state === 'running') return;
      await this.start();
    });
  }

  /** vCPUs, platform devices and clock, while the guest stands. */
  async save(): Promise<MachineState> {
    this.require('be saved', 'paused', 'loaded');
    const { vcpus, clock } = this.drivers;
    const saving = this.platform.save();
    // After the devices, which may have requested interrupts for what the vCPUs had asked of them before the pause; those of a
    // guest that was loaded have nothing to do yet.
    if (this.#state === 'paused') await saving;
    const [records, saved] = await Promise.all([saving, settleAll(vcpus.map((vcpu) => vcpu.save()))]);
    const platform = encodePlatform({
      stoppedAtWallNs: this.stoppedAtWallNs,
      vcpus: saved.map(({ extra }) => extra),
    });
    return {
      vcpus: saved.map(({ record }) => record),
      devices: [...platform, ...records],
      clockNs: clock.now(),
    };
  }

  /** Ends all threads; the machine is of no use afterwards. Idempotent. */
  destroy(): Promise<void> {
    if (this.#state !== 'destroyed') this.enter('destroyed');
    this.#ended ??= this.drivers.destroy();
    return this.#ended;
  }

  #put(event: DeviceEvent): void {
    const { timeline } = this;
    if (timeline === undefined) return;
    // The thread that says when has another zero.
    const agoNs = event.kind === 'bring-up' ? this.drivers.hostNow() - event.at : 0;
    timeline.moment(event.device, event.kind, factsOf(event), instant(timeline.now() - agoNs));
  }

  #driverEvents(): DriverEvents {
    return {
      console: ({ lines, dropped }) => {
        if (dropped > 0) this.events.emit({ kind: 'console-dropped', lines: dropped });
        for (const line of lines) this.events.emit({ kind: 'console', line });
      },
      power: (request) => this.#power(request),
      device: (event) => {
        this.#put(event);
        this.events.emit({ kind: 'device', event });
      },
      crashed: (crash) => this.#crashed(this.#explain(crash)),
      unresponsive: (error) => this.#crashed(error),
      returned: (vcpu) => this.events.emit({ kind: 'vcpu-off', vcpu }),
      fault: (vcpu, page) => this.events.emit({ kind: 'fault', vcpu, page }),
      failed: (error) => {
        if (this.#state === 'destroyed') return;
        this.enter('failed');
        this.events.emit({ kind: 'failed', error });
      },
    };
  }

  #power(request: PowerRequest): void {
    if (this.#state !== 'running') return;
    if (request === 'panic') {
      this.#endGuest('crashed');
      this.events.emit({ kind: 'panic' });
      return;
    }
    this.#endGuest('off');
    this.events.emit({ kind: request === 'off' ? 'power-off' : 'power-reset' });
  }

  #crashed(error: FerryError): void {
    if (this.#state === 'destroyed') return;
    if (this.#state !== 'crashed') this.#endGuest('crashed');
    this.events.emit({ kind: 'crash', error });
  }

  /** The guest is over; what still runs of it is stopped in the background. */
  #endGuest(state: 'off' | 'crashed'): void {
    this.enter(state);
    void this.exclusively(() => this.stop()).catch(() => undefined);
  }

  #explain(crash: GuestCrash): FerryError {
    const image = this.guest?.code.image;
    const code = this.variant === undefined ? undefined : image?.code[this.variant];
    const { reason, where } = explainCrash(crash, code, image?.meta.functionNames ?? []);
    return vmmErrors.error('guest-crashed', { vcpu: crash.vcpu, reason, where });
  }

  /** The vCPUs stand, and the devices, unless a migration has stopped them; then the clock does, whatever failed. */
  async stop(): Promise<void> {
    const { vcpus, clock, wallNow } = this.drivers;
    try {
      await settleAll([
        ...[...this.assigned, ...this.virtio].map((device) => device.halt()),
        ...vcpus.map((vcpu) => vcpu.pause()),
      ]);
    } finally {
      clock.stop();
      this.stoppedAtWallNs = wallNow();
    }
  }

  /** The clock goes on, and everything else with it. */
  async start(): Promise<void> {
    const { vcpus, clock, wallNow } = this.drivers;
    const stood = Math.max(0, wallNow() - this.stoppedAtWallNs);
    clock.start(clock.now() + Math.floor(stood * (this.options.clockCatchUp ?? 0)));
    this.enter('running');
    try {
      await settleAll([
        ...(this.assigned.length === 0 ? [] : [this.#startDevices()]),
        ...this.virtio.map((device) => device.start()),
        ...vcpus.map((vcpu) => vcpu.resume()),
      ]);
    } catch (error) {
      // A guest runs with all of its machine, or not at all: then the next attempt begins from where this one did.
      if (this.#state === 'running') {
        await this.stop();
        this.enter('paused');
      }
      throw error;
    }
  }

  async #startDevices(): Promise<void> {
    const { hostNow } = this.drivers;
    const from = hostNow();
    await settleAll(this.assigned.map((device) => device.start()));
    this.deviceStart = nanoseconds(hostNow() - from);
  }

  /** The vCPUs go on with the other variant of their code. */
  async swapTo(variant: CodeVariant): Promise<void> {
    invariant(this.guest !== undefined, 'a machine that runs has a guest');
    const code = await this.guest.code.variant(variant);
    await Promise.all(this.drivers.vcpus.map((vcpu) => vcpu.setCode(code)));
    this.variant = variant;
  }

  /** Compiles the image in RAM and hands it to the vCPUs. */
  async takeCode(incoming: MachineDescription): Promise<Guest> {
    const guest = guestInRam(incoming, this.drivers);
    const run = await guest.code.variant('run');
    await Promise.all(this.drivers.vcpus.map((vcpu) => vcpu.setCode(run)));
    this.variant = 'run';
    return guest;
  }

  /** Throws `vmm/machine-state` unless the machine is in one of `states`. */
  require(operation: string, ...states: MachineRunState[]): void {
    if (states.includes(this.#state)) return;
    throw vmmErrors.error('machine-state', { operation, state: this.#state });
  }

  enter(state: MachineRunState): void {
    const previous = this.#state;
    this.#state = state;
    if (state !== previous) this.events.emit({ kind: 'state', state, previous });
  }

  /** Runs `operation` after all those before it. */
  exclusively<T>(operation: () => Promise<T>): Promise<T> {
    const result = this.#turn.then(operation);
    this.#turn = result.catch(() => undefined);
    return result;
  }
}
