/**
 * An approach of one's own: does it pay to read the IOMMU's dirty bits after every round? Here they are read once, while the
 * guest stands still: harvests cost less, and the blackout has to carry all that the device wrote since the start.
 *
 *     ferry migrate --tracking module:docs/examples/scan-late.mjs
 *
 * @satisfies {import('vf-ferry').OwnTracking}
 */
export const tracking = {
  name: 'scan-late',
  text: "VT-d's dirty bits, read once: while the guest stands still",
  steps: [
    'VT-d is told to keep dirty bits',
    "rounds send what the vCPUs' own log names",
    'while the guest stands still the dirty bits are read, and all that the device wrote since the start is sent',
  ],
  use: 'To see what reading dirty bits after every round costs, and what it saves.',
  limits: 'The blackout grows with the memory that the device writes to, however long it had for it before.',
  needs: ['dma'],
  converges: true,

  make(machine, devices) {
    // Devices behind one IOMMU domain have one writer in common.
    const writers = [...new Set(devices.map(({ dma }) => dma))];
    const ofAll = (does) => Promise.all(writers.map(does));
    return {
      async start() {
        await ofAll((writer) => writer.track('dirty-bits'));
        await machine.startDirtyLog();
      },
      async harvest(into, last) {
        // The bits are moved into the machine's log, which names each page with who wrote it.
        if (last) await ofAll((writer) => writer.readDirty());
        return machine.harvest(into);
      },
      async stop() {
        await ofAll((writer) => writer.track(undefined));
        await machine.stopDirtyLog();
      },
    };
  },
};
