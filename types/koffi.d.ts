/**
 * The part of koffi that the project uses: an optional package, so that the project also compiles where it is not
 * installed.
 */
declare module 'koffi' {
  interface NativeFunction {
    (...args: unknown[]): number | bigint;
    /** The same on a thread of the pool; the last argument takes the result. */
    async(...args: unknown[]): void;
  }
  interface Library {
    /** Declares a function by its C prototype. Throws if the library has none of that name. */
    func(prototype: string): NativeFunction;
  }
  function load(path: string | null): Library;
  /** Where memory lies. */
  function address(value: Uint8Array): bigint;
  /** What the last call left in `errno`. */
  function errno(): number;
  const koffi: { load: typeof load; address: typeof address; errno: typeof errno };
  export default koffi;
}
