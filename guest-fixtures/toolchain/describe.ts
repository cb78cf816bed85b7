/** What is in an image, for `ferry guest inspect`. */
import type { CodeVariant, RegisterInfo } from '../../base/abi/image.js';
import { type ImageSectionInfo, parseImage } from '../../base/abi/image-parse.js';
import { sha256 } from './build.js';

export interface VariantDescription {
  readonly variant: CodeVariant;
  readonly codeBytes: number;
  /** Size relative to the `run` variant. */
  readonly growth: number;
  /** `module.name` and kind of every import. */
  readonly imports: readonly string[];
  readonly exports: readonly string[];
}

export interface ImageDescription {
  readonly name: string;
  /** SHA-256 of the image's content, in hexadecimal. */
  readonly contentHash: string;
  readonly totalBytes: number;
  readonly ramBytesMin: number;
  readonly dataBytes: number;
  readonly dataEnd: number;
  readonly smp: boolean;
  readonly sections: readonly ImageSectionInfo[];
  readonly variants: readonly VariantDescription[];
  readonly registers: readonly RegisterInfo[];
  readonly functions: number;
}

/** Checks an image and describes it; plain values, fit for JSON. Throws `image/...` as `parseImage` does. */
export function describeImage(bytes: Uint8Array): ImageDescription {
  const image = parseImage(bytes, sha256);
  const runBytes = image.code.run.length;
  return {
    name: image.meta.name,
    contentHash: Buffer.from(image.contentHash).toString('hex'),
    totalBytes: image.totalBytes,
    ramBytesMin: image.ramBytesMin,
    dataBytes: image.data.reduce((sum, { bytes: data }) => sum + data.length, 0),
    dataEnd: image.meta.dataEnd,
    smp: image.meta.smp,
    sections: image.sections,
    variants: (['run', 'log', 'postcopy'] as const).map((variant) => {
      const code = image.code[variant];
      const { imports, exports } = interfaceOf(code);
      return { variant, codeBytes: code.length, growth: code.length / runBytes, imports, exports };
    }),
    registers: image.meta.registers,
    functions: image.meta.functionNames.length,
  };
}

/** Code that does not compile (the image's hash matches, so it was built wrong) has no interface to show. */
function interfaceOf(code: Uint8Array): { imports: string[]; exports: string[] } {
  if (!WebAssembly.validate(code as Uint8Array<ArrayBuffer>)) return { imports: [], exports: [] };
  const module = new WebAssembly.Module(code as Uint8Array<ArrayBuffer>);
  return {
    imports: WebAssembly.Module.imports(module).map(
      ({ module: from, name, kind }) => `${from}.${name} (${kind})`,
    ),
    exports: WebAssembly.Module.exports(module).map(({ name, kind }) => `${name} (${kind})`),
  };
}
