/**
 * The messages of vfio-user: a VFIO device of another process, over a UNIX socket. Commands, their structures and flags, as
 * QEMU, libvfio-user and rust-vmm's crate have them; numbers are in the byte order of the host.
 */
import { layout, u16, u32, u64 } from '../../base/layout.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';

export const COMMAND = {
  VERSION: 1,
  DMA_MAP: 2,
  DMA_UNMAP: 3,
  GET_INFO: 4,
  GET_REGION_INFO: 5,
  GET_REGION_IO_FDS: 6,
  GET_IRQ_INFO: 7,
  SET_IRQS: 8,
  REGION_READ: 9,
  REGION_WRITE: 10,
  DMA_READ: 11,
  DMA_WRITE: 12,
  RESET: 13,
  REGION_WRITE_MULTI: 15,
  DEVICE_FEATURE: 16,
  MIG_DATA_READ: 17,
  MIG_DATA_WRITE: 18,
} as const;

/** In the header. */
export const TYPE_MASK = 0xf;
export const TYPE_COMMAND = 0;
export const TYPE_REPLY = 1;
export const FLAG_NO_REPLY = 0x10;
export const FLAG_ERROR = 0x20;

export const header = layout('vfio-user header', {
  id: u16(),
  command: u16(),
  size: u32(),
  flags: u32(),
  error: u32(),
});
export const version = layout('vfio-user version', { major: u16(), minor: u16() });
export const dmaMap = layout('vfio-user DMA map', {
  argsz: u32(),
  flags: u32(),
  offset: u64(),
  address: u64(),
  size: u64(),
});
export const dmaUnmap = layout('vfio-user DMA unmap', {
  argsz: u32(),
  flags: u32(),
  address: u64(),
  size: u64(),
});
export const deviceInfo = layout('vfio-user device info', {
  argsz: u32(),
  flags: u32(),
  regions: u32(),
  irqs: u32(),
});
export const regionInfo = layout('vfio-user region info', {
  argsz: u32(),
  flags: u32(),
  index: u32(),
  capabilities: u32(),
  size: u64(),
  offset: u64(),
});
export const irqInfo = layout('vfio-user interrupt info', {
  argsz: u32(),
  flags: u32(),
  index: u32(),
  count: u32(),
});
export const irqSet = layout('vfio-user interrupts', {
  argsz: u32(),
  flags: u32(),
  index: u32(),
  start: u32(),
  count: u32(),
});
export const regionAccess = layout('vfio-user region access', { offset: u64(), region: u32(), count: u32() });
export const dmaAccess = layout('vfio-user DMA access', { address: u64(), count: u64() });
/** Before the data of VFIO_DEVICE_FEATURE; `argsz` is the room for the whole answer. */
export const deviceFeature = layout('vfio-user device feature', { argsz: u32(), flags: u32() });
/** Before a piece of the device's state. */
export const migrationData = layout('vfio-user migration data', { argsz: u32(), size: u32() });
/** Of several writes in one message; the data is as long as a register at most. */
export const WRITE_MULTI_COUNT_BYTES = 8;
export const WRITE_MULTI_ENTRY_BYTES = regionAccess.size + 8;

export const MAP_READ = 1;
export const MAP_WRITE = 2;
export const UNMAP_ALL = 2;

export const DEVICE_RESETS = 1;
export const DEVICE_IS_PCI = 2;
export const REGIONS = 9;
export const CONFIG_REGION = 7;
export const CONFIG_BYTES = 4096;
export const BARS = 6;
export const REGION_READS = 1;
export const REGION_WRITES = 2;

export const IRQ_INDICES = 5;
export const IRQ_MSIX = 2;
export const IRQ_EVENTFD = 1;
export const IRQ_NO_RESIZE = 8;
export const SET_NONE = 1;
export const SET_BOOL = 2;
export const SET_EVENTFD = 4;
export const SET_TRIGGER = 0x20;

/** Major and minor as this end speaks them; a client's minor may be lower. */
export const MAJOR = 0;
export const MINOR = 1;
/** The minor that rust-vmm's client proposes, and no other: it reads replies of a fixed size, errors too. */
export const MINOR_OF_FIXED_REPLIES = 1;

/** Of one access to a region. */
export const TRANSFER_BYTES_MAX = MIB;
/** The longest message that is taken: a write of that length with its structure and header. */
export const MESSAGE_BYTES_MAX = header.size + regionAccess.size + TRANSFER_BYTES_MAX;
export const MESSAGE_FDS_MAX = 16;
export const DMA_MAPS_MAX = 65_535;

/** What this end can do, in the reply to a client's version. */
export const CAPABILITIES = {
  capabilities: {
    max_msg_fds: MESSAGE_FDS_MAX,
    max_data_xfer_size: TRANSFER_BYTES_MAX,
    max_dma_maps: DMA_MAPS_MAX,
    pgsizes: PAGE_BYTES,
    write_multiple: true,
    migration: { pgsize: PAGE_BYTES },
  },
} as const;

/** Errors as Linux numbers them: the protocol passes them on. */
export const ENOENT = 2;
export const EIO = 5;
export const E2BIG = 7;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOTTY = 25;
export const ENOSPC = 28;
export const ENOSYS = 38;

/** A command that can't be carried out: the reply says why. */
export class Refusal extends Error {
  readonly errno: number;

  constructor(errno: number, why: string) {
    super(why);
    this.errno = errno;
  }
}
