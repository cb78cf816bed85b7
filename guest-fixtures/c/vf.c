/* A driver of the 82599's virtual function. It knows three troubles: the physical function starts over, the device is gone, and
 * its root port reports an error of it; in all of them it sets the device up anew. */
#include "vf.h"

#define VF_VENDOR 0x8086
#define VF_DEVICE 0x10ed
#define GONE 0xffffffffu
#define MS 1e6
#define US 1e3

/* Registers. 8.3.5 */
#define VFCTRL 0x0000
#define VFCTRL_RESET 0x04000000
#define VFSTATUS 0x0008
#define VFLINKS 0x0010
#define VFLINKS_UP 0x40000000
#define VTEICR 0x0100
#define VTEICS 0x0104
#define VTEIMS 0x0108
#define VTEIMC 0x010c
#define VTEIAC 0x0110
#define VTEIAM 0x0114
#define VTIVAR 0x0120
#define VTIVAR_MISC 0x0140
#define VTIVAR_VALID 0x80
#define VTEITR 0x0820
#define VFMBMEM 0x0200
#define VFMAILBOX 0x02fc
#define VFPSRTYPE 0x0300
#define RECEIVE_QUEUE 0x1000
#define TRANSMIT_QUEUE 0x2000
/* Of either queue. */
#define BASE_LOW 0x00
#define BASE_HIGH 0x04
#define LENGTH 0x08
#define HEAD 0x10
#define SRRCTL 0x14
#define TAIL 0x18
#define CONTROL 0x28
#define CONTROL_ENABLE 0x02000000
#define WRITE_BACK_LOW 0x38
#define WRITE_BACK_HIGH 0x3c
/* Buffers of 2 KiB, one to a frame; without a buffer frames are dropped. */
#define SRRCTL_ONE_BUFFER 0x12000002

#define VECTORS 2
#define QUEUE_VECTOR 0
#define OTHER_VECTOR 1
#define ALL_CAUSES 3
/* At least so much lies between two interrupts of the queue: quarters of a microsecond, 50 us. */
#define INTERRUPT_INTERVAL 200

/* Mailbox. 7.10.2.9 */
#define MAILBOX_REQUEST 0x01
#define MAILBOX_ACKNOWLEDGE 0x02
#define MAILBOX_OURS 0x04
#define MAILBOX_MESSAGE 0x10
#define MAILBOX_RESETTING 0x40
#define MAILBOX_RESET_DONE 0x80
#define MAILBOX_READ_TO_CLEAR 0xb0
#define MAILBOX_WORDS 16
#define MESSAGE_GRANTED 0x80000000u
#define MESSAGE_CLEAR_TO_SEND 0x20000000u
#define MESSAGE_INFO 0x00ff0000u
#define OP_RESET 0x01
#define OP_API 0x08
#define OP_LINK_STATE 0x10
#define API_1_0 0
#define API_1_1 2
#define API_1_2 3

/* Descriptors. */
#define DONE 1
#define END_OF_PACKET 2
#define RECEIVE_ERRORS 0x3b000000u
/* Data, advanced, with FCS, end of packet, report status. */
#define TRANSMIT_COMMAND 0x2b300000u
#define PAYLOAD_SHIFT 14

/* Errors. PCI Express 7.8.4 */
#define DEVICE_CONTROL 0x08
#define DEVICE_CONTROL_REPORTING 0xf
#define DEVICE_STATUS 0x0a
#define UNCORRECTABLE_STATUS 0x04
#define CORRECTABLE_STATUS 0x10
#define ROOT_COMMAND 0x2c
#define ROOT_COMMAND_ALL 7
#define ROOT_STATUS 0x30
#define ROOT_STATUS_UNCORRECTABLE 0x04
#define ROOT_STATUS_FATAL 0x40

static u32 read(struct vf *vf, u32 offset) {
  if (vf->gone) return GONE;
  u32 value = mmio_read(vf->registers + offset, 4);
  /* No other register tells whether all ones are its value. */
  if (value == GONE && mmio_read(vf->registers + VFSTATUS, 4) == GONE) {
    kprintf("vf: the device is gone");
    vf->gone = true;
    vf->up = false;
  }
  return value;
}

static void write(struct vf *vf, u32 offset, u32 value) {
  if (!vf->gone) mmio_write(vf->registers + offset, 4, value);
}

/* Waits until `bits` of a register are `wanted`, a second at most. */
static bool poll(struct vf *vf, u32 offset, u32 bits, u32 wanted) {
  for (u32 tries = 0; tries < 2000 && !vf->gone; tries++) {
    if ((read(vf, offset) & bits) == wanted) return !vf->gone;
    sleep_ns(500 * US);
  }
  return false;
}

/* Mailbox ------------------------------------------------------------------------------------------------------------ */

/* Whether one of the read-to-clear `bits` has come; uses it up. */
static bool mailbox_has(struct vf *vf, u32 bits) {
  u32 value = read(vf, VFMAILBOX);
  if (vf->gone) return false;
  vf->mailbox |= value & MAILBOX_READ_TO_CLEAR;
  bool has = ((vf->mailbox | value) & bits) != 0;
  vf->mailbox &= ~bits;
  return has;
}

static bool mailbox_lock(struct vf *vf) {
  for (u32 tries = 0; tries < 2000 && !vf->gone; tries++) {
    write(vf, VFMAILBOX, MAILBOX_OURS);
    u32 value = read(vf, VFMAILBOX);
    if (vf->gone) return false;
    vf->mailbox |= value & MAILBOX_READ_TO_CLEAR;
    if ((value & MAILBOX_OURS) != 0) return true;
    sleep_ns(500 * US);
  }
  return false;
}

static bool mailbox_read(struct vf *vf, u32 *message, u32 words) {
  if (!mailbox_lock(vf)) return false;
  for (u32 i = 0; i < words; i++) message[i] = read(vf, VFMBMEM + i * 4);
  write(vf, VFMAILBOX, MAILBOX_ACKNOWLEDGE);
  return !vf->gone;
}

/* Sends `words` words, and puts as many of the answer in their place. */
static bool mailbox_ask(struct vf *vf, u32 *message, u32 words, u32 answer_words) {
  if (!mailbox_lock(vf)) return false;
  /* Answers to what was asked before are nobody's. */
  vf->mailbox &= MAILBOX_RESET_DONE;
  for (u32 i = 0; i < words; i++) write(vf, VFMBMEM + i * 4, message[i]);
  write(vf, VFMAILBOX, MAILBOX_REQUEST);
  for (u32 tries = 0; tries < 2000 && !vf->gone; tries++) {
    if (mailbox_has(vf, MAILBOX_MESSAGE)) return mailbox_read(vf, message, answer_words);
    sleep_ns(500 * US);
  }
  return false;
}

/* Asks for something of two words; whether it was granted. */
static bool ask(struct vf *vf, u32 opcode, u32 *argument) {
  u32 message[3] = {opcode, *argument, 0};
  if (!mailbox_ask(vf, message, 3, 3)) return false;
  *argument = message[1];
  return (message[0] & ~(MESSAGE_CLEAR_TO_SEND | MESSAGE_INFO)) == (opcode | MESSAGE_GRANTED);
}

/* Set-up ------------------------------------------------------------------------------------------------------------- */

static bool reset(struct vf *vf) {
  write(vf, VTEIMC, ALL_CAUSES);
  vf->mailbox = 0;
  vf->api = API_1_0;
  write(vf, VFCTRL, VFCTRL_RESET);
  for (u32 tries = 0; mailbox_has(vf, MAILBOX_RESETTING | MAILBOX_RESET_DONE) && tries < 200; tries++) sleep_ns(5 * US);
  u32 message[4] = {OP_RESET, 0, 0, 0};
  if (!mailbox_ask(vf, message, 1, 4)) return false;
  if (message[0] == (OP_RESET | MESSAGE_GRANTED)) {
    for (u32 i = 0; i < 6; i++) vf->mac[i] = (u8)(message[1 + i / 4] >> i % 4 * 8);
  } else {
    kprintf("vf: the physical function gives no address");
    return false;
  }
  static const u32 versions[] = {API_1_2, API_1_1};
  for (u32 i = 0; i < 2 && vf->api == API_1_0; i++) {
    u32 version = versions[i];
    if (ask(vf, OP_API, &version)) vf->api = versions[i];
  }
  return !vf->gone;
}

/* An empty ring, of which the device knows; it is switched on. */
static bool start_queue(struct vf *vf, u32 queue, struct vf_ring *ring, u32 control) {
  write(vf, queue + CONTROL, 0);
  if (!poll(vf, queue + CONTROL, CONTROL_ENABLE, 0)) return false;
  for (u32 i = 0; i < VF_RING; i++) {
    ring->descriptors[i].address = 0;
    ring->descriptors[i].command = 0;
    ring->descriptors[i].status = 0;
  }
  ring->next_to_use = 0;
  ring->next_to_clean = 0;
  write(vf, queue + BASE_LOW, (u32)ring->descriptors);
  write(vf, queue + BASE_HIGH, 0);
  write(vf, queue + LENGTH, VF_RING * sizeof(struct vf_descriptor));
  write(vf, queue + HEAD, 0);
  write(vf, queue + TAIL, 0);
  write(vf, queue + CONTROL, control | CONTROL_ENABLE);
  return poll(vf, queue + CONTROL, CONTROL_ENABLE, CONTROL_ENABLE);
}

/* Gives `count` buffers to the device. */
static void give_buffers(struct vf *vf, u32 count) {
  struct vf_ring *ring = &vf->receive;
  for (u32 i = 0; i < count; i++) {
    struct vf_descriptor *descriptor = &ring->descriptors[ring->next_to_use];
    descriptor->address = (u32)(ring->frames + ring->next_to_use * VF_FRAME_BYTES);
    descriptor->command = 0;
    descriptor->status = 0;
    ring->next_to_use = (ring->next_to_use + 1) % VF_RING;
  }
  write(vf, RECEIVE_QUEUE + TAIL, ring->next_to_use);
}

static void look_at_link(struct vf *vf) {
  bool link = (read(vf, VFLINKS) & VFLINKS_UP) != 0 && vf->link_allowed && !vf->gone;
  if (link != vf->link) kprintf("vf: link is %s", link ? "up" : "down");
  vf->link = link;
}

/* From reset to traffic. */
static bool start(struct vf *vf) {
  vf->up = false;
  if (!reset(vf)) return false;
  write(vf, VFPSRTYPE, 0);
  write(vf, RECEIVE_QUEUE + SRRCTL, SRRCTL_ONE_BUFFER);
  write(vf, TRANSMIT_QUEUE + WRITE_BACK_LOW, 0);
  write(vf, TRANSMIT_QUEUE + WRITE_BACK_HIGH, 0);
  /* Written back one at a time. */
  if (!start_queue(vf, TRANSMIT_QUEUE, &vf->transmit, 0)) return false;
  if (!start_queue(vf, RECEIVE_QUEUE, &vf->receive, 0)) return false;
  give_buffers(vf, VF_RING - 1);
  u32 queue = QUEUE_VECTOR | VTIVAR_VALID;
  write(vf, VTIVAR, queue | queue << 8);
  write(vf, VTIVAR_MISC, OTHER_VECTOR | VTIVAR_VALID);
  write(vf, VTEITR + QUEUE_VECTOR * 4, INTERRUPT_INTERVAL);
  read(vf, VTEICR);
  write(vf, VTEIAM, ALL_CAUSES);
  write(vf, VTEIAC, ALL_CAUSES);
  vf->up = !vf->gone;
  /* Asked once: what changes it has us start over. Each answer interrupts, and must not lead to another question. */
  u32 allowed = 1;
  vf->link_allowed = vf->api < API_1_2 || !ask(vf, OP_LINK_STATE, &allowed) || allowed != 0;
  look_at_link(vf);
  write(vf, VTEIMS, ALL_CAUSES);
  return vf->up;
}

/* What the function needs of configuration space, of which a reset of the bus leaves nothing. */
static bool configure(struct vf *vf, u8 vector) {
  static u8 vectors[VECTORS];
  for (u32 i = 0; vector != 0 && i < VECTORS; i++) vectors[i] = (u8)(vector + i);
  for (u32 i = 0; i < 6; i++) pci_write(&vf->dev, PCI_BASE_ADDRESS_0 + i * 4, 4, vf->bars[i]);
  u32 express = pci_find_capability(&vf->dev, PCI_CAP_ID_EXP);
  pci_write(&vf->dev, express + DEVICE_CONTROL, 2, pci_read(&vf->dev, express + DEVICE_CONTROL, 2) | DEVICE_CONTROL_REPORTING);
  pci_write(&vf->dev, PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
  return pci_enable_msix(&vf->dev, vectors, VECTORS);
}

/* Errors ------------------------------------------------------------------------------------------------------------- */

static void clear(const struct pci_dev *dev, u32 offset, u32 width) {
  pci_write(dev, offset, width, pci_read(dev, offset, width));
}

/* The port tells of errors below it by an interrupt. */
static void hear_of_errors(struct vf *vf, u8 vector) {
  u32 express = pci_find_capability(&vf->port, PCI_CAP_ID_EXP);
  u32 errors = pci_find_ext_capability(&vf->port, PCI_EXT_CAP_ID_ERR);
  if (errors == 0 || !pci_enable_msi(&vf->port, vector)) return;
  clear(&vf->port, express + DEVICE_STATUS, 2);
  clear(&vf->port, errors + ROOT_STATUS, 4);
  clear(&vf->port, errors + CORRECTABLE_STATUS, 4);
  clear(&vf->port, errors + UNCORRECTABLE_STATUS, 4);
  u32 control = pci_read(&vf->port, express + DEVICE_CONTROL, 2);
  pci_write(&vf->port, express + DEVICE_CONTROL, 2, control | DEVICE_CONTROL_REPORTING);
  pci_write(&vf->port, errors + ROOT_COMMAND, 4, ROOT_COMMAND_ALL);
}

static bool reset_bus(struct vf *vf) {
  u32 control = pci_read(&vf->port, PCI_BRIDGE_CONTROL, 2);
  pci_write(&vf->port, PCI_BRIDGE_CONTROL, 2, control | PCI_BRIDGE_CTL_BUS_RESET);
  sleep_ns(2 * MS);
  pci_write(&vf->port, PCI_BRIDGE_CONTROL, 2, control);
  /* Nobody may ask it earlier, and it may take a second. 6.6.1 */
  sleep_ns(100 * MS);
  for (u32 tries = 0; tries < 50; tries++) {
    if (pci_read(&vf->dev, PCI_VENDOR_ID, 2) == VF_VENDOR) return true;
    sleep_ns(20 * MS);
  }
  return false;
}

/* What the port has to say; a device with an error is set up anew, after a fatal one with a reset of its bus. */
static void recover(struct vf *vf) {
  u32 port_errors = pci_find_ext_capability(&vf->port, PCI_EXT_CAP_ID_ERR);
  u32 status = pci_read(&vf->port, port_errors + ROOT_STATUS, 4);
  pci_write(&vf->port, port_errors + ROOT_STATUS, 4, status);
  if ((status & ROOT_STATUS_UNCORRECTABLE) == 0) {
    u32 errors = pci_find_ext_capability(&vf->dev, PCI_EXT_CAP_ID_ERR);
    if (errors != 0) clear(&vf->dev, errors + CORRECTABLE_STATUS, 4);
    return;
  }
  bool fatal = (status & ROOT_STATUS_FATAL) != 0;
  kprintf("vf: the port reports a %s error", fatal ? "fatal" : "non-fatal");
  vf->up = false;
  pci_write(&vf->port, port_errors + ROOT_COMMAND, 4, 0);
  bool there = !fatal || reset_bus(vf);
  if (there) {
    vf->gone = false;
    there = configure(vf, 0) && start(vf);
    u32 errors = pci_find_ext_capability(&vf->dev, PCI_EXT_CAP_ID_ERR);
    if (errors != 0) clear(&vf->dev, errors + UNCORRECTABLE_STATUS, 4);
  }
  clear(&vf->port, port_errors + ROOT_STATUS, 4);
  pci_write(&vf->port, port_errors + ROOT_COMMAND, 4, ROOT_COMMAND_ALL);
  if (there) vf->recoveries++;
  kprintf("vf: %s", there ? "the device works again" : "the device could not be set up again");
}

void vf_service(struct vf *vf, u32 events) {
  if ((events & VF_EVENT_ERROR) != 0) recover(vf);
  if (!vf->up) return;
  /* The physical function's last word says whether it still knows us. */
  u32 word = MESSAGE_CLEAR_TO_SEND;
  if (mailbox_has(vf, MAILBOX_MESSAGE | MAILBOX_RESETTING | MAILBOX_RESET_DONE)) mailbox_read(vf, &word, 1);
  if (!vf->gone && (word & MESSAGE_CLEAR_TO_SEND) == 0) {
    kprintf("vf: the physical function starts over");
    start(vf);
  } else {
    look_at_link(vf);
  }
  write(vf, VTEIMS, ALL_CAUSES);
  /* An interrupt that got lost anywhere is made up for. */
  write(vf, VTEICS, 1 << QUEUE_VECTOR);
}

/* Frames ------------------------------------------------------------------------------------------------------------- */

u32 vf_poll(struct vf *vf, void (*take)(struct vf *vf, u8 *frame, u32 bytes), u32 budget) {
  struct vf_ring *ring = &vf->receive;
  u32 count = 0;
  while (vf->up && count < budget) {
    struct vf_descriptor *descriptor = &ring->descriptors[ring->next_to_clean];
    u32 status = descriptor->command;
    if ((status & DONE) == 0) break;
    u32 bytes = descriptor->status & 0xffff;
    u8 *frame = ring->frames + ring->next_to_clean * VF_FRAME_BYTES;
    if ((status & END_OF_PACKET) == 0 || (status & RECEIVE_ERRORS) != 0 || bytes > VF_FRAME_BYTES) vf->errors++;
    else take(vf, frame, bytes);
    vf->received++;
    count++;
    ring->next_to_clean = (ring->next_to_clean + 1) % VF_RING;
  }
  if (count > 0 && vf->up) give_buffers(vf, count);
  /* Masked by the device itself when it interrupted. */
  if (count < budget) write(vf, VTEIMS, 1 << QUEUE_VECTOR);
  return count;
}

bool vf_send(struct vf *vf, const void *frame, u32 bytes) {
  struct vf_ring *ring = &vf->transmit;
  /* A slot is free again when the device has written its descriptor back; one stays empty. */
  while (ring->next_to_clean != ring->next_to_use && (ring->descriptors[ring->next_to_clean].status & DONE) != 0) {
    ring->next_to_clean = (ring->next_to_clean + 1) % VF_RING;
  }
  u32 next = (ring->next_to_use + 1) % VF_RING;
  if (!vf->up || !vf->link || bytes > VF_FRAME_BYTES || next == ring->next_to_clean) {
    vf->dropped++;
    return false;
  }
  u8 *copy = ring->frames + ring->next_to_use * VF_FRAME_BYTES;
  __builtin_memcpy(copy, frame, bytes);
  struct vf_descriptor *descriptor = &ring->descriptors[ring->next_to_use];
  descriptor->address = (u32)copy;
  descriptor->command = TRANSMIT_COMMAND | bytes;
  descriptor->status = bytes << PAYLOAD_SHIFT;
  ring->next_to_use = next;
  write(vf, TRANSMIT_QUEUE + TAIL, next);
  vf->sent++;
  return true;
}

/* Probe -------------------------------------------------------------------------------------------------------------- */

static void queue_interrupt(void *data) {
  ((struct vf *)data)->events |= VF_EVENT_QUEUE;
}

static void other_interrupt(void *data) {
  ((struct vf *)data)->events |= VF_EVENT_OTHER;
}

static void port_interrupt(void *data) {
  ((struct vf *)data)->events |= VF_EVENT_ERROR;
}

static void allocate(struct vf_ring *ring) {
  ring->descriptors = dma_alloc(VF_RING * sizeof(struct vf_descriptor), 4096);
  ring->frames = dma_alloc(VF_RING * VF_FRAME_BYTES, 4096);
}

bool vf_probe(struct vf *vf, u32 nth, u8 vector) {
  if (!pci_find(VF_VENDOR, VF_DEVICE, nth, &vf->dev, &vf->port)) return false;
  for (u32 i = 0; i < 6; i++) vf->bars[i] = pci_read(&vf->dev, PCI_BASE_ADDRESS_0 + i * 4, 4);
  vf->registers = pci_bar(&vf->dev, 0);
  allocate(&vf->receive);
  allocate(&vf->transmit);
  irq_request(vector + QUEUE_VECTOR, queue_interrupt, vf);
  irq_request(vector + OTHER_VECTOR, other_interrupt, vf);
  irq_request(vector + VECTORS, port_interrupt, vf);
  hear_of_errors(vf, vector + VECTORS);
  if (!configure(vf, vector) || !start(vf)) {
    kprintf("vf: %02x:00.0 could not be set up", vf->dev.bus);
    return false;
  }
  const u8 *mac = vf->mac;
  kprintf("vf: %02x:00.0 %02x:%02x:%02x:%02x:%02x:%02x", vf->dev.bus, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
  return true;
}
