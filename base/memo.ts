/** Remembering what is the same for the same arguments, and dear to make. */

/**
 * `make`, which makes each result once: what it is given must say all that the result depends on, as plain data, and nobody may
 * change what it returns. For few different arguments: nothing is forgotten.
 */
export function memoized<Argument, Result>(
  make: (argument: Argument) => Result,
): (argument: Argument) => Result {
  const made = new Map<string, Result>();
  return (argument) => {
    const key = JSON.stringify(argument);
    const known = made.get(key);
    if (known !== undefined) return known;
    const result = make(argument);
    made.set(key, result);
    return result;
  };
}
