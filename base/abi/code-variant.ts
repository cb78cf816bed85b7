/**
 * What the VMM supplies to a guest code variant beyond the guest's own imports, and what it finds among the exports.
 * Written by the toolchain, used by the vCPU. All imports are from module `ferry`.
 *
 * | import | type | meaning |
 * |---|---|---|
 * | `exit` | (reason i32, irq_enabled i32) -> i32 | leaves the guest; the only import that may unwind. Returns a vector to deliver (> 0), or 0 |
 * | `post_fault` | (page i32) | called by the postcopy variant only (all import it): blocks until the page is present |
 * | `kick` | global i32 | address of this vCPU's kick word |
 * | `window` | global i32 | address of this vCPU's interrupt-window word |
 * | `dirty_map` | global i32 | address of this vCPU's dirty map (log, postcopy) |
 * | `present_map` | global i32 | address of the present map (postcopy) |
 * | `cpu` | global i32 | number of this vCPU |
 *
 * Exports besides the guest's: asyncify's five functions, and every mutable global by its register name, the
 * interrupt flag `ferry_irq_enabled` among them.
 *
 * Inside a variant, `safepoint` (every loop head, the entry of every function that calls another, and every
 * 256 KiB of a `memory.copy` or `memory.fill`) is: if the kick word is set, repeat
 * `vector = exit(EXIT_SAFEPOINT, irq_enabled)`; while vector > 0: clear irq_enabled, `irq_entry(vector)`, set
 * irq_enabled. `halt` is: `vector = exit(EXIT_HALT, irq_enabled)`, then the same delivery loop. `irq_restore(1)` sets
 * the kick word itself if the window word is set.
 *
 * `log` and `postcopy` mark a page after the operands of a store are computed and right before it is stored, with no
 * safepoint between. A store that is about to trap may mark beyond the map, within the reserved range. `postcopy` may
 * ask `post_fault` for a page beyond RAM before such a trap; that must return at once.
 */
export const EXIT_SAFEPOINT = 0;
export const EXIT_HALT = 1;

export const IRQ_ENABLED_REGISTER = 'ferry_irq_enabled';
