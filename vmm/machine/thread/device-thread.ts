/** The device thread, from the machine's side. */
import { MessageChannel, SHARE_ENV, Worker } from 'node:worker_threads';
import { compiledOf } from '../../built.js';
import { Requests } from '../../threads/requests.js';
import type { DeviceHost } from '../device-calls.js';
import type { DriverEvents } from '../drivers.js';
import type { DeviceThreadData, FromDevices, ToDevices } from './messages.js';

export class DeviceThread implements DeviceHost {
  readonly #worker: Worker;
  readonly #port: MessageChannel['port1'];
  readonly #requests = new Requests();
  readonly #ready: Promise<void>;

  constructor(data: Omit<DeviceThreadData, 'port'>, events: DriverEvents) {
    const { port1, port2 } = new MessageChannel();
    this.#port = port1;
    const workerData: DeviceThreadData = { ...data, port: port2 };
    this.#worker = new Worker(compiledOf(new URL('./device-worker.js', import.meta.url)), {
      name: 'devices',
      env: SHARE_ENV,
      workerData,
      transferList: [port2],
    });
    this.#worker.on('error', (error) => {
      this.#requests.close(error);
      events.failed(error);
    });
    port1.on('message', (message: FromDevices) => {
      if (message.kind === 'reply') this.#requests.resolve(message.id, message.result);
      else if (message.kind === 'refusal') this.#requests.reject(message.id, message.error);
      else if (message.kind === 'power') {
        events.console(message.lastWords);
        events.power(message.request);
      } else if (message.kind === 'events') {
        message.batch.forEach((event) => {
          events.device(event);
        });
        this.#send({ kind: 'events-taken' });
      } else {
        events.console(message.batch);
        this.#send({ kind: 'console-taken' });
      }
    });
    this.#ready = this.#requests.request((id) => this.#send({ kind: 'connect', id }));
    // Whoever uses the machine first hears of it.
    this.#ready.catch(() => undefined);
  }

  ready(): Promise<void> {
    return this.#ready;
  }

  call(target: string, method: string, args: readonly unknown[]): Promise<unknown> {
    return this.#requests.request((id) => this.#send({ kind: 'call', id, target, method, args }));
  }

  async destroy(): Promise<void> {
    this.#requests.close(new Error('the device thread was ended'));
    this.#port.close();
    await this.#worker.terminate();
  }

  #send(message: ToDevices): void {
    this.#port.postMessage(message);
  }
}
