/* The machine, for a guest in C: console, memory, interrupts and PCI, over what ferry.h imports. */
#include "ferry.h"

#include <stdarg.h>

#define CONSOLE_ADDRESS 0x04
#define CONSOLE_LENGTH 0x08
#define POWER_BUTTON 0x04
#define LINE_BYTES_MAX 256

const struct boot_params *ferry_boot;

/* Command line ------------------------------------------------------------------------------------------------------- */

static bool begins_with(const char *text, const char *with) {
  while (*with != 0 && *text == *with) text++, with++;
  return *with == 0;
}

u32 param(const char *name, u32 otherwise) {
  const char *at = ferry_boot->command_line;
  u32 name_bytes = 0;
  while (name[name_bytes] != 0) name_bytes++;
  while (*at != 0) {
    if (begins_with(at, name) && at[name_bytes] == '=') {
      u32 value = 0;
      for (at += name_bytes + 1; *at >= '0' && *at <= '9'; at++) value = value * 10 + (u32)(*at - '0');
      return value;
    }
    while (*at != 0 && *at != ' ') at++;
    while (*at == ' ') at++;
  }
  return otherwise;
}

/* Console ------------------------------------------------------------------------------------------------------------ */

struct line {
  char text[LINE_BYTES_MAX];
  u32 bytes;
};

static void put(struct line *line, char c) {
  if (line->bytes < LINE_BYTES_MAX - 1) line->text[line->bytes++] = c;
}

static void put_number(struct line *line, u32 value, u32 base, u32 width, char fill) {
  char digits[10];
  u32 count = 0;
  do digits[count++] = "0123456789abcdef"[value % base];
  while ((value /= base) != 0);
  for (u32 i = count; i < width; i++) put(line, fill);
  while (count > 0) put(line, digits[--count]);
}

static void put_formatted(struct line *line, const char *format, va_list values) {
  for (; *format != 0; format++) {
    if (*format != '%') {
      put(line, *format);
      continue;
    }
    char fill = *++format == '0' ? '0' : ' ';
    u32 width = 0;
    for (; *format >= '0' && *format <= '9'; format++) width = width * 10 + (u32)(*format - '0');
    switch (*format) {
      case 's':
        for (const char *text = va_arg(values, const char *); *text != 0; text++) put(line, *text);
        break;
      case 'd': {
        int value = va_arg(values, int);
        if (value < 0) put(line, '-');
        put_number(line, value < 0 ? 0u - (u32)value : (u32)value, 10, width, fill);
        break;
      }
      case 'u':
      case 'x':
        put_number(line, va_arg(values, u32), *format == 'x' ? 16 : 10, width, fill);
        break;
      case 'c':
        put(line, (char)va_arg(values, int));
        break;
      case 0:
        return;
      default:
        put(line, *format);
    }
  }
}

void kprintf(const char *format, ...) {
  struct line line = {.bytes = 0};
  u64 us = (u64)(clock_ns() / 1000);
  put(&line, '[');
  put_number(&line, (u32)(us / 1000000), 10, 5, ' ');
  put(&line, '.');
  put_number(&line, (u32)(us % 1000000), 10, 6, '0');
  put(&line, ']');
  put(&line, ' ');
  va_list values;
  va_start(values, format);
  put_formatted(&line, format, values);
  va_end(values);
  line.text[line.bytes++] = '\n';
  /* The two registers belong together. */
  u32 flags = irq_save();
  mmio_write(ferry_boot->console_base + CONSOLE_ADDRESS, 4, (u32)line.text);
  mmio_write(ferry_boot->console_base + CONSOLE_LENGTH, 4, line.bytes);
  irq_restore(flags);
}

void power(enum power what) {
  mmio_write(ferry_boot->power_base, 4, what);
}

void power_button(u8 vector) {
  mmio_write(ferry_boot->power_base + POWER_BUTTON, 4, vector);
}

/* Memory ------------------------------------------------------------------------------------------------------------- */

static u32 free_from, free_end;

void ferry_init(const struct boot_params *boot) {
  ferry_boot = boot;
  free_from = boot->data_end;
  for (u32 i = 0; i < boot->memory_map_entries; i++) {
    const struct memory_map_entry *entry = &boot->memory_map[i];
    bool holds = entry->start <= free_from && free_from - entry->start < entry->bytes;
    if (entry->type == E820_RAM && holds) free_end = entry->start + entry->bytes;
  }
}

void *dma_alloc(u32 bytes, u32 alignment) {
  u32 at = (free_from + alignment - 1) & ~(alignment - 1);
  if (at > free_end || bytes > free_end - at) {
    kprintf("out of memory");
    power(POWER_PANIC);
  }
  free_from = at + bytes;
  return (void *)at;
}

/* Interrupts --------------------------------------------------------------------------------------------------------- */

static struct {
  void (*handler)(void *data);
  void *data;
} irqs[256];

void irq_request(u8 vector, void (*handler)(void *data), void *data) {
  u32 flags = irq_save();
  irqs[vector].handler = handler;
  irqs[vector].data = data;
  irq_restore(flags);
}

FERRY_EXPORT(irq_entry) void irq_entry(u32 vector) {
  if (irqs[vector & 0xff].handler != 0) irqs[vector & 0xff].handler(irqs[vector & 0xff].data);
}

u32 wait_for(volatile u32 *flags, double deadline) {
  for (;;) {
    u32 enabled = irq_save();
    u32 found = *flags;
    *flags = 0;
    if (found != 0 || clock_ns() >= deadline) {
      irq_restore(enabled);
      return found;
    }
    /* What comes between the last two ends the halt. */
    timer_program(deadline);
    irq_restore(1);
    halt();
  }
}

void sleep_ns(double duration) {
  volatile u32 nothing = 0;
  wait_for(&nothing, clock_ns() + duration);
}

/* PCI Express -------------------------------------------------------------------------------------------------------- */

#define PCI_EXT_CAPABILITIES 0x100
#define MSI_DESTINATION_CPU0 0
#define PCI_MSI_FLAGS 0x02
#define PCI_MSI_ADDRESS_LO 0x04
#define PCI_MSI_ADDRESS_HI 0x08
#define PCI_MSI_DATA_64 0x0c
#define PCI_MSI_FLAGS_ENABLE 0x1
#define PCI_MSIX_FLAGS 0x02
#define PCI_MSIX_FLAGS_QSIZE 0x07ff
#define PCI_MSIX_FLAGS_MASKALL 0x4000
#define PCI_MSIX_FLAGS_ENABLE 0x8000
#define PCI_MSIX_TABLE 0x04
#define PCI_MSIX_TABLE_BIR 0x7
#define PCI_MSIX_ENTRY_BYTES 16

u32 pci_read(const struct pci_dev *dev, u32 offset, u32 width) {
  return mmio_read(ferry_boot->ecam_base + (dev->bus << 20) + (dev->devfn << 12) + offset, width);
}

void pci_write(const struct pci_dev *dev, u32 offset, u32 width, u32 value) {
  mmio_write(ferry_boot->ecam_base + (dev->bus << 20) + (dev->devfn << 12) + offset, width, value);
}

bool pci_find(u16 vendor, u16 device, u32 nth, struct pci_dev *dev, struct pci_dev *port) {
  for (u32 devfn = 0; devfn < 256; devfn += 8) {
    struct pci_dev bridge = {.bus = 0, .devfn = devfn};
    if (pci_read(&bridge, PCI_VENDOR_ID, 2) == 0xffff || (pci_read(&bridge, PCI_HEADER_TYPE, 1) & 0x7f) != 1) continue;
    struct pci_dev below = {.bus = pci_read(&bridge, PCI_SECONDARY_BUS, 1), .devfn = 0};
    if (pci_read(&below, PCI_VENDOR_ID, 4) != (vendor | (u32)device << 16) || nth-- != 0) continue;
    *dev = below;
    *port = bridge;
    return true;
  }
  return false;
}

u32 pci_find_capability(const struct pci_dev *dev, u8 id) {
  u32 at = pci_read(dev, PCI_CAPABILITY_LIST, 1) & 0xfc;
  /* 48 of them fill all the room that there is: a list that is longer has a loop in it. */
  for (u32 tries = 0; at >= 0x40 && tries < 48; tries++) {
    if (pci_read(dev, at, 1) == id) return at;
    at = pci_read(dev, at + 1, 1) & 0xfc;
  }
  return 0;
}

u32 pci_find_ext_capability(const struct pci_dev *dev, u16 id) {
  u32 at = PCI_EXT_CAPABILITIES;
  for (u32 tries = 0; at >= PCI_EXT_CAPABILITIES && tries < 480; tries++) {
    u32 header = pci_read(dev, at, 4);
    if ((header & 0xffff) == id) return at;
    at = header >> 20 & 0xffc;
  }
  return 0;
}

u32 pci_bar(const struct pci_dev *dev, u32 bar) {
  return pci_read(dev, PCI_BASE_ADDRESS_0 + bar * 4, 4) & ~0xfu;
}

bool pci_enable_msi(const struct pci_dev *dev, u8 vector) {
  u32 at = pci_find_capability(dev, PCI_CAP_ID_MSI);
  if (at == 0) return false;
  pci_write(dev, at + PCI_MSI_ADDRESS_LO, 4, ferry_boot->lapic_base | MSI_DESTINATION_CPU0);
  pci_write(dev, at + PCI_MSI_ADDRESS_HI, 4, 0);
  pci_write(dev, at + PCI_MSI_DATA_64, 2, vector);
  pci_write(dev, at + PCI_MSI_FLAGS, 2, pci_read(dev, at + PCI_MSI_FLAGS, 2) | PCI_MSI_FLAGS_ENABLE);
  return true;
}

bool pci_enable_msix(const struct pci_dev *dev, const u8 *vectors, u32 count) {
  u32 at = pci_find_capability(dev, PCI_CAP_ID_MSIX);
  if (at == 0 || (pci_read(dev, at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1 < count) return false;
  u32 where = pci_read(dev, at + PCI_MSIX_TABLE, 4);
  u32 table = pci_bar(dev, where & PCI_MSIX_TABLE_BIR) + (where & ~(u32)PCI_MSIX_TABLE_BIR);
  /* All are masked at once meanwhile, so that none fires half-written. */
  pci_write(dev, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
  for (u32 i = 0; i < count; i++) {
    u32 entry = table + i * PCI_MSIX_ENTRY_BYTES;
    mmio_write(entry, 4, ferry_boot->lapic_base | MSI_DESTINATION_CPU0);
    mmio_write(entry + 4, 4, 0);
    mmio_write(entry + 8, 4, vectors[i]);
    mmio_write(entry + 12, 4, 0);
  }
  pci_write(dev, at + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
  return true;
}
