/**
 * What has to be worked out of a guest's image, once for all machines of a simulation: they run few guests, and time there is not
 * the host's, so that nothing is measured that it spares.
 */
import type { ParsedImage } from '../../base/abi/image-parse.js';
import { parsedCopy } from '../machine/thread/parsed-copy.js';

/** Images that are kept: those of the few guests that a process has to do with. */
const KEPT_MAX = 4;
const kept: { readonly bytes: Uint8Array; readonly image: ParsedImage }[] = [];

/** As `parsedCopy`; what is made of the same bytes is the same object. */
export function parsed(bytes: Uint8Array): ParsedImage {
  const known = kept.find((one) => Buffer.compare(one.bytes, bytes) === 0);
  if (known !== undefined) return known.image;
  const copy = new Uint8Array(bytes);
  const image = parsedCopy(copy);
  kept.push({ bytes: copy, image });
  if (kept.length > KEPT_MAX) kept.shift();
  return image;
}

const modules = /* @__PURE__ */ new WeakMap<Uint8Array, WebAssembly.Module>();

/** The module of `code`, which is part of such an image; throws what the engine throws for code that it refuses. */
export function compiled(code: Uint8Array): WebAssembly.Module {
  let module = modules.get(code);
  if (module === undefined) {
    module = new WebAssembly.Module(code as Uint8Array<ArrayBuffer>);
    modules.set(code, module);
  }
  return module;
}
