/**
 * What has to be worked out of a guest's image, once for all machines of a simulation: they run few guests, and time there is not
 * the host's, so that nothing is measured that it spares.
 */
import { sha256 } from '../machine/thread/sha256.js';

/** What so many different bytes gave is kept: images and three variants of code of the few guests that a process has to do with. */
const KEPT_MAX = 12;

/** `make`, which makes the result for the same bytes once. */
function onceFor<Result>(make: (bytes: Uint8Array) => Result): (bytes: Uint8Array) => Result {
  const kept: { readonly bytes: Uint8Array; readonly result: Result }[] = [];
  return (bytes) => {
    const known = kept.find(
      (one) => one.bytes.length === bytes.length && Buffer.compare(one.bytes, bytes) === 0,
    );
    if (known !== undefined) return known.result;
    const copy = new Uint8Array(bytes);
    const result = make(copy);
    kept.push({ bytes: copy, result });
    if (kept.length > KEPT_MAX) kept.shift();
    return result;
  };
}

/** The module of `code`; throws what the engine throws for code that it refuses. */
export const compiled = /* @__PURE__ */ onceFor(
  (code) => new WebAssembly.Module(code as Uint8Array<ArrayBuffer>),
);

export const digested = /* @__PURE__ */ onceFor(sha256);
