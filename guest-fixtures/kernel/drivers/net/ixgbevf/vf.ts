// What the driver asks of the device and, by mailbox, of the physical function's driver.
import { msleep } from '../../../kernel/sched';
import {
  IXGBE_CTRL_RST,
  IXGBE_LINKS_UP,
  IXGBE_LINKS_SPEED_82599,
  IXGBE_RXDCTL_ENABLE,
  IXGBE_TXDCTL_ENABLE,
  IXGBE_VFCTRL,
  IXGBE_VFLINKS,
  IXGBE_VFMAILBOX_SIZE,
  IXGBE_VFRXDCTL,
  IXGBE_VFTXDCTL,
  IXGBE_VF_API_NEGOTIATE,
  IXGBE_VF_GET_LINK_STATE,
  IXGBE_VF_GET_QUEUES,
  IXGBE_VF_RESET,
  IXGBE_VF_SET_LPE,
  IXGBE_VF_SET_MAC_ADDR,
  IXGBE_VF_SET_MULTICAST,
  IXGBE_VF_SET_VLAN,
  IXGBE_VF_UPDATE_XCAST_MODE,
  IXGBEVF_XCAST_MODE_MULTI,
  IXGBE_VTEICR,
  IXGBE_VTEIMC,
  IXGBE_VT_MSGINFO_MASK,
  IXGBE_VT_MSGINFO_SHIFT,
  IXGBE_VT_MSGTYPE_CTS,
  IXGBE_VT_MSGTYPE_FAILURE,
  IXGBE_VT_MSGTYPE_SUCCESS,
  ixgbe_mbox_api_10,
  ixgbe_mbox_api_11,
  ixgbe_mbox_api_12,
  ixgbe_mbox_api_14,
} from './defines';
import {
  IXGBE_VF_MBX_INIT_TIMEOUT,
  ixgbevf_check_for_rst_vf,
  ixgbevf_read_mbx_vf,
  ixgbevf_read_posted_mbx,
  ixgbevf_write_posted_mbx,
} from './mbx';
import { IXGBE_WRITE_FLUSH, IxgbevfAdapter, ixgbe_read_reg, ixgbe_write_reg, udelay } from './ixgbevf';

const QUEUE_STRIDE: u32 = 0x40;
const QUEUES: u32 = 2;
const ALL_VECTORS: u32 = 7;

/** One message, the answer in its place. Only CPU 0's task context uses the mailbox. */
const message = memory.data(64, 16);

// @ts-ignore: decorator
@inline function msg(index: u32): usize { return message + (index << 2); }

/** Starts a message whose other words are 0. */
function begin(opcode: u32): void {
  memory.fill(message, 0, IXGBE_VFMAILBOX_SIZE << 2);
  store<u32>(message, opcode);
}

/** Sends `words` words and waits for an answer of as many; true if the PF granted the request. */
function ixgbevf_write_msg_read_ack(adapter: IxgbevfAdapter, opcode: u32, words: u32): bool {
  if (!ixgbevf_write_posted_mbx(adapter, message, words)) return false;
  if (!ixgbevf_read_posted_mbx(adapter, message, words)) return false;
  return (load<u32>(message) & ~(IXGBE_VT_MSGTYPE_CTS | IXGBE_VT_MSGINFO_MASK)) == (opcode | IXGBE_VT_MSGTYPE_SUCCESS);
}

/** Stops queues and interrupts. */
export function ixgbevf_stop_hw_vf(adapter: IxgbevfAdapter): void {
  for (let q: u32 = 0; q < QUEUES; q++) {
    const reg = IXGBE_VFRXDCTL + q * QUEUE_STRIDE;
    const value = ixgbe_read_reg(adapter, reg);
    if (value & IXGBE_RXDCTL_ENABLE) ixgbe_write_reg(adapter, reg, value & ~IXGBE_RXDCTL_ENABLE);
  }
  IXGBE_WRITE_FLUSH(adapter);
  ixgbe_write_reg(adapter, IXGBE_VTEIMC, ALL_VECTORS);
  ixgbe_read_reg(adapter, IXGBE_VTEICR);
  for (let q: u32 = 0; q < QUEUES; q++) {
    const reg = IXGBE_VFTXDCTL + q * QUEUE_STRIDE;
    const value = ixgbe_read_reg(adapter, reg);
    if (value & IXGBE_TXDCTL_ENABLE) ixgbe_write_reg(adapter, reg, value & ~IXGBE_TXDCTL_ENABLE);
  }
}

/** Resets the function and tells the PF. The permanent address goes to `perm_addr`; false if the PF does not answer. */
export function ixgbevf_reset_hw_vf(adapter: IxgbevfAdapter, perm_addr: usize): bool {
  ixgbevf_stop_hw_vf(adapter);
  adapter.api_version = ixgbe_mbox_api_10;
  adapter.mbx_v2p_mailbox = 0;
  // Nothing is asked of a PF that has not come out of its own reset.
  adapter.mbx_timeout = 0;
  ixgbe_write_reg(adapter, IXGBE_VFCTRL, IXGBE_CTRL_RST);
  IXGBE_WRITE_FLUSH(adapter);
  let tries: u32 = 200;
  while (ixgbevf_check_for_rst_vf(adapter) && tries > 0) {
    tries--;
    udelay(5);
  }
  if (tries == 0 || adapter.hw_addr == 0) return false;
  adapter.mbx_timeout = IXGBE_VF_MBX_INIT_TIMEOUT;
  begin(IXGBE_VF_RESET);
  if (!ixgbevf_write_posted_mbx(adapter, message, 1)) return false;
  msleep(10);
  if (!ixgbevf_read_posted_mbx(adapter, message, 4)) return false;
  const answer = load<u32>(message);
  if (answer == (IXGBE_VF_RESET | IXGBE_VT_MSGTYPE_SUCCESS)) memory.copy(perm_addr, msg(1), 6);
  else if (answer != (IXGBE_VF_RESET | IXGBE_VT_MSGTYPE_FAILURE)) return false;
  return true;
}

/** Tries one API; true if the PF has it. */
function ixgbevf_negotiate_api_version_vf(adapter: IxgbevfAdapter, api: u32): bool {
  begin(IXGBE_VF_API_NEGOTIATE);
  store<u32>(msg(1), api);
  if (!ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_API_NEGOTIATE, 3)) return false;
  adapter.api_version = api;
  return true;
}

/** Settles on the newest API that both sides have, 1.4 at most. The number 1 is 2.0, which nobody has. */
export function ixgbevf_negotiate_api(adapter: IxgbevfAdapter): void {
  for (let api: i32 = ixgbe_mbox_api_14; api >= 0; api--) {
    if (api != 1 && ixgbevf_negotiate_api_version_vf(adapter, api)) return;
  }
}

/** Whether the PF gives us a queue of either kind. */
export function ixgbevf_get_queues(adapter: IxgbevfAdapter): bool {
  if (adapter.api_version < ixgbe_mbox_api_11) return true;
  begin(IXGBE_VF_GET_QUEUES);
  return ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_GET_QUEUES, 5) && load<u32>(msg(1)) > 0 && load<u32>(msg(2)) > 0;
}

export function ixgbevf_set_rar_vf(adapter: IxgbevfAdapter, address: usize): bool {
  begin(IXGBE_VF_SET_MAC_ADDR);
  memory.copy(msg(1), address, 6);
  return ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_SET_MAC_ADDR, 3);
}

/** No multicast address of our own; broadcast goes with the mode. */
export function ixgbevf_set_rx_mode(adapter: IxgbevfAdapter): void {
  if (adapter.api_version >= ixgbe_mbox_api_12) {
    begin(IXGBE_VF_UPDATE_XCAST_MODE);
    store<u32>(msg(1), IXGBEVF_XCAST_MODE_MULTI);
    ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_UPDATE_XCAST_MODE, 2);
  }
  begin(IXGBE_VF_SET_MULTICAST);
  ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_SET_MULTICAST, IXGBE_VFMAILBOX_SIZE);
}

/** VLAN 0: priority tags. */
export function ixgbevf_vlan_rx_add_vid(adapter: IxgbevfAdapter, vid: u32): bool {
  begin(IXGBE_VF_SET_VLAN | (1 << IXGBE_VT_MSGINFO_SHIFT));
  store<u32>(msg(1), vid);
  return ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_SET_VLAN, 2);
}

/** Asks for frames of up to `bytes` bytes. */
export function ixgbevf_set_rlpml_vf(adapter: IxgbevfAdapter, bytes: u32): bool {
  begin(IXGBE_VF_SET_LPE);
  store<u32>(msg(1), bytes);
  return ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_SET_LPE, 2);
}

/** Whether the administrator lets the VF have a link; a PF that can't be asked does. */
export function ixgbevf_get_link_state_vf(adapter: IxgbevfAdapter): bool {
  if (adapter.api_version < ixgbe_mbox_api_12) return true;
  begin(IXGBE_VF_GET_LINK_STATE);
  return !ixgbevf_write_msg_read_ack(adapter, IXGBE_VF_GET_LINK_STATE, 2) || load<u32>(msg(1)) != 0;
}

/**
 * Looks at the link if there is reason to; adapter.link_up is then right. False asks for a reset: the PF has forgotten
 * us. The PF's last answer is still in the buffer, and its CTS bit says whether it takes requests.
 */
export function ixgbevf_check_mac_link_vf(adapter: IxgbevfAdapter): bool {
  if (ixgbevf_check_for_rst_vf(adapter) || adapter.mbx_timeout == 0) adapter.get_link_status = true;
  if (!adapter.get_link_status) return true;
  // The link comes up for a moment, now and then, before it is up.
  for (let i = 0; i < 5; i++) {
    const links = ixgbe_read_reg(adapter, IXGBE_VFLINKS);
    if (adapter.hw_addr == 0 || (links & IXGBE_LINKS_UP) == 0) {
      adapter.link_up = false;
      return true;
    }
    adapter.link_speed = links & IXGBE_LINKS_SPEED_82599;
    udelay(100);
  }
  // The PF left a message without an answer: only a reset makes the mailbox work again.
  if (adapter.mbx_timeout == 0) {
    adapter.link_up = false;
    return false;
  }
  if (!ixgbevf_read_mbx_vf(adapter, message, 1)) {
    adapter.link_up = false;
    return true;
  }
  const word = load<u32>(message);
  // Linux asks for a reset only if the PF has refused a request since; with nothing to ask, it would wait for ever.
  if ((word & IXGBE_VT_MSGTYPE_CTS) == 0) {
    adapter.link_up = false;
    return false;
  }
  adapter.get_link_status = false;
  adapter.link_up = true;
  return true;
}
