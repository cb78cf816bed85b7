/**
 * Registers of the 82599's physical function (BAR 0): what its driver programs for itself and for its virtual
 * functions, and the tables of the internal switch. Sections are the chapters of Intel's 82599 datasheet. What belongs to one
 * pool is not here but in that pool's file (`registers.ts`), and reached through views (`views.ts`).
 */
import { registerTable } from '../../base/registers.js';

export const PF_BAR_BYTES = 0x8_0000;
export const PF_REGISTER_BYTES = 0x2_0000;
export const POOLS = 64;
export const RECEIVE_ADDRESSES = 128;
export const VLAN_FILTERS = 64;
/** Vectors of the model's physical function: causes 0 to 15 have one each, the others share one by IVAR_MISC. */
export const PF_VECTORS = 64;
export const PF_QUEUE_CAUSES = 16;

/** Largest frame without jumbo frames, FCS included; MAXFRS resets to it. */
export const MAX_FRAME_RESET = 1518;

/** Which TCP flags the first, middle and last segment keep: FIN and PSH only in the last, CWR only in the first. */
const TCP_FLAGS_FIRST = 0xff6;
const TCP_FLAGS_MIDDLE = 0xf76;
const TCP_FLAGS_LAST = 0xf7f;

const counter = (offset: number) => ({ offset, width: 32, access: 'rc', spec: '8.2.3.23' }) as const;

export const pfTable = /* @__PURE__ */ registerTable(
  '82599-pf',
  { bytes: PF_REGISTER_BYTES, sizes: [1, 2, 4], refused: 0 },
  {
    CTRL: {
      offset: 0x0000,
      width: 32,
      spec: '8.2.3.1',
      fields: { MASTER_DISABLE: [2, 1, 'rw'], LINK_RESET: [3, 1, 'wo'], RST: [26, 1, 'wo'] },
    },
    STATUS: {
      offset: 0x0008,
      width: 32,
      spec: '8.2.3.1',
      fields: {
        LAN_ID: [2, 2, 'const'],
        NUM_VFS: [10, 8, 'ro'],
        IOV: [18, 1, 'ro'],
        MASTER_ENABLED: [19, 1, 'ro'],
      },
    },
    CTRL_EXT: {
      offset: 0x0018,
      width: 32,
      spec: '8.2.3.1',
      fields: { PFRSTD: [14, 1, 'rw'], NO_SNOOP_DISABLE: [16, 1, 'rw'], DRV_LOAD: [28, 1, 'rw'] },
    },
    FREE_RUNNING_TIMER: { offset: 0x0048, width: 32, access: 'ro', spec: '8.2.3.1' },
    RXMEMWRAP: { offset: 0x3190, width: 32, access: 'ro', spec: '8.2.3.8' },

    EICR: { offset: 0x0800, width: 32, access: 'rcw1c', spec: '8.2.3.5' },
    EICS: { offset: 0x0808, width: 32, access: 'wo', spec: '8.2.3.5' },
    EIMS: { offset: 0x0880, width: 32, access: 'ro', spec: '8.2.3.5' },
    EIMC: { offset: 0x0888, width: 32, access: 'wo', spec: '8.2.3.5' },
    EIAC: { offset: 0x0810, width: 32, access: 'rw', spec: '8.2.3.5' },
    EIAM: { offset: 0x0890, width: 32, access: 'rw', spec: '8.2.3.5' },
    EITR: {
      offset: 0x0820,
      width: 32,
      count: 24,
      spec: '8.2.3.5',
      fields: { INTERVAL: [3, 9, 'rw'], LOW_LATENCY: [15, 1, 'rw'], KEEP_COUNTER: [31, 1, 'wo'] },
    },
    IVAR: {
      offset: 0x0900,
      width: 32,
      count: 64,
      spec: '8.2.3.5',
      fields: {
        RX0_VECTOR: [0, 6, 'rw'],
        RX0_VALID: [7, 1, 'rw'],
        TX0_VECTOR: [8, 6, 'rw'],
        TX0_VALID: [15, 1, 'rw'],
        RX1_VECTOR: [16, 6, 'rw'],
        RX1_VALID: [23, 1, 'rw'],
        TX1_VECTOR: [24, 6, 'rw'],
        TX1_VALID: [31, 1, 'rw'],
      },
    },
    IVAR_MISC: {
      offset: 0x0a00,
      width: 32,
      spec: '8.2.3.5',
      fields: {
        TIMER_VECTOR: [0, 6, 'rw'],
        TIMER_VALID: [7, 1, 'rw'],
        OTHER_VECTOR: [8, 6, 'rw'],
        OTHER_VALID: [15, 1, 'rw'],
      },
    },
    GPIE: {
      offset: 0x0898,
      width: 32,
      spec: '8.2.3.5',
      fields: {
        MSIX: [4, 1, 'rw'],
        OTHER_CLEAR_DISABLE: [5, 1, 'rw'],
        VT_MODE: [14, 2, 'rw'],
        EIAME: [30, 1, 'rw'],
        PBA: [31, 1, 'rw'],
      },
    },

    VFLRE0: { offset: 0x0600, width: 32, access: 'ro', spec: '8.2.3.27' },
    VFLRE1: { offset: 0x01c0, width: 32, access: 'ro', spec: '8.2.3.27' },
    VFLREC: { offset: 0x0700, width: 32, access: 'wo', count: 2, spec: '8.2.3.27' },
    MBICR: {
      offset: 0x0710,
      width: 32,
      count: 4,
      spec: '8.2.3.27',
      fields: { VFREQ: [0, 16, 'w1c'], VFACK: [16, 16, 'w1c'] },
    },
    MBIMR: { offset: 0x0720, width: 32, access: 'rw', reset: 0xffff_ffff, count: 4, spec: '8.2.3.27' },
    MAILBOX: {
      offset: 0x4b00,
      width: 32,
      count: POOLS,
      spec: '8.2.3.27',
      fields: {
        STS: [0, 1, 'wo'],
        ACK: [1, 1, 'wo'],
        VFU: [2, 1, 'wo'],
        PFU: [3, 1, 'wo'],
        RVFU: [4, 1, 'wo'],
      },
    },

    RXCTRL: { offset: 0x3000, width: 32, spec: '8.2.3.8', fields: { RXEN: [0, 1, 'rw'] } },
    DMATXCTL: {
      offset: 0x4a80,
      width: 32,
      spec: '8.2.3.9',
      fields: { TE: [0, 1, 'rw'], GDV: [3, 1, 'rw'] },
    },
    TCP_FLAGS_LOW: {
      offset: 0x4a88,
      width: 32,
      reset: TCP_FLAGS_FIRST | (TCP_FLAGS_MIDDLE << 16),
      spec: '8.2.3.9',
      fields: { FIRST: [0, 12, 'rw'], MIDDLE: [16, 12, 'rw'] },
    },
    TCP_FLAGS_HIGH: {
      offset: 0x4a8c,
      width: 32,
      reset: TCP_FLAGS_LAST,
      spec: '8.2.3.9',
      fields: { LAST: [0, 12, 'rw'] },
    },
    HLREG0: {
      offset: 0x4240,
      width: 32,
      reset: 0x0000_0403,
      spec: '8.2.3.22',
      fields: {
        TX_CRC: [0, 1, 'rw'],
        RX_CRC_STRIP: [1, 1, 'rw'],
        JUMBO: [2, 1, 'rw'],
        TX_PAD: [10, 1, 'rw'],
        LOOPBACK: [15, 1, 'rw'],
      },
    },
    MAXFRS: {
      offset: 0x4268,
      width: 32,
      reset: MAX_FRAME_RESET * 2 ** 16,
      spec: '8.2.3.22',
      fields: { BYTES: [16, 16, 'rw'] },
    },
    LINKS: {
      offset: 0x42a4,
      width: 32,
      spec: '8.2.3.22',
      fields: { SPEED: [28, 2, 'ro'], UP: [30, 1, 'ro'] },
    },
    QDE: {
      offset: 0x2f04,
      width: 32,
      spec: '8.2.3.27',
      fields: {
        ENABLE: [0, 1, 'wo'],
        HIDE_VLAN: [1, 1, 'wo'],
        QUEUE: [8, 7, 'wo'],
        WRITE: [16, 1, 'wo'],
      },
    },

    RXCSUM: {
      offset: 0x5000,
      width: 32,
      spec: '8.2.3.7',
      fields: { IP_PAYLOAD: [12, 1, 'rw'], RSS_HASH: [13, 1, 'rw'] },
    },
    MRQC: {
      offset: 0x5818,
      width: 32,
      spec: '8.2.3.7',
      fields: {
        MODE: [0, 4, 'rw'],
        TCP_IPV4: [16, 1, 'rw'],
        IPV4: [17, 1, 'rw'],
        IPV6: [20, 1, 'rw'],
        TCP_IPV6: [21, 1, 'rw'],
        UDP_IPV4: [22, 1, 'rw'],
        UDP_IPV6: [23, 1, 'rw'],
      },
    },
    RETA: { offset: 0x5c00, width: 32, access: 'rw', count: 32, spec: '8.2.3.7' },
    RSSRK: { offset: 0x5c80, width: 32, access: 'rw', count: 10, spec: '8.2.3.7' },

    VLNCTRL: { offset: 0x5088, width: 32, spec: '8.2.3.7', fields: { VFE: [30, 1, 'rw'] } },
    MCSTCTRL: {
      offset: 0x5090,
      width: 32,
      spec: '8.2.3.7',
      fields: { OFFSET: [0, 2, 'rw'], ENABLE: [2, 1, 'rw'] },
    },
    VT_CTL: {
      offset: 0x51b0,
      width: 32,
      spec: '8.2.3.27',
      fields: {
        ENABLE: [0, 1, 'rw'],
        DEFAULT_POOL: [7, 6, 'rw'],
        NO_DEFAULT: [29, 1, 'rw'],
        REPLICATE: [30, 1, 'rw'],
      },
    },
    VFRE: { offset: 0x51e0, width: 32, access: 'rw', count: 2, spec: '8.2.3.27' },
    VFTE: { offset: 0x8110, width: 32, access: 'rw', count: 2, spec: '8.2.3.27' },
    VMTXSW: { offset: 0x5180, width: 32, access: 'rw', count: 2, spec: '8.2.3.27' },
    MTA: { offset: 0x5200, width: 32, access: 'rw', count: 128, spec: '8.2.3.7' },
    RAL: { offset: 0xa200, width: 32, access: 'rw', count: RECEIVE_ADDRESSES, stride: 8, spec: '8.2.3.7' },
    RAH: {
      offset: 0xa204,
      width: 32,
      count: RECEIVE_ADDRESSES,
      stride: 8,
      spec: '8.2.3.7',
      fields: { ADDRESS: [0, 16, 'rw'], VALID: [31, 1, 'rw'] },
    },
    MPSAR_LOW: {
      offset: 0xa600,
      width: 32,
      access: 'rw',
      count: RECEIVE_ADDRESSES,
      stride: 8,
      spec: '8.2.3.7',
    },
    MPSAR_HIGH: {
      offset: 0xa604,
      width: 32,
      access: 'rw',
      count: RECEIVE_ADDRESSES,
      stride: 8,
      spec: '8.2.3.7',
    },
    VFTA: { offset: 0xa000, width: 32, access: 'rw', count: 128, spec: '8.2.3.7' },
    VMOLR: {
      offset: 0xf000,
      width: 32,
      count: POOLS,
      spec: '8.2.3.27',
      fields: {
        UPE: [22, 1, 'rw'],
        VPE: [23, 1, 'rw'],
        AUPE: [24, 1, 'rw'],
        ROMPE: [25, 1, 'rw'],
        ROPE: [26, 1, 'rw'],
        BAM: [27, 1, 'rw'],
        MPE: [28, 1, 'rw'],
      },
    },
    VLVF: {
      offset: 0xf100,
      width: 32,
      count: VLAN_FILTERS,
      spec: '8.2.3.27',
      fields: { VLAN: [0, 12, 'rw'], VALID: [31, 1, 'rw'] },
    },
    VLVFB: { offset: 0xf200, width: 32, access: 'rw', count: VLAN_FILTERS * 2, spec: '8.2.3.27' },
    UTA: { offset: 0xf400, width: 32, access: 'rw', count: 128, spec: '8.2.3.27' },
    VMVIR: {
      offset: 0x8000,
      width: 32,
      count: POOLS,
      spec: '8.2.3.27',
      fields: { TAG: [0, 16, 'rw'], ACTION: [30, 2, 'rw'] },
    },
    VFSPOOF: {
      offset: 0x8200,
      width: 32,
      count: 8,
      spec: '8.2.3.27',
      fields: { MAC: [0, 8, 'rw'], VLAN: [8, 8, 'rw'] },
    },
    TX_SWITCH: { offset: 0x8220, width: 32, spec: '8.2.3.27', fields: { LOOPBACK: [0, 1, 'rw'] } },
    SPOOF_COUNT: counter(0x8780),
    VMECM: { offset: 0x8790, width: 32, access: 'rw', count: 2, spec: '8.2.3.27' },
    MTQC: { offset: 0x8120, width: 32, access: 'rw', spec: '8.2.3.9' },
    GCR_EXT: { offset: 0x1_1050, width: 32, access: 'rw', spec: '8.2.3.4' },

    MISSED_PACKETS: counter(0x3fa0),
    QPRDC: { offset: 0x1430, width: 32, access: 'rc', count: 16, stride: 0x40, spec: '8.2.3.23' },
    GPRC: counter(0x4074),
    BPRC: counter(0x4078),
    MPRC: counter(0x407c),
    GPTC: counter(0x4080),
    GORC_LOW: counter(0x4088),
    GORC_HIGH: counter(0x408c),
    GOTC_LOW: counter(0x4090),
    GOTC_HIGH: counter(0x4094),
    OVERSIZE: counter(0x40ac),
    TPR: counter(0x40d0),
    TPT: counter(0x40d4),
    MPTC: counter(0x40f0),
    BPTC: counter(0x40f4),
  },
);

export const pfRegisters = pfTable.reg;

/** EICR bits of causes that are not queues. 8.2.3.5 */
export const CAUSE_MAILBOX = 1 << 19;
export const CAUSE_LINK = 1 << 20;

/** LINKS speed: 10 Gbit/s. */
export const LINK_10G = 3;

/** VMVIR actions. */
export const VLAN_INSERT_DEFAULT = 1;
export const VLAN_INSERT_NEVER = 2;

/** MRQC modes with RSS inside pools: 64 pools of two queues, 32 of four. */
export const MRQC_POOLS_64_RSS = 0xa;

/** GPIE and GCR_EXT virtualisation mode: 64 pools. */
export const VT_MODE_64 = 3;
