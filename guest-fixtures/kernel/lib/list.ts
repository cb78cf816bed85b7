// Circular doubly linked lists, as <linux/list.h>. A class that wants to be on a list extends ListHead.

// @ts-ignore: decorator
@unmanaged export class ListHead {
  next: ListHead;
  prev: ListHead;
}

export function INIT_LIST_HEAD(head: ListHead): void {
  head.next = head;
  head.prev = head;
}

/** Inserts `entry` between two neighbours. */
// @ts-ignore: decorator
@inline function __list_add(entry: ListHead, prev: ListHead, next: ListHead): void {
  next.prev = entry;
  entry.next = next;
  entry.prev = prev;
  prev.next = entry;
}

/** Inserts `entry` right behind `head`. */
export function list_add(entry: ListHead, head: ListHead): void {
  __list_add(entry, head, head.next);
}

/** Inserts `entry` right before `head`: at the end of the list. */
export function list_add_tail(entry: ListHead, head: ListHead): void {
  __list_add(entry, head.prev, head);
}

/** Takes `entry` off its list; it is then a list of its own, so list_empty(entry) says that it is on none. */
export function list_del_init(entry: ListHead): void {
  const next = entry.next;
  const prev = entry.prev;
  next.prev = prev;
  prev.next = next;
  INIT_LIST_HEAD(entry);
}

// @ts-ignore: decorator
@inline export function list_empty(head: ListHead): bool {
  return head.next == head;
}
