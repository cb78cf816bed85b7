/** A device behind a port that is one function, as most are. */
import type { PciFunction, Upstream } from './function.js';
import type { Endpoint } from './topology.js';

export abstract class SingleFunction implements Endpoint {
  abstract readonly fn: PciFunction;

  functions(): readonly PciFunction[] {
    return [this.fn];
  }

  functionAt(relativeId: number): PciFunction | undefined {
    return relativeId === 0 ? this.fn : undefined;
  }

  attach(upstream: Upstream | undefined): void {
    this.fn.attach(upstream);
    this.fn.refresh();
  }

  /** Hot reset or loss of power: nothing of its driver's settings stays. */
  reset(): void {
    this.fn.reset('conventional');
  }
}
