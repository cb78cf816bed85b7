/**
 * Branded numbers: addresses and times that the compiler keeps apart, so that DMA which skips translation, or
 * milliseconds given for nanoseconds, do not compile. All are plain JavaScript numbers at run time, exact up to 2^53.
 */
declare const brand: unique symbol;
type Brand<Name extends string> = number & { readonly [brand]: Name };

/** Guest physical address in bytes. */
export type Gpa = Brand<'Gpa'>;
/** I/O virtual address in bytes: what a device puts on the bus, before VT-d translates it. */
export type Iova = Brand<'Iova'>;
/** Host physical address of the model, in bytes: what VT-d's tables point to. */
export type Hpa = Brand<'Hpa'>;
/** A point of a clock in nanoseconds since that clock's start. */
export type Instant = Brand<'Instant'>;
/** A length of time in nanoseconds. */
export type Duration = Brand<'Duration'>;

export const gpa = (value: number): Gpa => value as Gpa;
export const iova = (value: number): Iova => value as Iova;
export const hpa = (value: number): Hpa => value as Hpa;
export const instant = (nanoseconds: number): Instant => nanoseconds as Instant;

export const nanoseconds = (value: number): Duration => value as Duration;
export const microseconds = (value: number): Duration => (value * 1e3) as Duration;
export const milliseconds = (value: number): Duration => (value * 1e6) as Duration;
export const seconds = (value: number): Duration => (value * 1e9) as Duration;

export const toMilliseconds = (duration: Duration): number => duration / 1e6;
export const toSeconds = (duration: Duration): number => duration / 1e9;

/** `later - earlier`. */
export const elapsed = (earlier: Instant, later: Instant): Duration => (later - earlier) as Duration;
export const addDuration = (start: Instant, duration: Duration): Instant => (start + duration) as Instant;

export const KIB = 1024;
export const MIB = 1024 * KIB;
export const GIB = 1024 * MIB;
export const TIB = 1024 * GIB;

/** The page of dirty tracking and migration: 4 KiB. */
export const PAGE_SHIFT = 12;
export const PAGE_BYTES = 1 << PAGE_SHIFT;
