/**
 * Registers of one virtual function of the 82599 (BAR 0). Sections are the chapters of Intel's 82599 datasheet.
 *
 * The same file holds a pool's queues whoever owns it: the physical function reaches it through its views. Sticky bits
 * are what a VF's function-level reset leaves alone: queue registers, mailbox memory and counters (82599 specification
 * update, software clarification 5).
 */
import { block, registerTable } from '../../base/registers.js';

export const VF_BAR_BYTES = 0x4000;
/** With 64 pools each has two receive and two transmit queues. */
export const QUEUES_PER_POOL = 2;
export const VF_VECTORS = 3;
export const MAILBOX_DWORDS = 16;
const QUEUE_STRIDE = 0x40;
export const DESCRIPTOR_BYTES = 16;

/** Settings of the direct cache access registers that a driver finds after reset. */
const DCA_RX_RESET = 0xa200;
const DCA_TX_RESET = 0x2a00;
/** 2 KiB packet buffers, 256-byte header buffers. */
const SRRCTL_RESET = 0x402;

const ivarFields = {
  RX0_VECTOR: [0, 2, 'rw'],
  RX0_VALID: [7, 1, 'rw'],
  TX0_VECTOR: [8, 2, 'rw'],
  TX0_VALID: [15, 1, 'rw'],
  RX1_VECTOR: [16, 2, 'rw'],
  RX1_VALID: [23, 1, 'rw'],
  TX1_VECTOR: [24, 2, 'rw'],
  TX1_VALID: [31, 1, 'rw'],
} as const;

const causes = { CAUSES: [0, VF_VECTORS, 'rw'] } as const;

export const vfTable = /* @__PURE__ */ registerTable(
  '82599-vf',
  { bytes: VF_BAR_BYTES, sizes: [1, 2, 4], aligned: true },
  {
    CTRL: { offset: 0x0000, width: 32, spec: '8.3.5', fields: { RST: [26, 1, 'wo'] } },
    STATUS: {
      offset: 0x0008,
      width: 32,
      spec: '8.3.5',
      fields: { LAN_ID: [2, 2, 'ro'], MASTER_ENABLED: [19, 1, 'ro'] },
    },
    LINKS: { offset: 0x0010, width: 32, access: 'ro', spec: '8.3.5' },
    FREE_RUNNING_TIMER: { offset: 0x0048, width: 32, access: 'ro', spec: '8.3.5' },
    RXMEMWRAP: { offset: 0x3190, width: 32, access: 'ro', spec: '8.3.5' },

    EICR: { offset: 0x0100, width: 32, spec: '8.3.5', fields: { CAUSES: [0, VF_VECTORS, 'rcw1c'] } },
    EICS: { offset: 0x0104, width: 32, spec: '8.3.5', fields: { CAUSES: [0, VF_VECTORS, 'wo'] } },
    EIMS: { offset: 0x0108, width: 32, spec: '8.3.5', fields: { CAUSES: [0, VF_VECTORS, 'ro'] } },
    EIMC: { offset: 0x010c, width: 32, spec: '8.3.5', fields: { CAUSES: [0, VF_VECTORS, 'wo'] } },
    EIAC: { offset: 0x0110, width: 32, spec: '8.3.5', fields: causes },
    EIAM: { offset: 0x0114, width: 32, spec: '8.3.5', fields: causes },
    IVAR: { offset: 0x0120, width: 32, count: 4, spec: '8.3.5', fields: ivarFields },
    IVAR_MISC: {
      offset: 0x0140,
      width: 32,
      spec: '8.3.5',
      fields: { VECTOR: [0, 2, 'rw'], VALID: [7, 1, 'rw'] },
    },
    RSCINT: { offset: 0x0180, width: 32, access: 'rw', count: VF_VECTORS, spec: '8.3.5' },
    EITR: {
      offset: 0x0820,
      width: 32,
      count: VF_VECTORS,
      spec: '8.3.5',
      fields: {
        INTERVAL: [3, 9, 'rw'],
        LOW_LATENCY: [15, 1, 'rw'],
        KEEP_COUNTER: [31, 1, 'wo'],
      },
    },

    MBMEM: { offset: 0x0200, width: 32, access: 'rws', count: MAILBOX_DWORDS, spec: '8.3.5' },
    MAILBOX: {
      offset: 0x02fc,
      width: 32,
      spec: '8.3.5',
      fields: {
        REQ: [0, 1, 'wo'],
        ACK: [1, 1, 'wo'],
        VFU: [2, 1, 'ro'],
        PFU: [3, 1, 'ros'],
        PFSTS: [4, 1, 'rc'],
        PFACK: [5, 1, 'rc'],
        RSTI: [6, 1, 'ros'],
        RSTD: [7, 1, 'rc'],
      },
    },

    PSRTYPE: {
      offset: 0x0300,
      width: 32,
      spec: '8.3.5',
      fields: {
        TCP: [4, 1, 'rws'],
        UDP: [5, 1, 'rws'],
        IPV4: [8, 1, 'rws'],
        IPV6: [9, 1, 'rws'],
        L2: [12, 1, 'rws'],
        QUEUES: [29, 3, 'rws'],
      },
    },

    ...block(QUEUES_PER_POOL, QUEUE_STRIDE, {
      RDBAL: { offset: 0x1000, width: 32, spec: '8.3.5', fields: { BASE: [7, 25, 'rws'] } },
      RDBAH: { offset: 0x1004, width: 32, access: 'rws', spec: '8.3.5' },
      RDLEN: { offset: 0x1008, width: 32, spec: '8.3.5', fields: { BYTES: [7, 13, 'rws'] } },
      DCA_RXCTRL: {
        offset: 0x100c,
        width: 32,
        access: 'rws',
        reset: DCA_RX_RESET,
        spec: '8.3.5',
      },
      RDH: { offset: 0x1010, width: 32, spec: '8.3.5', fields: { INDEX: [0, 16, 'rws'] } },
      SRRCTL: {
        offset: 0x1014,
        width: 32,
        reset: SRRCTL_RESET,
        spec: '8.3.5',
        fields: {
          PACKET_KIB: [0, 7, 'rws'],
          HEADER_64B: [8, 6, 'rws'],
          MIN_THRESHOLD: [22, 3, 'rws'],
          DESCTYPE: [25, 3, 'rws'],
          DROP: [28, 1, 'rws'],
        },
      },
      RDT: { offset: 0x1018, width: 32, spec: '8.3.5', fields: { INDEX: [0, 16, 'rws'] } },
      RXDCTL: {
        offset: 0x1028,
        width: 32,
        spec: '8.3.5',
        fields: { LENGTH_LIMIT: [0, 16, 'rws'], ENABLE: [25, 1, 'rws'], STRIP_VLAN: [30, 1, 'rws'] },
      },
      RSCCTL: { offset: 0x102c, width: 32, access: 'rws', spec: '8.3.5' },
    }),

    ...block(QUEUES_PER_POOL, QUEUE_STRIDE, {
      TDBAL: { offset: 0x2000, width: 32, spec: '8.3.5', fields: { BASE: [7, 25, 'rws'] } },
      TDBAH: { offset: 0x2004, width: 32, access: 'rws', spec: '8.3.5' },
      TDLEN: { offset: 0x2008, width: 32, spec: '8.3.5', fields: { BYTES: [7, 13, 'rws'] } },
      DCA_TXCTRL: {
        offset: 0x200c,
        width: 32,
        access: 'rws',
        reset: DCA_TX_RESET,
        spec: '8.3.5',
      },
      TDH: { offset: 0x2010, width: 32, spec: '8.3.5', fields: { INDEX: [0, 16, 'rws'] } },
      TDT: { offset: 0x2018, width: 32, spec: '8.3.5', fields: { INDEX: [0, 16, 'rws'] } },
      TXDCTL: {
        offset: 0x2028,
        width: 32,
        spec: '8.3.5',
        fields: {
          PTHRESH: [0, 7, 'rws'],
          HTHRESH: [8, 7, 'rws'],
          WTHRESH: [16, 7, 'rws'],
          ENABLE: [25, 1, 'rws'],
          FLUSH: [26, 1, 'wo'],
        },
      },
      TDWBAL: {
        offset: 0x2038,
        width: 32,
        spec: '8.3.5',
        fields: { ENABLE: [0, 1, 'rws'], ADDRESS: [2, 30, 'rws'] },
      },
      TDWBAH: { offset: 0x203c, width: 32, access: 'rws', spec: '8.3.5' },
    }),

    GPRC: { offset: 0x101c, width: 32, access: 'ros', spec: '8.3.5' },
    GORC_LSB: { offset: 0x1020, width: 32, access: 'ros', spec: '8.3.5' },
    GORC_MSB: { offset: 0x1024, width: 32, spec: '8.3.5', fields: { OCTETS: [0, 4, 'ros'] } },
    MPRC: { offset: 0x1034, width: 32, access: 'ros', spec: '8.3.5' },
    GPTC: { offset: 0x201c, width: 32, access: 'ros', spec: '8.3.5' },
    GOTC_LSB: { offset: 0x2020, width: 32, access: 'ros', spec: '8.3.5' },
    GOTC_MSB: { offset: 0x2024, width: 32, spec: '8.3.5', fields: { OCTETS: [0, 4, 'ros'] } },
  },
);

export const vfRegisters = vfTable.reg;

/** Descriptor types of SRRCTL. 8.2.3.8 */
export const DESCTYPE_LEGACY = 0;
export const DESCTYPE_ADVANCED = 1;
export const DESCTYPE_HEADER_SPLIT = 2;
export const DESCTYPE_HEADER_ALWAYS = 5;
