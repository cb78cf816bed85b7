// Registers, descriptors and mailbox of the 82599's virtual function: Intel 82599 10 GbE Controller Datasheet, chapters
// 7 and 8, by the names of Linux's ixgbevf.
export const IXGBE_DEV_ID_82599_VF: u32 = 0x10ed;
export const PCI_VENDOR_ID_INTEL: u32 = 0x8086;

export const IXGBE_VFCTRL: u32 = 0x0000;
export const IXGBE_CTRL_RST: u32 = 0x0400_0000;
export const IXGBE_VFSTATUS: u32 = 0x0008;
export const IXGBE_VFLINKS: u32 = 0x0010;
export const IXGBE_LINKS_UP: u32 = 0x4000_0000;
export const IXGBE_LINKS_SPEED_82599: u32 = 0x3000_0000;
export const IXGBE_LINKS_SPEED_10G_82599: u32 = 0x3000_0000;
export const IXGBE_LINKS_SPEED_1G_82599: u32 = 0x2000_0000;

export const IXGBE_VTEICR: u32 = 0x0100;
export const IXGBE_VTEICS: u32 = 0x0104;
export const IXGBE_VTEIMS: u32 = 0x0108;
export const IXGBE_VTEIMC: u32 = 0x010c;
export const IXGBE_VTEIAC: u32 = 0x0110;
export const IXGBE_VTEIAM: u32 = 0x0114;
export const IXGBE_VTIVAR: u32 = 0x0120;
export const IXGBE_VTIVAR_MISC: u32 = 0x0140;
export const IXGBE_IVAR_ALLOC_VAL: u32 = 0x80;
export const IXGBE_VTEITR: u32 = 0x0820;
export const IXGBE_EITR_CNT_WDIS: u32 = 0x8000_0000;
export const IXGBE_EITR_ITR_MASK: u32 = 0xff8;

export const IXGBE_VFMBMEM: u32 = 0x0200;
export const IXGBE_VFMAILBOX: u32 = 0x02fc;
export const IXGBE_VFMAILBOX_REQ: u32 = 0x01;
export const IXGBE_VFMAILBOX_ACK: u32 = 0x02;
export const IXGBE_VFMAILBOX_VFU: u32 = 0x04;
export const IXGBE_VFMAILBOX_PFSTS: u32 = 0x10;
export const IXGBE_VFMAILBOX_RSTI: u32 = 0x40;
export const IXGBE_VFMAILBOX_RSTD: u32 = 0x80;
export const IXGBE_VFMAILBOX_R2C_BITS: u32 = 0xb0;
export const IXGBE_VFMAILBOX_SIZE: u32 = 16;

export const IXGBE_VFPSRTYPE: u32 = 0x0300;
export const IXGBE_VFRDBAL: u32 = 0x1000;
export const IXGBE_VFRDBAH: u32 = 0x1004;
export const IXGBE_VFRDLEN: u32 = 0x1008;
export const IXGBE_VFDCA_RXCTRL: u32 = 0x100c;
export const IXGBE_VFRDH: u32 = 0x1010;
export const IXGBE_VFSRRCTL: u32 = 0x1014;
export const IXGBE_VFRDT: u32 = 0x1018;
export const IXGBE_VFRXDCTL: u32 = 0x1028;
export const IXGBE_VFTDBAL: u32 = 0x2000;
export const IXGBE_VFTDBAH: u32 = 0x2004;
export const IXGBE_VFTDLEN: u32 = 0x2008;
export const IXGBE_VFDCA_TXCTRL: u32 = 0x200c;
export const IXGBE_VFTDH: u32 = 0x2010;
export const IXGBE_VFTDT: u32 = 0x2018;
export const IXGBE_VFTXDCTL: u32 = 0x2028;
export const IXGBE_VFTDWBAL: u32 = 0x2038;
export const IXGBE_VFTDWBAH: u32 = 0x203c;

export const IXGBE_DCA_RXCTRL_DEFAULT: u32 = 0xa200;
export const IXGBE_DCA_TXCTRL_DEFAULT: u32 = 0x2a00;
export const IXGBE_SRRCTL_BSIZEHDR_256: u32 = 0x400;
export const IXGBE_SRRCTL_BSIZEPKT_2K: u32 = 2;
export const IXGBE_SRRCTL_DESCTYPE_ADV_ONEBUF: u32 = 0x0200_0000;
export const IXGBE_SRRCTL_DROP_EN: u32 = 0x1000_0000;
export const IXGBE_RXDCTL_ENABLE: u32 = 0x0200_0000;
export const IXGBE_RXDCTL_VME: u32 = 0x4000_0000;
export const IXGBE_TXDCTL_ENABLE: u32 = 0x0200_0000;
export const IXGBE_TXDCTL_SWFLSH: u32 = 0x0400_0000;

// Word 0 of mailbox messages.
export const IXGBE_VT_MSGTYPE_SUCCESS: u32 = 0x8000_0000;
export const IXGBE_VT_MSGTYPE_FAILURE: u32 = 0x4000_0000;
export const IXGBE_VT_MSGTYPE_CTS: u32 = 0x2000_0000;
export const IXGBE_VT_MSGINFO_SHIFT: u32 = 16;
export const IXGBE_VT_MSGINFO_MASK: u32 = 0xff_0000;
export const IXGBE_VF_RESET: u32 = 0x01;
export const IXGBE_VF_SET_MAC_ADDR: u32 = 0x02;
export const IXGBE_VF_SET_MULTICAST: u32 = 0x03;
export const IXGBE_VF_SET_VLAN: u32 = 0x04;
export const IXGBE_VF_SET_LPE: u32 = 0x05;
export const IXGBE_VF_API_NEGOTIATE: u32 = 0x08;
export const IXGBE_VF_GET_QUEUES: u32 = 0x09;
export const IXGBE_VF_UPDATE_XCAST_MODE: u32 = 0x0c;
export const IXGBE_VF_GET_LINK_STATE: u32 = 0x10;
export const IXGBEVF_XCAST_MODE_MULTI: u32 = 1;
/** What each API's number is in a NEGOTIATE message: not its minor number. */
export const ixgbe_mbox_api_10: u32 = 0;
export const ixgbe_mbox_api_11: u32 = 2;
export const ixgbe_mbox_api_12: u32 = 3;
export const ixgbe_mbox_api_14: u32 = 5;

// Advanced descriptors: 16 bytes, offsets of the words that are looked at.
export const IXGBE_DESC_SIZE: u32 = 16;
export const IXGBE_RXD_STATUS: u32 = 8;
export const IXGBE_RXD_LENGTH: u32 = 12;
export const IXGBE_RXD_STAT_EOP: u32 = 0x02;
export const IXGBE_RXD_STAT_L4CS: u32 = 0x20;
export const IXGBE_RXD_STAT_IPCS: u32 = 0x40;
/** CE, LE, PE, OSE, USE. */
export const IXGBE_RXDADV_ERR_FRAME_ERR_MASK: u32 = 0x3b00_0000;
export const IXGBE_RXDADV_ERR_TCPE: u32 = 0x4000_0000;
export const IXGBE_RXDADV_ERR_IPE: u32 = 0x8000_0000;
export const IXGBE_TXD_CMD_LEN: u32 = 8;
export const IXGBE_TXD_STATUS: u32 = 12;
export const IXGBE_TXD_STAT_DD: u32 = 1;
export const IXGBE_ADVTXD_DTYP_CTXT: u32 = 0x0020_0000;
export const IXGBE_ADVTXD_DTYP_DATA: u32 = 0x0030_0000;
export const IXGBE_ADVTXD_DCMD_EOP: u32 = 0x0100_0000;
export const IXGBE_ADVTXD_DCMD_IFCS: u32 = 0x0200_0000;
export const IXGBE_ADVTXD_DCMD_RS: u32 = 0x0800_0000;
export const IXGBE_ADVTXD_DCMD_DEXT: u32 = 0x2000_0000;
export const IXGBE_ADVTXD_TUCMD_IPV4: u32 = 0x400;
export const IXGBE_ADVTXD_MACLEN_SHIFT: u32 = 9;
export const IXGBE_ADVTXD_CC: u32 = 0x80;
export const IXGBE_ADVTXD_POPTS_TXSM: u32 = 0x200;
export const IXGBE_ADVTXD_PAYLEN_SHIFT: u32 = 14;
