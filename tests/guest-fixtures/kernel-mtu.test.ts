/** A guest that wants larger frames than ordinary ones: what its host grants, and what it says where that is refused. */
import { beforeAll, expect, it } from 'vitest';
import { compileKernel } from './kernel-source.js';
import { GUEST_IP, NicMachine } from './nic-machine.js';
import { MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

/** Boots with an MTU, and has a hundred echoes of ordinary size; returns the machine and how many came back. */
function echoing(
  mtu: number,
  hostFrameBytes?: number,
): { readonly net: NicMachine; readonly echoes: number } {
  const net = new NicMachine(kernel, {
    commandLine: `workload=udp-echo mtu=${mtu}`,
    ...(hostFrameBytes === undefined ? {} : { hostFrameBytes }),
  });
  net.machine.at(100 * MS, () => {
    net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 512, count: 100 });
  });
  expect(net.machine.run(SECOND)).toBe('time');
  return { net, echoes: net.peer.report()[0]!.arrived!.received };
}
const refused = ({ machine }: NicMachine): readonly string[] => machine.printed(/MTU/);

it('a host with large frames grants it', () => {
  const { net, echoes } = echoing(2000, 9728);
  expect(refused(net)).toEqual([]);
  expect([net.driver.info(0).frameBytesMax, echoes]).toEqual([2018, 100]);
});

it('a host with ordinary frames refuses it: the driver says so, and has ordinary ones', () => {
  const { net, echoes } = echoing(2000);
  expect(refused(net)).toEqual(['ixgbevf 0000:01:00.0: Failed to set MTU at 2000']);
  expect([net.driver.info(0).frameBytesMax, echoes]).toEqual([1518, 100]);
});

it('no more is asked for than a receive buffer holds, and no less than the least', () => {
  expect(echoing(9000, 9728).net.driver.info(0).frameBytesMax).toBe(2018);
  expect(echoing(1, 9728).net.driver.info(0).frameBytesMax).toBe(86);
});
