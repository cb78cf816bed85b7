/** Waiting for several things at once, with nothing left under way when the wait is over. */

/** As `Promise.all`, but rejects, with what the first of them in order rejected with, only when all have settled. */
export async function settleAll<T>(promises: readonly Promise<T>[]): Promise<T[]> {
  const results = await Promise.allSettled(promises);
  return results.map((result) => {
    if (result.status === 'rejected') throw result.reason;
    return result.value;
  });
}
