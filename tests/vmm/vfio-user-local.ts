/** A served function within this process: messages handed to it as they are, and both ends of its cable. No sockets, no eventfds. */
import { ClientInterrupts } from '../../vmm/vfio-user/client-interrupts.js';
import { ClientMemory } from '../../vmm/vfio-user/client-memory.js';
import { VfioUserDevice } from '../../vmm/vfio-user/device.js';
import type { MemoryMessages } from '../../vmm/vfio-user/message-memory.js';
import { COMMAND, dmaMap, regionAccess, version } from '../../vmm/vfio-user/protocol.js';
import { type ServedVf, type ServedVfOptions, serveVf } from '../../vmm/vfio-user/served-vf.js';
import { TestTime } from '../devices/machine.js';
import type { Reply } from './vfio-user-client.js';

const BUDGET = 256;
const joined = (...parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(Buffer.concat(parts));

export class LocalVf {
  readonly served: ServedVf;
  readonly memory = new ClientMemory();
  /** Frames that it sent. */
  readonly sent: Uint8Array[] = [];
  /** Refusals that it gave reasons for. */
  readonly reasons: string[] = [];
  readonly device: VfioUserDevice;

  constructor(policy: ServedVfOptions['policy'] = { mac: [0x52, 0x54, 0, 0x12, 0x34, 0x56] }) {
    const interrupts = new ClientInterrupts(3, { poll: () => true });
    this.served = serveVf(
      { policy },
      {
        scheduler: new TestTime(),
        dma: this.memory,
        interrupts,
        send: (bytes, at, length) => {
          this.sent.push(bytes.slice(at, at + length));
          return true;
        },
        wireReady: () => true,
        wake: () => {},
      },
    );
    this.served.nic.setLink(true);
    this.device = new VfioUserDevice({
      served: this.served,
      memory: this.memory,
      interrupts,
      refused: (why) => this.reasons.push(why),
    });
  }

  /** A client has come and is agreed on a version. */
  attach(client: MemoryMessages = { request: (_command, _payload, then) => then(undefined) }): void {
    this.device.clientCame(client);
    this.call(COMMAND.VERSION, version.encode({}));
  }

  leave(): void {
    this.device.clientGone();
  }

  call(command: number, bytes: Uint8Array = new Uint8Array(0), fds: number[] = []): Reply {
    const payload = Uint8Array.from(bytes);
    const message = { id: 0, command, flags: 0, payload, view: new DataView(payload.buffer), fds };
    const answer = this.device.handle(message);
    this.run();
    return { errno: answer.errno, payload: Uint8Array.from(answer.payload) };
  }

  map(size: number, fd?: number, address = 0): Reply {
    const range = dmaMap.encode({ argsz: dmaMap.size, flags: 3, address, size });
    return this.call(COMMAND.DMA_MAP, range, fd === undefined ? [] : [fd]);
  }

  async read(region: number, offset: number, count: number): Promise<Uint8Array<ArrayBuffer>> {
    const { payload } = this.call(COMMAND.REGION_READ, regionAccess.encode({ offset, region, count }));
    return payload.slice(regionAccess.size);
  }

  write(region: number, offset: number, data: Uint8Array): void {
    const access = regionAccess.encode({ offset, region, count: data.length });
    this.call(COMMAND.REGION_WRITE, joined(access, data));
  }

  /** A frame comes from the wire. */
  receive(frame: Uint8Array): void {
    this.served.nic.receiveBytes(frame, 0, frame.length);
    this.run();
  }

  run(): void {
    while (this.served.nic.run(BUDGET));
  }
}
