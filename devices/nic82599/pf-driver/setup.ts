/** What the driver programs once: virtualisation with 64 pools, the internal switch, receive-side scaling, interrupts. */
import {
  CAUSE_LINK,
  CAUSE_MAILBOX,
  MRQC_POOLS_64_RSS,
  pfRegisters as reg,
  VT_MODE_64,
} from '../pf-registers.js';
import { offsetOf, type RegisterPort } from './register-port.js';

export interface DeviceSetup {
  /** The host's own pool, which gets what no VF is the address of. */
  readonly ownPool: number;
  /** Largest frame, FCS included. */
  readonly frameBytes: number;
  readonly rssKey: readonly number[] | undefined;
}

/** Interrupt vector of everything that is not a queue. */
const OTHER_VECTOR = 0;
/** The key of Microsoft's RSS verification suite, which most drivers start with. */
const DEFAULT_RSS_KEY = [
  0xda565a6d, 0xc20e5b25, 0x3d256741, 0xb08fa343, 0xcb2bcad0, 0xb4307bae, 0xa32dcb77, 0x0cf23080, 0x3bb7426a,
  0xfa01acbe,
] as const;
/** Four entries of the redirection table: hash values alternate between a pool's two queues. */
const ALTERNATE_QUEUES = 0x0100_0100;

/** Programs a device that was just reset; nothing moves yet. */
export function setUpDevice(port: RegisterPort, setup: DeviceSetup): void {
  port.write(reg.GPIE.offset, reg.GPIE.fields.MSIX.mask | reg.GPIE.fields.VT_MODE.set(0, VT_MODE_64));
  port.write(reg.GCR_EXT.offset, VT_MODE_64);
  const { ENABLE, DEFAULT_POOL, REPLICATE } = reg.VT_CTL.fields;
  port.write(reg.VT_CTL.offset, (DEFAULT_POOL.set(0, setup.ownPool) | ENABLE.mask | REPLICATE.mask) >>> 0);
  port.write(reg.TX_SWITCH.offset, reg.TX_SWITCH.fields.LOOPBACK.mask);
  port.write(reg.VLNCTRL.offset, reg.VLNCTRL.fields.VFE.mask);
  port.write(reg.MCSTCTRL.offset, reg.MCSTCTRL.fields.ENABLE.mask);
  port.write(reg.MAXFRS.offset, reg.MAXFRS.fields.BYTES.set(0, setup.frameBytes));

  const key = setup.rssKey ?? DEFAULT_RSS_KEY;
  for (let i = 0; i < reg.RSSRK.count; i++) port.write(offsetOf(reg.RSSRK, i), (key[i] ?? 0) >>> 0);
  for (let i = 0; i < reg.RETA.count; i++) port.write(offsetOf(reg.RETA, i), ALTERNATE_QUEUES);
  const { MODE, TCP_IPV4, IPV4, IPV6, TCP_IPV6 } = reg.MRQC.fields;
  const kinds = TCP_IPV4.mask | IPV4.mask | IPV6.mask | TCP_IPV6.mask;
  port.write(reg.MRQC.offset, MODE.set(kinds, MRQC_POOLS_64_RSS));
  port.write(reg.RXCSUM.offset, reg.RXCSUM.fields.RSS_HASH.mask);
}

/** Lets frames move and interrupts come, and tells the VFs that the physical function is there. */
export function startDevice(port: RegisterPort): void {
  port.write(reg.RXCTRL.offset, reg.RXCTRL.fields.RXEN.mask);
  port.write(reg.DMATXCTL.offset, reg.DMATXCTL.fields.TE.mask);
  const { OTHER_VECTOR: vector, OTHER_VALID } = reg.IVAR_MISC.fields;
  port.write(reg.IVAR_MISC.offset, vector.set(0, OTHER_VECTOR) | OTHER_VALID.mask);
  port.read(reg.EICR.offset);
  port.write(reg.EIMS.offset, CAUSE_MAILBOX | CAUSE_LINK);
  const { PFRSTD, DRV_LOAD } = reg.CTRL_EXT.fields;
  port.write(reg.CTRL_EXT.offset, PFRSTD.mask | DRV_LOAD.mask);
}
