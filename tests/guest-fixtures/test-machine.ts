/**
 * The least that can run a guest's code variants: RAM, one vCPU and hand-written imports, so that the toolchain is
 * tested without a VMM. What an exit does is the test's to say.
 */
import type { CodeVariant } from '../../base/abi/image.js';
import {
  CONTROL_KICK,
  CONTROL_WINDOW,
  type ReservedRange,
  reservedRange,
} from '../../base/abi/reserved-range.js';
import { type BuiltGuest, buildGuest } from '../../guest-fixtures/toolchain/build.js';

export const BOOT_PARAMS = 0x1000;

/** Values of asyncify_get_state. */
const UNWINDING = 1;
const REWINDING = 2;

/** What an exit answers: a vector (0 for none), or that the call stack is to be unwound. */
export type ExitAnswer = number | 'unwind';

export interface Exit {
  readonly reason: number;
  readonly irqEnabled: boolean;
  /** The same exit once more, after its call stack was rewound. */
  readonly resumed: boolean;
  readonly machine: TestMachine;
}

export interface TestMachineOptions {
  readonly ramBytes?: number;
  readonly exit?: (exit: Exit) => ExitAnswer;
  /** Called for `ferry.post_fault`; the page counts as present afterwards. */
  readonly postFault?: (page: number, machine: TestMachine) => void;
  readonly mmioWrite?: (address: number, width: number, value: number) => void;
}

type GuestFunction = (argument: number) => void;

const compiled = new WeakMap<Uint8Array, WebAssembly.Module>();

export class TestMachine {
  readonly guest: BuiltGuest;
  readonly options: TestMachineOptions;
  readonly memory: WebAssembly.Memory;
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly range: ReservedRange;
  #exports: WebAssembly.Exports | undefined;

  constructor(guest: BuiltGuest, options: TestMachineOptions = {}) {
    this.guest = guest;
    this.options = options;
    const ramBytes = options.ramBytes ?? 4 << 20;
    const pages = ramBytes / 65536;
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true });
    this.u8 = new Uint8Array(this.memory.buffer);
    this.view = new DataView(this.memory.buffer);
    this.range = reservedRange(ramBytes, 1);
    for (const { gpa, bytes } of guest.data) this.u8.set(bytes, gpa);
    this.presentMap.fill(1);
  }

  static from(source: string, options: TestMachineOptions = {}): TestMachine {
    return new TestMachine(buildGuest(source, { name: 'test' }), options);
  }

  get #vcpu(): ReservedRange['vcpus'][number] {
    return this.range.vcpus[0]!;
  }

  get dirtyMap(): Uint8Array {
    return this.u8.subarray(this.#vcpu.dirtyMap, this.#vcpu.dirtyMap + this.u8.length / 4096);
  }

  get presentMap(): Uint8Array {
    return this.u8.subarray(this.range.presentMap, this.range.presentMap + this.u8.length / 4096);
  }

  /** Numbers of the pages marked dirty below the reserved range. */
  dirtyPages(): number[] {
    return [...this.dirtyMap.subarray(0, this.range.firstPage).entries()]
      .filter(([, m]) => m)
      .map(([p]) => p);
  }

  kick(): void {
    this.view.setUint32(this.#vcpu.control + CONTROL_KICK, 1, true);
  }

  get kicked(): boolean {
    return this.view.getUint32(this.#vcpu.control + CONTROL_KICK, true) !== 0;
  }

  clearKick(): void {
    this.view.setUint32(this.#vcpu.control + CONTROL_KICK, 0, true);
  }

  set window(open: boolean) {
    this.view.setUint32(this.#vcpu.control + CONTROL_WINDOW, open ? 1 : 0, true);
  }

  /** Puts the code of `variant` into the machine; registers are the initial ones. */
  load(variant: CodeVariant): this {
    const { binary } = this.guest.variants[variant];
    let module = compiled.get(binary);
    if (module === undefined) {
      module = new WebAssembly.Module(binary as Uint8Array<ArrayBuffer>);
      compiled.set(binary, module);
    }
    this.#exports = new WebAssembly.Instance(module, { ferry: this.#imports() }).exports;
    return this;
  }

  #imports(): Record<string, WebAssembly.ImportValue> {
    const i32 = (value: number): WebAssembly.Global => new WebAssembly.Global({ value: 'i32' }, value);
    const { control, dirtyMap } = this.#vcpu;
    return {
      memory: this.memory,
      kick: i32(control + CONTROL_KICK),
      window: i32(control + CONTROL_WINDOW),
      cpu: i32(0),
      dirty_map: i32(dirtyMap),
      present_map: i32(this.range.presentMap),
      exit: (reason: number, irqEnabled: number) => this.#exit(reason, irqEnabled !== 0),
      post_fault: (page: number) => {
        this.options.postFault?.(page, this);
        this.presentMap[page] = 1;
      },
      mmio_read: () => 0,
      mmio_write: (address: number, width: number, value: number) =>
        this.options.mmioWrite?.(address >>> 0, width, value),
      clock_ns: () => 0,
      timer_program: () => {},
    };
  }

  call(name: string, argument = 0): void {
    (this.#exports![name] as GuestFunction)(argument);
  }

  register(name: string): WebAssembly.Global {
    return this.#exports![name] as WebAssembly.Global;
  }

  get registers(): Record<string, unknown> {
    return Object.fromEntries(this.guest.registers.map(({ name }) => [name, this.register(name).value]));
  }

  #state(): number {
    return (this.#exports!.asyncify_get_state as () => number)();
  }

  #exit(reason: number, irqEnabled: boolean): number {
    const resumed = this.#state() === REWINDING;
    if (resumed) this.call('asyncify_stop_rewind');
    const answer = this.options.exit?.({ reason, irqEnabled, resumed, machine: this }) ?? 0;
    if (answer !== 'unwind') return answer;
    const { unwind, unwindBytes } = this.#vcpu;
    this.view.setUint32(unwind, unwind + 8, true);
    this.view.setUint32(unwind + 4, unwind + unwindBytes, true);
    this.call('asyncify_start_unwind', unwind);
    return 0;
  }

  /** Runs `entry` until it returns or is unwound; true if it returned. */
  run(entry = 'start_kernel'): boolean {
    this.call(entry, BOOT_PARAMS);
    if (this.#state() !== UNWINDING) return true;
    this.call('asyncify_stop_unwind');
    return false;
  }

  /** Moves all state to new memory and new code, and goes on there; true if the entry returned. */
  moved(variant: CodeVariant): TestMachine {
    const target = new TestMachine(this.guest, { ...this.options, ramBytes: this.u8.length });
    target.u8.set(this.u8);
    target.load(variant);
    for (const { name } of this.guest.registers) target.register(name).value = this.register(name).value;
    target.call('asyncify_start_rewind', target.#vcpu.unwind);
    return target;
  }
}
