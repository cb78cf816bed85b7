/** What `ferry bench migrate` tells apart. */

/** What RAM holds: data in every page, or in nearly none. */
export const RAM_CONTENTS = ['random', 'zero'] as const;
export type RamContents = (typeof RAM_CONTENTS)[number];
/** Whether the destination's RAM was touched before, as by `--prealloc`. */
export const DESTINATIONS = ['cold', 'warm'] as const;
export type DestinationKind = (typeof DESTINATIONS)[number];
