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

export const PCI_CAP_ID_MSI: u32 = 0x05;
export const PCI_CAP_ID_EXP: u32 = 0x10;
export const PCI_CAP_ID_MSIX: u32 = 0x11;

export const PCI_EXP_FLAGS: u32 = 0x02;
export const PCI_EXP_TYPE_ROOT_PORT: u32 = 0x4;
export const PCI_EXP_FLAGS_SLOT: u32 = 0x100;
export const PCI_EXP_DEVCTL: u32 = 0x08;
/** Correctable, non-fatal, fatal, and unsupported requests: all are reported. */
export const PCI_EXP_DEVCTL_REPORTING: u32 = 0xf;
export const PCI_EXP_DEVSTA: u32 = 0x0a;
export const PCI_EXP_LNKCTL: u32 = 0x10;
export const PCI_EXP_LNKCTL_LD: u32 = 0x10;
export const PCI_EXP_LNKSTA: u32 = 0x12;
export const PCI_EXP_LNKSTA_NLW: u32 = 0x03f0;
export const PCI_EXP_LNKSTA_LT: u32 = 0x0800;
export const PCI_EXP_LNKSTA_DLLLA: u32 = 0x2000;
export const PCI_EXP_SLTCAP: u32 = 0x14;
export const PCI_EXP_SLTCAP_ABP: u32 = 0x1;
export const PCI_EXP_SLTCAP_PCP: u32 = 0x2;
export const PCI_EXP_SLTCAP_MRLSP: u32 = 0x4;
export const PCI_EXP_SLTCAP_AIP: u32 = 0x8;
export const PCI_EXP_SLTCAP_PIP: u32 = 0x10;
export const PCI_EXP_SLTCAP_HPS: u32 = 0x20;
export const PCI_EXP_SLTCAP_HPC: u32 = 0x40;
export const PCI_EXP_SLTCAP_EIP: u32 = 0x2_0000;
export const PCI_EXP_SLTCAP_NCCS: u32 = 0x4_0000;
export const PCI_EXP_SLTCTL: u32 = 0x18;
export const PCI_EXP_SLTCTL_ABPE: u32 = 0x1;
export const PCI_EXP_SLTCTL_PDCE: u32 = 0x8;
export const PCI_EXP_SLTCTL_CCIE: u32 = 0x10;
export const PCI_EXP_SLTCTL_HPIE: u32 = 0x20;
export const PCI_EXP_SLTCTL_AIC: u32 = 0xc0;
export const PCI_EXP_SLTCTL_PIC: u32 = 0x300;
export const PCI_EXP_SLTCTL_PCC: u32 = 0x400;
export const PCI_EXP_SLTCTL_DLLSCE: u32 = 0x1000;
export const PCI_EXP_SLTSTA: u32 = 0x1a;
export const PCI_EXP_SLTSTA_ABP: u32 = 0x1;
export const PCI_EXP_SLTSTA_PFD: u32 = 0x2;
export const PCI_EXP_SLTSTA_MRLSC: u32 = 0x4;
export const PCI_EXP_SLTSTA_PDC: u32 = 0x8;
export const PCI_EXP_SLTSTA_CC: u32 = 0x10;
export const PCI_EXP_SLTSTA_PDS: u32 = 0x40;
export const PCI_EXP_SLTSTA_DLLSC: u32 = 0x100;
/** All that happened to a slot, which is written back to be cleared. */
export const PCI_EXP_SLTSTA_EVENTS: u32 = 0x11f;

export const PCI_EXT_CAP_ID_ERR: u32 = 0x01;
export const PCI_ERR_UNCOR_STATUS: u32 = 0x04;
export const PCI_ERR_UNCOR_MASK: u32 = 0x08;
export const PCI_ERR_COR_STATUS: u32 = 0x10;
export const PCI_ERR_CAP: u32 = 0x18;
export const PCI_ERR_ROOT_COMMAND: u32 = 0x2c;
export const PCI_ERR_ROOT_CMD_ALL: u32 = 0x7;
export const PCI_ERR_ROOT_STATUS: u32 = 0x30;
export const PCI_ERR_ROOT_COR_RCV: u32 = 0x01;
export const PCI_ERR_ROOT_MULTI_COR_RCV: u32 = 0x02;
export const PCI_ERR_ROOT_UNCOR_RCV: u32 = 0x04;
export const PCI_ERR_ROOT_MULTI_UNCOR_RCV: u32 = 0x08;
export const PCI_ERR_ROOT_FATAL_RCV: u32 = 0x40;
export const PCI_ERR_ROOT_ERR_SRC: u32 = 0x34;

export const PCI_EXT_CAP_ID_DVSEC: u32 = 0x23;

export const PCI_MSI_FLAGS: u32 = 0x02;
export const PCI_MSI_FLAGS_ENABLE: u32 = 0x1;
export const PCI_MSI_ADDRESS_LO: u32 = 0x04;
export const PCI_MSI_ADDRESS_HI: u32 = 0x08;
export const PCI_MSI_DATA_64: u32 = 0x0c;

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
