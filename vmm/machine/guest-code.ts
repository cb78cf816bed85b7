/**
 * The code of the guest that a machine runs: an image, its host-side copy, and its variants, each compiled once and on
 * demand. A guest may overwrite its image in RAM; what runs is what was compiled.
 */
import type { CodeVariant } from '../../base/abi/image.js';
import type { ParsedImage } from '../../base/abi/image-parse.js';
import { vmmErrors } from '../errors.js';
import { checkCode, type VcpuCode } from '../vcpu/code.js';

export const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

type Compile = (code: Uint8Array, whole: boolean) => Promise<WebAssembly.Module>;

export class GuestCode {
  readonly image: ParsedImage;
  /** Hex, as a machine's description has it. */
  readonly hash: string;
  readonly #compile: Compile;
  readonly #arrived: boolean;
  readonly #variants = new Map<CodeVariant, Promise<VcpuCode>>();

  /** `arrived`: the guest does not boot, but goes on where it was. */
  constructor(image: ParsedImage, compile: Compile, arrived: boolean) {
    this.image = image;
    this.hash = hexOf(image.contentHash);
    this.#compile = compile;
    this.#arrived = arrived;
  }

  /** Rejects with `vmm/image-refused` for code that this engine does not accept or that no vCPU can run. */
  variant(variant: CodeVariant): Promise<VcpuCode> {
    let code = this.#variants.get(variant);
    if (code === undefined) {
      code = this.#make(variant);
      this.#variants.set(variant, code);
    }
    return code;
  }

  async #make(variant: CodeVariant): Promise<VcpuCode> {
    const { meta, code } = this.image;
    let module: WebAssembly.Module;
    try {
      module = await this.#compile(code[variant], this.#arrived || variant !== 'run');
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const why = `its ${variant} code does not compile: ${reason}`;
      throw vmmErrors.error('image-refused', { name: meta.name, why }, cause);
    }
    const made = { variant, module, registers: meta.registers };
    checkCode(meta.name, made, meta.smp);
    return made;
  }
}
