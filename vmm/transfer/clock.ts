/** The clock that all threads of a data plane share: microseconds, as a signed 32-bit word that wraps. */
export function sharedNowUs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return (seconds * 1e6 + Math.floor(nanoseconds / 1e3)) | 0;
}
