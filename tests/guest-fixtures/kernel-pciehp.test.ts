/** The guest's hot-plug driver: times, states and lines as Linux's, under traffic, and nothing left behind. */
import { beforeAll, describe, expect, it } from 'vitest';
import { INDICATOR_BLINK, INDICATOR_OFF, INDICATOR_ON } from '../../devices/pci/pcie-capability.js';
import { compileKernel } from './kernel-source.js';
import { GUEST_IP, NicMachine } from './nic-machine.js';
import { MS, SECOND } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

/** The link is up well before this. */
const SETTLED = 200 * MS;
const PREFIX = 'pcieport 0000:00:01.0: pciehp: ';

/** A guest that echoes, and what is done to it at which time. */
function run(until: number, acts: readonly (readonly [at: number, act: (net: NicMachine) => void])[]) {
  const net = new NicMachine(kernel, { commandLine: 'workload=udp-echo status_ms=60000' });
  for (const [at, act] of acts) net.machine.at(at, () => act(net));
  expect(net.machine.run(until)).toBe('time');
  expect(net.machine.printed(/DMA-API: (ixgbevf|.*out of memory)|BUG|cpu_sleep/)).toEqual([]);
  return net;
}

const lines = (net: NicMachine): string[] =>
  net.machine.printed(/pciehp: /).map((line) => line.slice(PREFIX.length));
const press = (net: NicMachine): void => net.port.requestUnplug();
const plug =
  (announce: 'button' | 'link') =>
  (net: NicMachine): void =>
    net.port.plug(net.assigned[0]!, announce);
/** As a hypervisor does it that was asked to take the device out. */
const eject = (net: NicMachine): void => {
  expect(net.port.slotState.released, 'the guest has let go of the device').toBe(true);
  net.port.eject();
};
const pull = (net: NicMachine): void => {
  net.port.eject();
};
const echoes = (count: number) => (net: NicMachine) =>
  net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 300, count });
const received = (net: NicMachine): number => net.peer.report().at(-1)!.arrived!.received;

describe('a slot', () => {
  it('is described with what it has', () => {
    const net = run(SETTLED, []);
    expect(lines(net)).toEqual([
      'Slot #1 AttnBtn+ PwrCtrl+ MRL- AttnInd+ PwrInd+ HotPlug+ Surprise+ Interlock- NoCompl- IbPresDis- LLActRep+',
    ]);
  });

  it('is turned off five seconds after its button, and may be touched another second later; then it takes a new device', () => {
    const state: Record<string, unknown> = {};
    const look = (name: string) => (net: NicMachine) => {
      state[name] = net.port.slotState;
    };
    const net = run(10 * SECOND, [
      [SETTLED, echoes(9000)],
      [SECOND, press],
      [1.1 * SECOND, look('blinking')],
      [5.9 * SECOND, look('still blinking')],
      [6.9 * SECOND, look('power off')],
      [7.2 * SECOND, look('off')],
      [7.3 * SECOND, eject],
      [7.5 * SECOND, plug('link')],
      [8 * SECOND, look('on')],
    ]);
    const [blink, off, on] = [INDICATOR_BLINK, INDICATOR_OFF, INDICATOR_ON];
    const slot = (powered: boolean, powerIndicator: number): unknown =>
      expect.objectContaining({ powered, powerIndicator });
    expect(state).toEqual({
      blinking: slot(true, blink),
      'still blinking': slot(true, blink),
      'power off': slot(false, blink),
      off: slot(false, off),
      on: slot(true, on),
    });
    expect(lines(net).slice(1)).toEqual([
      'Slot(1): Button press: will power off in 5 sec',
      'Slot(1): Card present',
    ]);
    // The link is up by itself only with power, which the guest gives: then the device is found anew.
    expect(net.machine.printed(/^pci 0000:01:00.0: (\[|removed)/)).toEqual([
      'pci 0000:01:00.0: [8086:10ed] type 00 class 0x020000 PCIe Endpoint',
      'pci 0000:01:00.0: removed',
      'pci 0000:01:00.0: [8086:10ed] type 00 class 0x020000 PCIe Endpoint',
    ]);
    expect(net.machine.printed(/NIC Link is Up/)).toHaveLength(2);
  });

  it('whose button is pressed again within the five seconds stays as it was', () => {
    const net = run(9 * SECOND, [
      [SETTLED, echoes(8500)],
      [SECOND, press],
      [3 * SECOND, press],
    ]);
    expect(lines(net).slice(1)).toEqual([
      'Slot(1): Button press: will power off in 5 sec',
      'Slot(1): Button press: canceling request to power off',
    ]);
    expect(net.port.slotState).toMatchObject({ powered: true, powerIndicator: INDICATOR_ON });
    expect(received(net)).toBe(8500);
  });

  it.each(['button', 'link'] as const)(
    'from which the device is pulled under traffic is turned off, and takes another (%s)',
    (announce) => {
      const net = run(6 * SECOND, [
        [SETTLED, echoes(4000)],
        [SECOND, pull],
        [2.5 * SECOND, plug(announce)],
      ]);
      expect(lines(net).slice(1, 3)).toEqual(['Slot(1): Link Down', 'Slot(1): Card not present']);
      expect(lines(net)).toContain('Slot(1): Card present');
      expect(net.port.slotState).toMatchObject({ powered: true, powerIndicator: INDICATOR_ON });
      expect(net.machine.printed(/NIC Link is Up/)).toHaveLength(2);
    },
  );

  it('whose device is replaced in one moment notices: the old one goes, the new one comes', () => {
    const net = run(5 * SECOND, [
      [SETTLED, echoes(4000)],
      [
        SECOND,
        (it) => {
          pull(it);
          plug('link')(it);
        },
      ],
    ]);
    expect(net.machine.printed(/^pci 0000:01:00.0: removed/)).toHaveLength(1);
    expect(net.machine.printed(/NIC Link is Up/)).toHaveLength(2);
  });
});

describe('a hundred devices, one after the other', () => {
  it('leave nothing behind, and traffic goes on with the last', () => {
    const acts: [number, (net: NicMachine) => void][] = [];
    const first = SECOND;
    const period = 1.5 * SECOND;
    for (let i = 0; i < 100; i++) {
      acts.push(
        [first + i * period, pull],
        [first + i * period + 1.2 * SECOND, plug(i % 2 ? 'button' : 'link')],
      );
    }
    const end = first + 100 * period;
    const net = run(end + 4 * SECOND, [...acts, [end + SECOND, echoes(1000)]]);
    expect(net.machine.printed(/^pci 0000:01:00.0: removed/)).toHaveLength(100);
    expect(received(net)).toBe(1000);
  });
});
