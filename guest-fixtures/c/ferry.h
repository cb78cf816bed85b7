/*
 * The machine, for a guest in C: what docs/guest-interface.md has, and the little that every guest makes of it. Link with
 * ferry.c. Variables of C lie in guest RAM and move with it; the stack pointer is a register of the vCPU and moves as well.
 */
#ifndef FERRY_H
#define FERRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define FERRY_IMPORT(name) __attribute__((import_module("ferry"), import_name(#name)))
#define FERRY_EXPORT(name) __attribute__((export_name(#name)))

/* What the machine does for a guest. */
FERRY_IMPORT(mmio_read) u32 mmio_read(u32 address, u32 width);
FERRY_IMPORT(mmio_write) void mmio_write(u32 address, u32 width, u32 value);
FERRY_IMPORT(clock_ns) double clock_ns(void);
/* At `deadline` vector TIMER_VECTOR comes, once; negative: it does not come any more. */
FERRY_IMPORT(timer_program) void timer_program(double deadline);
FERRY_IMPORT(halt) void halt(void);
FERRY_IMPORT(irq_save) u32 irq_save(void);
FERRY_IMPORT(irq_restore) void irq_restore(u32 flags);

#define BOOT_PARAMS_MAGIC 0x59525246u
#define TIMER_VECTOR 0xec
#define FIRST_EXTERNAL_VECTOR 0x20
#define E820_RAM 1

struct memory_map_entry {
  u32 start, bytes, type;
};

struct boot_params {
  u32 magic;
  u16 version;
  u8 vcpus;
  u8 memory_map_entries;
  u32 ram_pages;
  const char *command_line;
  u32 command_line_bytes;
  u32 image;
  u32 image_bytes;
  u32 data_end;
  u32 seed;
  u32 reserved_24;
  double wall_clock_ns;
  u32 console_base;
  u32 power_base;
  u32 ecam_base;
  u32 ecam_bytes;
  u32 lapic_base;
  char hypervisor[12];
  u32 serial_base;
  u8 reserved_54[0x2c];
  struct memory_map_entry memory_map[16];
};

/* A guest's own entry, with interrupts disabled; when it returns, the vCPU has halted for good. */
FERRY_EXPORT(start_kernel) void start_kernel(const struct boot_params *boot);

/* Before anything else of ferry.c. */
void ferry_init(const struct boot_params *boot);
extern const struct boot_params *ferry_boot;

/* The number after `name=` on the command line. */
u32 param(const char *name, u32 otherwise);

/* A line of the console with the time in front of it: %s, %u, %d, %x, %c, with a width and zeros (%02x). */
void kprintf(const char *format, ...) __attribute__((format(printf, 1, 2)));

enum power { POWER_OFF = 1, POWER_RESET = 2, POWER_PANIC = 3 };
void power(enum power what);
/* From now on `vector` comes when the power button is pressed. */
void power_button(u8 vector);

/* Zeroed memory that a device may read and write, at the address at which it lies; never given back. */
void *dma_alloc(u32 bytes, u32 alignment);

/* Calls `handler` with interrupts disabled whenever `vector` comes. */
void irq_request(u8 vector, void (*handler)(void *data), void *data);

/* Nanoseconds are clock_ns's. Interrupts are taken meanwhile. */
void sleep_ns(double duration);
/* Until any of `*flags` is set, or until `deadline`; clears them and returns which there were. An interrupt handler sets them. */
u32 wait_for(volatile u32 *flags, double deadline);

/* A function of PCI Express; what does not answer reads as all ones. */
struct pci_dev {
  u32 bus, devfn;
};

u32 pci_read(const struct pci_dev *dev, u32 offset, u32 width);
void pci_write(const struct pci_dev *dev, u32 offset, u32 width, u32 value);
/* The `nth` function of that kind, from 0, behind any port, and the port. */
bool pci_find(u16 vendor, u16 device, u32 nth, struct pci_dev *dev, struct pci_dev *port);
/* Where a capability begins, 0 if there is none. */
u32 pci_find_capability(const struct pci_dev *dev, u8 id);
u32 pci_find_ext_capability(const struct pci_dev *dev, u16 id);
/* The address that firmware gave to a BAR. */
u32 pci_bar(const struct pci_dev *dev, u32 bar);
/* Its interrupts come as these vectors of vCPU 0; false if it has not so many. */
bool pci_enable_msi(const struct pci_dev *dev, u8 vector);
bool pci_enable_msix(const struct pci_dev *dev, const u8 *vectors, u32 count);

#define PCI_VENDOR_ID 0x00
#define PCI_COMMAND 0x04
#define PCI_COMMAND_MEMORY 0x2
#define PCI_COMMAND_MASTER 0x4
#define PCI_HEADER_TYPE 0x0e
#define PCI_BASE_ADDRESS_0 0x10
#define PCI_SECONDARY_BUS 0x19
#define PCI_CAPABILITY_LIST 0x34
#define PCI_BRIDGE_CONTROL 0x3e
#define PCI_BRIDGE_CTL_BUS_RESET 0x40
#define PCI_CAP_ID_MSI 0x05
#define PCI_CAP_ID_EXP 0x10
#define PCI_CAP_ID_MSIX 0x11
#define PCI_EXT_CAP_ID_ERR 0x0001

#endif
