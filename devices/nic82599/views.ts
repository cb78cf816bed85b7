/**
 * Where the physical function sees what belongs to pools: ranges of its offsets that show registers of pool files, and
 * the older place of the first receive addresses.
 */
import { PF_REGISTER_BYTES, POOLS, pfRegisters } from './pf-registers.js';
import { MAILBOX_DWORDS, QUEUES_PER_POOL, vfRegisters } from './registers.js';

/** A range of physical-function offsets that shows registers of pool files. */
export interface PoolView {
  readonly offset: number;
  readonly stride: number;
  /** First pool shown, and how many. */
  readonly firstPool: number;
  readonly pools: number;
  /** Offset in the pool's file. */
  readonly target: number;
}

const perPool = (offset: number, target: number, stride = 4): PoolView => ({
  offset,
  stride,
  firstPool: 0,
  pools: POOLS,
  target,
});

/** Queue `p` is queue `p % 2` of pool `p / 2`. Receive queues from 64 on lie in a second range. */
function queueViews(): PoolView[] {
  const views: PoolView[] = [];
  const stride = vfRegisters.RDBAL.stride;
  const half = POOLS / 2;
  for (let queue = 0; queue < QUEUES_PER_POOL; queue++) {
    const { RDBAL, RDBAH, RDLEN, DCA_RXCTRL, RDH, SRRCTL, RDT, RXDCTL, RSCCTL } = vfRegisters;
    for (const register of [RDBAL, RDBAH, RDLEN, DCA_RXCTRL, RDH, SRRCTL, RDT, RXDCTL, RSCCTL]) {
      const within = register.offset - RDBAL.offset;
      const target = register.offset + queue * stride;
      const common = { stride: stride * QUEUES_PER_POOL, pools: half, target };
      views.push({ ...common, offset: 0x1000 + queue * stride + within, firstPool: 0 });
      views.push({ ...common, offset: 0xd000 + queue * stride + within, firstPool: half });
    }
    const { TDBAL, TDBAH, TDLEN, DCA_TXCTRL, TDH, TDT, TXDCTL, TDWBAL, TDWBAH } = vfRegisters;
    for (const register of [TDBAL, TDBAH, TDLEN, DCA_TXCTRL, TDH, TDT, TXDCTL, TDWBAL, TDWBAH]) {
      const within = register.offset - TDBAL.offset;
      const target = register.offset + queue * stride;
      views.push(perPool(0x6000 + queue * stride + within, target, stride * QUEUES_PER_POOL));
    }
  }
  return views;
}

export const poolViews: readonly PoolView[] = /* @__PURE__ */ [
  ...queueViews(),
  perPool(0x0300, vfRegisters.CTRL.offset),
  perPool(0x4c00, vfRegisters.MAILBOX.offset),
  perPool(0x0b00, vfRegisters.EICR.offset),
  perPool(0x0c00, vfRegisters.EICS.offset),
  perPool(0x0d00, vfRegisters.EIMS.offset),
  perPool(0x0e00, vfRegisters.EIMC.offset),
  perPool(0x0f00, vfRegisters.EIAC.offset),
  perPool(0x4d00, vfRegisters.EIAM.offset),
  perPool(0x1_2500, vfRegisters.IVAR.offset),
  perPool(0x4e00, vfRegisters.IVAR_MISC.offset),
  perPool(0xea00, vfRegisters.PSRTYPE.offset),
  perPool(0x101c, vfRegisters.GPRC.offset, 0x40),
  perPool(0xd01c, vfRegisters.MPRC.offset, 0x40),
  perPool(0x8300, vfRegisters.GPTC.offset),
  perPool(0x8400, vfRegisters.GOTC_LSB.offset, 8),
  perPool(0x8404, vfRegisters.GOTC_MSB.offset, 8),
  ...Array.from({ length: MAILBOX_DWORDS }, (_, i) =>
    perPool(0x1_3000 + i * 4, vfRegisters.MBMEM.offset + i * 4, MAILBOX_DWORDS * 4),
  ),
];

/** The first 16 receive addresses have an older place too. 8.2.3.7 */
const RAL_ALIAS_OFFSET = 0x5400;
const RAL_ALIAS_BYTES = 16 * 8;

/** Register word of the physical function to pool and word there: `(pool << 16) | word`, or -1. */
export const viewOfWord: Int32Array = /* @__PURE__ */ (() => {
  const map = new Int32Array(PF_REGISTER_BYTES / 4).fill(-1);
  for (const view of poolViews) {
    for (let i = 0; i < view.pools; i++) {
      map[(view.offset + i * view.stride) / 4] = ((view.firstPool + i) << 16) | (view.target / 4);
    }
  }
  return map;
})();

/** The older place of the first receive addresses shows the newer one. */
export function aliased(offset: number): number {
  const within = offset - RAL_ALIAS_OFFSET;
  return within >= 0 && within < RAL_ALIAS_BYTES ? pfRegisters.RAL.offset + within : offset;
}
