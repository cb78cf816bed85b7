/* What this guest does: it answers ARP, ping and UDP echo at 10.0.0.2, says once a second what went through, and does without a
 * NIC where there is none. On the command line: `ip`, the last byte of its address; `status_ms`, between two lines; `lines`, after
 * which it turns the power off. */
#include "ferry.h"
#include "vf.h"

#define ETHERTYPE 12
#define ETHER_BYTES 14
#define ETHERTYPE_IPV4 0x0800
#define ETHERTYPE_ARP 0x0806
#define ARP_BYTES 28
#define ARP_OPERATION (ETHER_BYTES + 6)
#define ARP_SENDER (ETHER_BYTES + 8)
#define ARP_TARGET (ETHER_BYTES + 18)
#define IPV4_PROTOCOL (ETHER_BYTES + 9)
#define IPV4_SOURCE (ETHER_BYTES + 12)
#define IPV4_DESTINATION (ETHER_BYTES + 16)
#define IPV4_FRAGMENT (ETHER_BYTES + 6)
#define PROTOCOL_ICMP 1
#define PROTOCOL_UDP 17
#define PORT_ECHO 7
#define ICMP_ECHO 8
#define BUTTON_VECTOR FIRST_EXTERNAL_VECTOR
#define VF_VECTOR (FIRST_EXTERNAL_VECTOR + 1)
#define BUDGET 64

static struct vf vf;
static u8 ip[4] = {10, 0, 0, 2};
static u32 echoed;

static u32 get16(const u8 *at) {
  return (u32)at[0] << 8 | at[1];
}

static void put16(u8 *at, u32 value) {
  at[0] = (u8)(value >> 8);
  at[1] = (u8)value;
}

static void swap(u8 *one, u8 *other, u32 bytes) {
  for (u32 i = 0; i < bytes; i++) {
    u8 byte = one[i];
    one[i] = other[i];
    other[i] = byte;
  }
}

static bool is_ours(const u8 *address) {
  for (u32 i = 0; i < 4; i++) {
    if (address[i] != ip[i]) return false;
  }
  return true;
}

static void answer_arp(struct vf *vf, u8 *frame, u32 bytes) {
  if (bytes < ETHER_BYTES + ARP_BYTES || get16(frame + ARP_OPERATION) != 1 || !is_ours(frame + ARP_TARGET + 6)) return;
  put16(frame + ARP_OPERATION, 2);
  swap(frame + ARP_SENDER, frame + ARP_TARGET, 10);
  __builtin_memcpy(frame + ARP_SENDER, vf->mac, 6);
  __builtin_memcpy(frame, frame + ARP_TARGET, 6);
  __builtin_memcpy(frame + 6, vf->mac, 6);
  vf_send(vf, frame, ETHER_BYTES + ARP_BYTES);
}

/* With both ends exchanged, all checksums of IPv4 and UDP are what they were. */
static void answer_ipv4(struct vf *vf, u8 *frame, u32 bytes) {
  u32 header = (frame[ETHER_BYTES] & 15) * 4u;
  u8 *payload = frame + ETHER_BYTES + header;
  bool whole = header >= 20 && bytes >= ETHER_BYTES + header + 8 && (get16(frame + IPV4_FRAGMENT) & 0x3fff) == 0;
  if (!whole || !is_ours(frame + IPV4_DESTINATION)) return;
  if (frame[IPV4_PROTOCOL] == PROTOCOL_UDP && get16(payload + 2) == PORT_ECHO) {
    swap(payload, payload + 2, 2);
  } else if (frame[IPV4_PROTOCOL] == PROTOCOL_ICMP && payload[0] == ICMP_ECHO) {
    /* From type 8 to 0, and the checksum by as much. */
    payload[0] = 0;
    u32 sum = get16(payload + 2) + (ICMP_ECHO << 8);
    put16(payload + 2, (sum & 0xffff) + (sum >> 16));
  } else {
    return;
  }
  swap(frame + IPV4_SOURCE, frame + IPV4_DESTINATION, 4);
  swap(frame, frame + 6, 6);
  if (vf_send(vf, frame, bytes)) echoed++;
}

static void take(struct vf *vf, u8 *frame, u32 bytes) {
  if (bytes < ETHER_BYTES) return;
  if (get16(frame + ETHERTYPE) == ETHERTYPE_ARP) answer_arp(vf, frame, bytes);
  else if (get16(frame + ETHERTYPE) == ETHERTYPE_IPV4) answer_ipv4(vf, frame, bytes);
}

static void button_pressed(void *nothing) {
  (void)nothing;
  kprintf("guest: the power button was pressed");
  power(POWER_OFF);
}

static void tell(void) {
  kprintf("guest: %u received, %u echoed, %u dropped, %u errors", vf.received, echoed, vf.dropped, vf.errors);
}

void start_kernel(const struct boot_params *boot) {
  ferry_init(boot);
  kprintf("guest: hello from C, on %s", boot->hypervisor);
  double status_ns = param("status_ms", 1000) * 1e6;
  ip[3] = (u8)param("ip", ip[3]);
  u32 lines = param("lines", 0);
  irq_request(BUTTON_VECTOR, button_pressed, 0);
  power_button(BUTTON_VECTOR);
  irq_restore(1);
  bool nic = vf_probe(&vf, 0, VF_VECTOR);
  if (!nic) kprintf("guest: no network");
  double next = clock_ns() + status_ns;
  bool more = false;
  for (;;) {
    u32 events = wait_for(&vf.events, more ? 0 : next);
    bool due = clock_ns() >= next;
    if (more || (events & VF_EVENT_QUEUE) != 0) more = vf_poll(&vf, take, BUDGET) == BUDGET;
    if (nic && (due || (events & ~VF_EVENT_QUEUE) != 0)) vf_service(&vf, events);
    if (!due) continue;
    tell();
    if (lines != 0 && --lines == 0) power(POWER_OFF);
    /* One that comes late takes the place of those that were missed. */
    while (next <= clock_ns()) next += status_ns;
  }
}
