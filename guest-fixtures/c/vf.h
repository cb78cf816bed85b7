/* A driver of the 82599's virtual function: one queue of each kind, two interrupts. 82599 datasheet, chapters 7 and 8. */
#ifndef VF_H
#define VF_H

#include "ferry.h"

#define VF_RING 256
#define VF_FRAME_BYTES 2048

/* Bits of `events`, which interrupts set, and vf_service looks at. */
#define VF_EVENT_QUEUE 1
#define VF_EVENT_OTHER 2
#define VF_EVENT_ERROR 4

/* An advanced descriptor: as the driver writes it, and as the device writes it back. 7.1.6, 7.2.3.2.4 */
struct vf_descriptor {
  volatile u64 address;
  volatile u32 command;
  volatile u32 status;
};

struct vf_ring {
  struct vf_descriptor *descriptors;
  u8 *frames;
  u32 next_to_use, next_to_clean;
};

struct vf {
  struct pci_dev dev, port;
  u32 registers;
  /* What a reset of the bus takes away. */
  u32 bars[6];
  /* It works; it answered with all ones. */
  bool up, gone;
  /* There is a link, and the host lets the function use it. */
  bool link, link_allowed;
  u32 api;
  /* Bits of VFMAILBOX that reading cleared and nobody has looked at. */
  u32 mailbox;
  u8 mac[6];
  struct vf_ring receive, transmit;
  volatile u32 events;
  u32 received, sent, dropped, errors, recoveries;
};

/* Finds function `nth`, and sets it up; false if there is none, or it does not work. Interrupts are vectors from `vector` on. */
bool vf_probe(struct vf *vf, u32 nth, u8 vector);
/* Hands frames that have come to `take`, at most `budget`; returns how many. A frame is the driver's again when that returns. */
u32 vf_poll(struct vf *vf, void (*take)(struct vf *vf, u8 *frame, u32 bytes), u32 budget);
/* Sends a frame; false if there is no room, or no link. */
bool vf_send(struct vf *vf, const void *frame, u32 bytes);
/* Does what `events` ask for beside frames: link, physical function, errors. With none of them, it looks all the same. */
void vf_service(struct vf *vf, u32 events);

#endif
