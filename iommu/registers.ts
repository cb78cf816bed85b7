/** The unit's registers (VT-d specification, chapter 11) and what it says it can do. */
import { compose } from '../base/bits.js';
import { registerTable } from '../base/registers.js';

export const REGISTER_BYTES = 4096;
/** CAP.FRO: where fault records start. */
export const FAULT_RECORD_OFFSET = 0x220;
export const FAULT_RECORDS = 8;
/** ECAP.IRO: where IVA and IOTLB lie. */
export const IOTLB_REGISTER_OFFSET = 0xf0;

const CAP_FIELDS = {
  ND: [0, 3],
  AFL: [3, 1],
  RWBF: [4, 1],
  PLMR: [5, 1],
  PHMR: [6, 1],
  CM: [7, 1],
  SAGAW: [8, 5],
  MGAW: [16, 6],
  ZLR: [22, 1],
  FRO: [24, 10],
  SSLPS: [34, 4],
  PSI: [39, 1],
  NFR: [40, 8],
  MAMV: [48, 6],
  DWD: [54, 1],
  DRD: [55, 1],
  FS1GP: [56, 1],
  PI: [59, 1],
  FS5LP: [60, 1],
  ECMDS: [61, 1],
  ESIRTPS: [62, 1],
  ESRTPS: [63, 1],
} as const;

const ECAP_FIELDS = {
  C: [0, 1],
  QI: [1, 1],
  DT: [2, 1],
  IR: [3, 1],
  EIM: [4, 1],
  PT: [6, 1],
  SC: [7, 1],
  IRO: [8, 10],
  MHMV: [20, 4],
  NEST: [26, 1],
  PRS: [29, 1],
  ERS: [30, 1],
  SRS: [31, 1],
  NWFS: [33, 1],
  EAFS: [34, 1],
  PSS: [35, 5],
  PASID: [40, 1],
  SMTS: [43, 1],
  SSADS: [45, 1],
  SSTS: [46, 1],
  FSTS: [47, 1],
  SMPWCS: [48, 1],
  RPS: [49, 1],
} as const;

/** GCMD and GSTS share bit numbers: commands, and the states they lead to. */
const GLOBAL_BITS = {
  CFI: [23, 1],
  SIRTP: [24, 1],
  IRE: [25, 1],
  QIE: [26, 1],
  WBF: [27, 1],
  SRTP: [30, 1],
  TE: [31, 1],
} as const;

const EVENT_CONTROL = { IP: [30, 1, 'ro'], IM: [31, 1, 'rw'] } as const;
const EVENT_MASKED = 0x8000_0000;
const MESSAGE_ADDRESS = { MA: [2, 30, 'rw'] } as const;
const TABLE_BASE = [12, 52, 'rw'] as const;

export const vtdTable = registerTable(
  'vt-d',
  { bytes: REGISTER_BYTES, sizes: [4, 8], refused: 0 },
  {
    VER: { offset: 0x000, width: 32, access: 'ro', reset: 0x10, spec: '11.4.1' },
    CAP: { offset: 0x008, width: 64, access: 'ro', fields: CAP_FIELDS, spec: '11.4.2' },
    ECAP: { offset: 0x010, width: 64, access: 'ro', fields: ECAP_FIELDS, spec: '11.4.3' },
    GCMD: { offset: 0x018, width: 32, access: 'wo', fields: GLOBAL_BITS, spec: '11.4.4.1' },
    GSTS: { offset: 0x01c, width: 32, access: 'ro', fields: GLOBAL_BITS, spec: '11.4.4.2' },
    RTADDR: { offset: 0x020, width: 64, fields: { TTM: [10, 2, 'rw'], RTA: TABLE_BASE }, spec: '11.4.5' },
    CCMD: {
      offset: 0x028,
      width: 64,
      fields: {
        DID: [0, 16, 'rw'],
        SID: [16, 16, 'rw'],
        FM: [32, 2, 'rw'],
        CAIG: [59, 2, 'ro'],
        CIRG: [61, 2, 'rw'],
        ICC: [63, 1, 'rw'],
      },
      spec: '11.4.6.1',
    },
    FSTS: {
      offset: 0x034,
      width: 32,
      fields: {
        PFO: [0, 1, 'w1cs'],
        PPF: [1, 1, 'ros'],
        IQE: [4, 1, 'w1cs'],
        ICE: [5, 1, 'w1cs'],
        ITE: [6, 1, 'w1cs'],
        FRI: [8, 8, 'ros'],
      },
      spec: '11.4.7.1',
    },
    FECTL: { offset: 0x038, width: 32, reset: EVENT_MASKED, fields: EVENT_CONTROL, spec: '11.4.7.2' },
    FEDATA: { offset: 0x03c, width: 32, access: 'rw' },
    FEADDR: { offset: 0x040, width: 32, fields: MESSAGE_ADDRESS },
    FEUADDR: { offset: 0x044, width: 32, access: 'rw' },
    PMEN: { offset: 0x064, width: 32, access: 'ro', spec: '11.4.8.1' },
    IQH: { offset: 0x080, width: 64, fields: { QH: [4, 15, 'ro'] }, spec: '11.4.9.1' },
    IQT: { offset: 0x088, width: 64, fields: { QT: [4, 15, 'rw'] }, spec: '11.4.9.2' },
    IQA: {
      offset: 0x090,
      width: 64,
      fields: { QS: [0, 3, 'rw'], DW: [11, 1, 'rw'], IQA: TABLE_BASE },
      spec: '11.4.9.3',
    },
    ICS: { offset: 0x09c, width: 32, fields: { IWC: [0, 1, 'w1cs'] }, spec: '11.4.9.4' },
    IECTL: { offset: 0x0a0, width: 32, reset: EVENT_MASKED, fields: EVENT_CONTROL, spec: '11.4.9.5' },
    IEDATA: { offset: 0x0a4, width: 32, access: 'rw' },
    IEADDR: { offset: 0x0a8, width: 32, fields: MESSAGE_ADDRESS },
    IEUADDR: { offset: 0x0ac, width: 32, access: 'rw' },
    IQERCD: {
      offset: 0x0b0,
      width: 64,
      fields: { IQEI: [0, 4, 'ros'], ITESID: [32, 16, 'ros'], ICESID: [48, 16, 'ros'] },
      spec: '11.4.9.9',
    },
    IRTA: {
      offset: 0x0b8,
      width: 64,
      fields: { S: [0, 4, 'rw'], EIME: [11, 1, 'rw'], IRTA: TABLE_BASE },
      spec: '11.4.10',
    },
    PQH: { offset: 0x0c0, width: 64, fields: { PQH: [5, 14, 'rw'] }, spec: '11.4.11.1' },
    PQT: { offset: 0x0c8, width: 64, fields: { PQT: [5, 14, 'rw'] }, spec: '11.4.11.2' },
    PQA: { offset: 0x0d0, width: 64, fields: { PQS: [0, 3, 'rw'], PQA: TABLE_BASE }, spec: '11.4.11.3' },
    PRS: {
      offset: 0x0dc,
      width: 32,
      fields: { PPR: [0, 1, 'w1cs'], PRO: [1, 1, 'w1cs'] },
      spec: '11.4.11.4',
    },
    PECTL: { offset: 0x0e0, width: 32, reset: EVENT_MASKED, fields: EVENT_CONTROL, spec: '11.4.11.5' },
    PEDATA: { offset: 0x0e4, width: 32, access: 'rw' },
    PEADDR: { offset: 0x0e8, width: 32, fields: MESSAGE_ADDRESS },
    PEUADDR: { offset: 0x0ec, width: 32, access: 'rw' },
    IVA: {
      offset: IOTLB_REGISTER_OFFSET,
      width: 64,
      fields: { AM: [0, 6, 'rw'], IH: [6, 1, 'rw'], ADDR: TABLE_BASE },
      spec: '11.4.6.3',
    },
    IOTLB: {
      offset: IOTLB_REGISTER_OFFSET + 8,
      width: 64,
      fields: {
        DID: [32, 16, 'rw'],
        DW: [48, 1, 'rw'],
        DR: [49, 1, 'rw'],
        IAIG: [57, 2, 'ro'],
        IIRG: [60, 2, 'rw'],
        IVT: [63, 1, 'rw'],
      },
      spec: '11.4.6.2',
    },
    FRCD_LOW: {
      offset: FAULT_RECORD_OFFSET,
      width: 64,
      count: FAULT_RECORDS,
      stride: 16,
      fields: { FI: [12, 52, 'ros'] },
      spec: '11.4.7.6',
    },
    FRCD_HIGH: {
      offset: FAULT_RECORD_OFFSET + 8,
      width: 64,
      count: FAULT_RECORDS,
      stride: 16,
      fields: {
        SID: [0, 16, 'ros'],
        T2: [28, 1, 'ros'],
        PRIV: [29, 1, 'ros'],
        EXE: [30, 1, 'ros'],
        PP: [31, 1, 'ros'],
        FR: [32, 8, 'ros'],
        PV: [40, 20, 'ros'],
        AT: [60, 2, 'ros'],
        T1: [62, 1, 'ros'],
        F: [63, 1, 'w1cs'],
      },
      spec: '11.4.7.6',
    },
  },
);
export const { reg } = vtdTable;

/** What a unit is built with; the defaults are a recent server part with everything that the tables can express. */
export interface VtdOptions {
  /** Host physical address width in bits; address bits above it are reserved in every table. */
  readonly hostAddressWidth?: number;
  /** Width of the domain id in bits, even, from 4 to 16. */
  readonly domainIdBits?: number;
  /** Scalable mode: PASID tables, first stage, nesting. Without it only legacy tables work. */
  readonly scalableMode?: boolean;
  /** Accessed and dirty bits in second-stage tables (ECAP.SSADS). */
  readonly secondStageDirty?: boolean;
  /** Setting a table pointer invalidates what was cached from the old table (CAP.ESRTPS, ESIRTPS). */
  readonly invalidateOnPointerSet?: boolean;
  /** Devices may hold translations of their own (ECAP.DT) and ask for pages (ECAP.PRS). */
  readonly deviceTlb?: boolean;
}

export type VtdFeatures = Required<VtdOptions>;

export const DEFAULT_FEATURES: VtdFeatures = {
  hostAddressWidth: 52,
  domainIdBits: 16,
  scalableMode: true,
  secondStageDirty: true,
  invalidateOnPointerSet: true,
  deviceTlb: false,
};

/** Largest guest address width: five levels. */
export const ADDRESS_WIDTH_MAX = 57;
/** CAP.MAMV: the largest address mask of a page-selective invalidation, 2^18 pages or 1 GiB. */
export const ADDRESS_MASK_MAX = 18;
/** PASIDs have 20 bits. */
export const PASID_BITS = 20;

/** Reset values of CAP and ECAP. */
export function capabilityValues(features: VtdFeatures): {
  CAP: readonly [number, number];
  ECAP: readonly [number, number];
} {
  const flag = (on: boolean): number => (on ? 1 : 0);
  const { scalableMode, secondStageDirty, invalidateOnPointerSet, deviceTlb } = features;
  const cap = compose(reg.CAP.fields, 2, {
    ND: (features.domainIdBits - 4) / 2,
    SAGAW: 0b01110,
    MGAW: ADDRESS_WIDTH_MAX - 1,
    ZLR: 1,
    FRO: FAULT_RECORD_OFFSET / 16,
    SSLPS: 0b0011,
    PSI: 1,
    NFR: FAULT_RECORDS - 1,
    MAMV: ADDRESS_MASK_MAX,
    DWD: 1,
    DRD: 1,
    FS1GP: flag(scalableMode),
    PI: 1,
    FS5LP: flag(scalableMode),
    ESIRTPS: flag(invalidateOnPointerSet),
    ESRTPS: flag(invalidateOnPointerSet),
  });
  const ecap = compose(reg.ECAP.fields, 2, {
    C: 1,
    QI: 1,
    DT: flag(deviceTlb),
    IR: 1,
    EIM: 1,
    PT: 1,
    SC: 1,
    IRO: IOTLB_REGISTER_OFFSET / 16,
    MHMV: 15,
    NEST: flag(scalableMode),
    PRS: flag(scalableMode && deviceTlb),
    ERS: flag(scalableMode),
    SRS: flag(scalableMode),
    NWFS: 1,
    EAFS: flag(scalableMode),
    PSS: scalableMode ? PASID_BITS - 1 : 0,
    PASID: flag(scalableMode),
    SMTS: flag(scalableMode),
    SSADS: flag(scalableMode && secondStageDirty),
    SSTS: flag(scalableMode),
    FSTS: flag(scalableMode),
    SMPWCS: flag(scalableMode),
    RPS: flag(scalableMode),
  });
  return { CAP: [cap[0]!, cap[1]!], ECAP: [ecap[0]!, ecap[1]!] };
}
