// Notifier chains: whoever wants to hear of an event puts a block of its own on the chain, and whoever causes it calls
// them all, in the order in which they came, without knowing any.

/** Owned by who registers it; lies in memory that stays. */
// @ts-ignore: decorator
@unmanaged export class NotifierBlock {
  notifier_call: (event: u32, data: usize) => void;
  /** Next block, or 0. */
  next: usize;
}

/** A chain: 4 bytes of static memory, zero at first. */
// @ts-ignore: decorator
@unmanaged export class NotifierHead {
  first: usize;
}

/** Boot CPU, before the other CPUs work: puts `block` at the end of the chain. */
export function notifier_chain_register(
  head: NotifierHead, block: NotifierBlock, call: (event: u32, data: usize) => void,
): void {
  block.notifier_call = call;
  block.next = 0;
  let link = changetype<usize>(head);
  while (load<usize>(link) != 0) link = load<usize>(link) + offsetof<NotifierBlock>('next');
  store<usize>(link, changetype<usize>(block));
}

/** Tells everybody on the chain. */
export function notifier_call_chain(head: NotifierHead, event: u32, data: usize): void {
  for (let at = head.first; at != 0; at = changetype<NotifierBlock>(at).next) {
    changetype<NotifierBlock>(at).notifier_call(event, data);
  }
}
