// Configuration space: offsets and bits of PCI Express Base Specification 6.0, chapter 7, by Linux's names.
export const PCI_VENDOR_ID: u32 = 0x00;
export const PCI_COMMAND: u32 = 0x04;
export const PCI_COMMAND_MEMORY: u32 = 0x2;
export const PCI_COMMAND_MASTER: u32 = 0x4;
export const PCI_STATUS: u32 = 0x06;
export const PCI_STATUS_CAP_LIST: u32 = 0x10;
export const PCI_CLASS_REVISION: u32 = 0x08;
export const PCI_HEADER_TYPE: u32 = 0x0e;
export const PCI_HEADER_TYPE_MASK: u32 = 0x7f;
export const PCI_HEADER_TYPE_BRIDGE: u32 = 1;
export const PCI_HEADER_TYPE_MFD: u32 = 0x80;
export const PCI_BASE_ADDRESS_0: u32 = 0x10;
export const PCI_BASE_ADDRESS_SPACE_IO: u32 = 0x1;
export const PCI_BASE_ADDRESS_MEM_TYPE_64: u32 = 0x4;
export const PCI_BASE_ADDRESS_MEM_PREFETCH: u32 = 0x8;
export const PCI_CAPABILITY_LIST: u32 = 0x34;

export const PCI_PRIMARY_BUS: u32 = 0x18;
export const PCI_SECONDARY_BUS: u32 = 0x19;
export const PCI_SUBORDINATE_BUS: u32 = 0x1a;
export const PCI_MEMORY_BASE: u32 = 0x20;
export const PCI_PREF_MEMORY_BASE: u32 = 0x24;
export const PCI_PREF_BASE_UPPER32: u32 = 0x28;
export const PCI_PREF_LIMIT_UPPER32: u32 = 0x2c;

export const PCI_BRIDGE_CONTROL: u32 = 0x3e;
export const PCI_BRIDGE_CTL_BUS_RESET: u32 = 0x40;

export const PCI_CAP_ID_EXP: u32 = 0x10;
export const PCI_CAP_ID_MSIX: u32 = 0x11;

export const PCI_EXP_FLAGS: u32 = 0x02;
export const PCI_EXP_TYPE_ROOT_PORT: u32 = 0x4;

export const PCI_MSIX_FLAGS: u32 = 0x02;
export const PCI_MSIX_FLAGS_QSIZE: u32 = 0x07ff;
export const PCI_MSIX_FLAGS_MASKALL: u32 = 0x4000;
export const PCI_MSIX_FLAGS_ENABLE: u32 = 0x8000;
export const PCI_MSIX_TABLE: u32 = 0x04;
export const PCI_MSIX_TABLE_BIR: u32 = 0x7;
export const PCI_MSIX_ENTRY_SIZE: u32 = 16;
export const PCI_MSIX_ENTRY_LOWER_ADDR: u32 = 0x0;
export const PCI_MSIX_ENTRY_UPPER_ADDR: u32 = 0x4;
export const PCI_MSIX_ENTRY_DATA: u32 = 0x8;
export const PCI_MSIX_ENTRY_VECTOR_CTRL: u32 = 0xc;
export const PCI_MSIX_ENTRY_CTRL_MASKBIT: u32 = 1;
