/**
 * A machine: RAM, vCPUs, devices and clock as one thing that boots, pauses, is saved and ends; and, by its two roles, the
 * source and the destination of a migration. It runs on drivers and can't tell threads from simulation.
 */
import type { CodeVariant } from '../../base/abi/image.js';
import type { Cancel } from '../../base/clock.js';
import type { SerialPortName } from '../../devices/serial/registers.js';
import type { AssignedDevice, MachineDescription, MachineState } from '../../migration/ports.js';
import type { SerialLine } from '../agent/serial-line.js';
import type { PassthroughHost } from '../passthrough/host.js';
import type { NetworkControl } from '../passthrough/network-control.js';
import type { PciInfo } from '../passthrough/pci-info.js';
import type { PassthroughReport } from '../passthrough/report.js';
import type { VcpuCounters, VcpuPending, VcpuState } from '../threads/control-block.js';
import type { VcpuCode } from '../vcpu/code.js';
import type { VcpuHandle } from '../vcpu/handle.js';
import { MachineCore } from './core.js';
import type { Remote } from './device-calls.js';
import type { DriverEvents, MachineDrivers } from './drivers.js';
import type { MachineEvent, MachineRunState } from './events.js';
import { GuestCode } from './guest-code.js';
import { type IncomingRole, incomingRole } from './incoming.js';
import { loadImage } from './loader.js';
import type { MachineOptions } from './options.js';
import { type OutgoingRole, outgoingRole } from './outgoing.js';

export interface VcpuQuery {
  readonly index: number;
  readonly state: VcpuState;
  /** The host kernel's thread id, 0 if it has none of its own or the host does not tell. */
  readonly threadId: number;
  /** CPU time of its thread in ns; undefined where the host does not tell. */
  readonly cpuTimeNs: number | undefined;
  readonly counters: VcpuCounters;
  readonly pending: VcpuPending;
}

export interface MachineQuery {
  readonly state: MachineRunState;
  /** The guest's own name; undefined without a guest. */
  readonly guest: string | undefined;
  /** The virtual clock. */
  readonly clockNs: number;
  readonly variant: CodeVariant | undefined;
  readonly vcpus: readonly VcpuQuery[];
}

export class Machine {
  readonly #core: MachineCore;
  /** Its guest leaves. */
  readonly outgoing: OutgoingRole;
  /** A guest comes. */
  readonly incoming: IncomingRole;

  /** For the factories; `makeDrivers` gets where drivers report what happens by itself. */
  constructor(options: MachineOptions, makeDrivers: (events: DriverEvents) => MachineDrivers) {
    this.#core = new MachineCore(options, makeDrivers);
    this.outgoing = outgoingRole(this.#core);
    this.incoming = incomingRole(this.#core);
  }

  on(listener: (event: MachineEvent) => void): Cancel {
    return this.#core.events.on(listener);
  }

  get state(): MachineRunState {
    return this.#core.state;
  }

  get ram(): Uint8Array {
    return this.#core.drivers.ram.u8;
  }

  /** The linear memory behind `ram`, for kernels of other threads. */
  get memory(): WebAssembly.Memory {
    return this.#core.drivers.ram.memory;
  }

  get description(): MachineDescription {
    return this.#core.description;
  }

  get devices(): readonly AssignedDevice[] {
    return this.#core.devices;
  }

  /** The host's end of a serial port of the guest's. */
  serial(port: SerialPortName): SerialLine {
    return this.#core.serial(port);
  }

  /** Presses the power button; false if the guest does not want to hear of it. */
  pressPowerButton(): Promise<boolean> {
    return this.#core.powerButton.press();
  }

  /** What the host knows of each of the guest's NICs. */
  async nicReports(): Promise<readonly PassthroughReport[]> {
    const { functions, virtio } = this.#core;
    return Promise.all([...functions, ...virtio].map((device) => device.report()));
  }

  /** Its NICs as stations of a network; undefined without any. */
  get network(): Remote<NetworkControl> | undefined {
    return this.#core.network;
  }

  /** Configuration space of all PCI functions, in the format of `lspci -F`; undefined without any. */
  async pciDump(): Promise<string | undefined> {
    return this.#core.nic?.dump();
  }

  /** What the guest has made of its PCI Express: nothing without any. */
  async pci(): Promise<readonly PciInfo[]> {
    return (await this.#core.nic?.pci()) ?? [];
  }

  /** See `PassthroughHost.injectError`. */
  async injectError(device: string, error: string): Promise<ReturnType<PassthroughHost['injectError']>> {
    return this.#core.nic?.injectError(device, error);
  }

  query(): MachineQuery {
    const { vcpus, clock } = this.#core.drivers;
    return {
      state: this.state,
      guest: this.#core.guest?.code.image.meta.name,
      clockNs: clock.now(),
      variant: this.#core.variant,
      vcpus: vcpus.map(({ index, state, threadId, counters, pending }) => ({
        index,
        state,
        threadId,
        cpuTimeNs: threadId === 0 ? undefined : this.#core.drivers.threadCpuNs(threadId),
        counters,
        pending,
      })),
    };
  }

  /**
   * Loads `image` and starts vCPU 0, or leaves it paused at its entry. Rejects with an error of the image, or
   * `vmm/machine-option` for the command line; the machine is then as before.
   */
  boot(image: Uint8Array, commandLine = '', { paused = false } = {}): Promise<void> {
    const core = this.#core;
    return core.exclusively(async () => {
      core.require('boot', 'empty');
      await core.drivers.devices.ready();
      const { ram, range, vcpus, clock, wallNow } = core.drivers;
      const code = new GuestCode(core.drivers.parseImage(image), core.drivers.compile, false);
      const run = await code.variant('run');
      const imageGpa = loadImage(ram, range, image, code.image, {
        commandLine,
        seed: core.options.seed ?? 1,
        wallClockNs: wallNow(),
      });
      core.guest = { code, imageGpa, imageBytes: code.image.totalBytes };
      core.variant = 'run';
      core.stoppedAtWallNs = wallNow();
      if (!paused) clock.start();
      core.enter(paused ? 'paused' : 'running');
      const [first, ...others] = vcpus;
      await prepareVcpu(first!, run, paused);
      await first!.start();
      await Promise.all(others.map((vcpu) => prepareVcpu(vcpu, run, paused)));
      // In the background, so that it is there when a migration starts; whoever needs it hears of a failure.
      void code.variant('log').catch(() => undefined);
    });
  }

  pause(): Promise<void> {
    return this.#core.pause();
  }

  resume(): Promise<void> {
    return this.#core.resume();
  }

  save(): Promise<MachineState> {
    return this.#core.save();
  }

  destroy(): Promise<void> {
    return this.#core.destroy();
  }
}

async function prepareVcpu(vcpu: VcpuHandle, code: VcpuCode, paused: boolean): Promise<void> {
  if (paused) await vcpu.pause();
  await vcpu.setCode(code);
}
