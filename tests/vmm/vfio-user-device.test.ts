/** The vfio-user device by itself: when its function may reach a client's memory. */
import { beforeEach, describe, expect, it } from 'vitest';
import { vfRegisters as reg } from '../../devices/nic82599/registers.js';
import { ClientInterrupts } from '../../vmm/vfio-user/client-interrupts.js';
import { ClientMemory } from '../../vmm/vfio-user/client-memory.js';
import { VfioUserDevice } from '../../vmm/vfio-user/device.js';
import { COMMAND, CONFIG_REGION, dmaMap, regionAccess, version } from '../../vmm/vfio-user/protocol.js';
import { type ServedVf, serveVf } from '../../vmm/vfio-user/served-vf.js';
import { TestTime } from '../devices/machine.js';

let served: ServedVf;
let device: VfioUserDevice;

const handle = (command: number, payload: Uint8Array<ArrayBuffer> = new Uint8Array(0)): number =>
  device.handle({ id: 0, command, flags: 0, payload, view: new DataView(payload.buffer), fds: [] }).errno;
const write = (region: number, offset: number, ...data: readonly number[]): void => {
  const access = regionAccess.encode({ offset, region, count: data.length });
  expect(handle(COMMAND.REGION_WRITE, Uint8Array.of(...access, ...data))).toBe(0);
};
const attach = (): void => {
  device.clientCame({ request: (_command, _payload, then) => then(undefined) });
  expect(handle(COMMAND.VERSION, Uint8Array.from(version.encode({})))).toBe(0);
  const range = dmaMap.encode({ argsz: dmaMap.size, flags: 3, address: 0, size: 0x1000 });
  expect(handle(COMMAND.DMA_MAP, Uint8Array.from(range))).toBe(0);
};
/** Memory Space and Bus Master Enable. */
const enable = (): void => write(CONFIG_REGION, 4, 6, 0);

beforeEach(() => {
  const memory = new ClientMemory();
  const interrupts = new ClientInterrupts(3, { poll: () => true });
  served = serveVf(
    { policy: {} },
    {
      scheduler: new TestTime(),
      dma: memory,
      interrupts,
      send: () => true,
      wireReady: () => true,
      wake: () => {},
    },
  );
  device = new VfioUserDevice({ served, memory, interrupts });
  attach();
});

describe('the function masters the bus', () => {
  it('for a client that has reset it, once that lets it', () => {
    enable();
    expect(served.vf.fn.mastering).toBe(false);
    handle(COMMAND.RESET);
    expect(served.vf.fn.mastering).toBe(false);
    enable();
    expect(served.vf.fn.mastering).toBe(true);
  });

  it('no more when its client is gone, nor for the next one before that has taken it', () => {
    handle(COMMAND.RESET);
    enable();
    device.clientGone();
    expect(served.vf.fn.mastering).toBe(false);
    attach();
    // As QEMU looks for a ROM, before it resets the device.
    write(CONFIG_REGION, 0x30, 0, 0xf8, 0xff, 0xff);
    expect(served.vf.fn.mastering).toBe(false);
    // Its registers are as they were, and whoever writes them knows what they say.
    write(0, reg.EIMS.offset, 1, 0, 0, 0);
    expect(served.vf.fn.mastering).toBe(true);
  });
});
