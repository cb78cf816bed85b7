/**
 * The vCPU's registers: the mutable globals that a code variant exports. They travel as 8 raw bytes each, in the order
 * of the image's register list; bytes that a narrower type does not use are zero.
 */
import type { RegisterInfo } from '../../base/abi/image.js';
import { invariant } from '../../base/errors.js';

export const REGISTER_BYTES = 8;

/** The globals behind a register list, of one instance. */
export class RegisterFileOfInstance {
  readonly #registers: readonly RegisterInfo[];
  readonly #globals: readonly WebAssembly.Global[];

  /** The exports were checked by `checkCode`. */
  constructor(registers: readonly RegisterInfo[], exports: WebAssembly.Exports) {
    this.#registers = registers;
    this.#globals = registers.map(({ name }) => {
      const global = exports[name];
      invariant(global instanceof WebAssembly.Global, `register ${name} is no global`);
      return global;
    });
  }

  save(): Uint8Array {
    const bytes = new Uint8Array(this.#registers.length * REGISTER_BYTES);
    const view = new DataView(bytes.buffer);
    this.#registers.forEach(({ type }, i) => {
      const value = this.#globals[i]!.value;
      const at = i * REGISTER_BYTES;
      if (type === 'i32') view.setInt32(at, Number(value), true);
      else if (type === 'i64') view.setBigInt64(at, BigInt(value), true);
      else if (type === 'f32') view.setFloat32(at, Number(value), true);
      else view.setFloat64(at, Number(value), true);
    });
    return bytes;
  }

  /** `bytes` have the right length (`checkVcpuRecord`). */
  restore(bytes: Uint8Array): void {
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#registers.forEach(({ type }, i) => {
      const global = this.#globals[i]!;
      const at = i * REGISTER_BYTES;
      if (type === 'i32') global.value = view.getInt32(at, true);
      else if (type === 'i64') global.value = view.getBigInt64(at, true);
      else if (type === 'f32') global.value = view.getFloat32(at, true);
      else global.value = view.getFloat64(at, true);
    });
  }
}
