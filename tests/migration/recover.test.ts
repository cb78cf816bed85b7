/** Starts by recovery: in what order the host has its function do things. */
import { describe, expect, it } from 'vitest';
import { nanoseconds } from '../../base/units.js';
import { NEVER } from '../../migration/patience.js';
import type { HostFunction } from '../../migration/ports.js';
import { startByRecovery } from '../../migration/start/recover.js';

/** A function whose restoring takes a while, as it may where it lives on another thread. */
class SlowFunction implements HostFunction {
  readonly order: string[] = [];

  closeGate = async (): Promise<boolean> => false;
  openGate = async (): Promise<void> => {};
  isolate = async (): Promise<void> => {};
  announce = async (): Promise<void> => {};
  announceOnceReceiving = async (): Promise<void> => {};

  async restore(): Promise<void> {
    this.order.push('restore');
    await new Promise((resolve) => setImmediate(resolve));
    this.order.push('restored');
  }

  async reportError(): Promise<boolean> {
    this.order.push('reported');
    return true;
  }

  onReceiver(listener: (on: boolean) => void): () => void {
    setTimeout(() => listener(true), 1);
    return () => {};
  }
}

describe('a start by recovery', () => {
  it('tells the guest of a device that is back, and of none that is still on its way', async () => {
    const fn = new SlowFunction();
    const identity = { kind: '8086:10ed', revision: 1, vectors: 3, queues: 1, mac: 'none' };
    const start = startByRecovery('error-recovery', { name: 'vf0', identity, fn }, (it) =>
      it.reportError('fatal'),
    );
    await start.afterRun!({ duration: nanoseconds(60e9), over: NEVER });
    expect(fn.order).toEqual(['restore', 'restored', 'reported']);
  });
});
