/** Guests that do not help: what each of them does, as its host and its devices see it. */
import { beforeAll, describe, expect, it } from 'vitest';
import { INDICATOR_BLINK, INDICATOR_ON } from '../../devices/pci/pcie-capability.js';
import { SERIAL_PORTS } from '../../devices/serial/registers.js';
import { channelText, channelWord } from '../../vmm/passthrough/channel.js';
import { compileKernel } from './kernel-source.js';
import { GUEST_IP, NicMachine } from './nic-machine.js';
import { MS, PlainMachine } from './plain-machine.js';

let kernel: WebAssembly.Module;
beforeAll(async () => {
  kernel = await compileKernel();
});

const SETTLED = 200 * MS;
const ECHOES = 100;

type Act = (net: NicMachine) => void;

/** A guest that echoes, and what is done to it so long after it has settled. */
function run(word: string, untilMs: number, acts: readonly (readonly [atMs: number, act: Act])[] = []) {
  const net = new NicMachine(kernel, { commandLine: `workload=udp-echo status_ms=60000 ${word}` });
  for (const [at, act] of acts) net.machine.at(SETTLED + at * MS, () => act(net));
  expect(net.machine.run(SETTLED + untilMs * MS)).toBe('time');
  expect(net.machine.printed(/DMA-API: (ixgbevf|.*out of memory)|BUG|Unknown kernel/)).toEqual([]);
  return net;
}

const press: Act = (net) => net.port.requestUnplug();
const ask =
  (word: string): Act =>
  (net) =>
    void net.port.channel.request(channelWord(word));
/** All of them are sent in so many milliseconds. */
const echoes: Act = (net) =>
  net.peer.startFlow({ kind: 'echo', ip: GUEST_IP, port: 7, rate: 1000, payloadBytes: 300, count: ECHOES });
const received = (net: NicMachine): number => net.peer.report().at(-1)!.arrived!.received;
/** What the power indicator shows at these times. */
const looks = (into: number[], ...timesMs: readonly number[]): [number, Act][] =>
  timesMs.map((at) => [at, (net) => into.push(net.port.slotState.powerIndicator)]);

describe('a guest that does not help, and is', () => {
  it('silent: says what it could do, hears of nothing, and its network is as ever', () => {
    const net = run('behaviour=silent', 300, [
      [0, echoes],
      [0, press],
      [50, ask('susp')],
      [100, ask('off')],
    ]);
    expect(net.port.channel.features.map(channelText)).toContain('susp');
    expect(net.machine.printed(/Button press|ferry: suspended|removed/)).toEqual([]);
    expect(net.port.slotState.powerIndicator).toBe(INDICATOR_ON);
    expect(received(net)).toBe(ECHOES);
  });

  it('late: does what it is asked, so much later as it was told', () => {
    const seen: number[] = [];
    run('behaviour=late late_ms=100', 300, [[0, press], ...looks(seen, 90, 290)]);
    expect(seen).toEqual([INDICATOR_ON, INDICATOR_BLINK]);
  });

  it('lying: answers what is to be answered, and goes on with its device', () => {
    const net = run('behaviour=lying', 300, [
      [0, ask('susp')],
      [50, ask('off')],
      [100, ask('rplc')],
      [150, echoes],
    ]);
    expect(net.machine.printed(/ferry: suspended|removed|replaced/)).toEqual([]);
    expect(net.port.slotState.powerIndicator).toBe(INDICATOR_ON);
    expect(received(net)).toBe(ECHOES);
  });

  it('driverless: has a device that nobody drives', () => {
    const net = new NicMachine(kernel, { commandLine: 'module_blacklist=ixgbevf' });
    expect(net.machine.run(SETTLED)).toBe('time');
    expect(net.machine.printed(/Module ixgbevf is blacklisted/)).toHaveLength(1);
    expect(net.barAccesses).toBe(0);
  });

  it('cancelling: lets no button have its way', () => {
    const seen: number[] = [];
    const net = run('behaviour=cancelling', 700, [[0, press], ...looks(seen, 10, 690)]);
    expect(seen).toEqual([INDICATOR_BLINK, INDICATOR_ON]);
    expect(net.machine.printed(/canceling request to power off/)).toHaveLength(1);
  });

  it('toggling: takes its device down and up, and each time it works again', () => {
    const net = run('behaviour=toggling', 1000, [[850, echoes]]);
    expect(net.machine.printed(/ferry: suspended/)).toHaveLength(2);
    expect(net.machine.printed(/ferry: resumed/)).toHaveLength(2);
    expect(received(net)).toBe(ECHOES);
  });
});

describe('a guest that is told to be no help', () => {
  /** Such a guest, what it is told when it has settled, and what is done to it so many milliseconds later. */
  function tell(args: object, untilMs: number, acts: readonly (readonly [atMs: number, act: Act])[] = []) {
    const commandLine = 'workload=udp-echo status_ms=60000 behaviour=told';
    const net = new NicMachine(kernel, { commandLine, serial: true });
    const port = net.machine.serial!.calls.get(SERIAL_PORTS[0])!;
    const request = `${JSON.stringify({ execute: 'x-ferry-behave', arguments: args })}\n`;
    net.machine.at(SETTLED, () => port.write(new TextEncoder().encode(request)));
    for (const [at, act] of acts) net.machine.at(SETTLED + at * MS, () => act(net));
    const end = net.machine.run(SETTLED + untilMs * MS);
    expect(net.machine.printed(/DMA-API: (ixgbevf|.*out of memory)|BUG|Unknown kernel/)).toEqual([]);
    return { net, end, reply: new TextDecoder().decode(port.read()) };
  }

  it('toggle: takes its device down for so long, and it works again', () => {
    const { net, reply } = tell({ what: 'toggle', us: 20_000 }, 400, [[200, echoes]]);
    expect(JSON.parse(reply)).toEqual({ return: {} });
    expect(net.machine.printed(/ferry: suspended/)).toHaveLength(1);
    expect(net.machine.printed(/ferry: resumed/)).toHaveLength(1);
    expect(received(net)).toBe(ECHOES);
  });

  it('unload: gives its device up for so long, and has an interface again', () => {
    const { net } = tell({ what: 'unload', us: 20_000 }, 600, [[400, echoes]]);
    expect(net.machine.printed(/IP-Config: Complete/)).toHaveLength(2);
    expect(received(net)).toBe(ECHOES);
  });

  it('lie: answers as if it had let go, and does what it says when that is over', () => {
    const { net } = tell({ what: 'lie', us: 50_000 }, 300, [
      [20, ask('susp')],
      [100, ask('susp')],
    ]);
    expect(net.machine.printed(/ferry: suspended/)).toHaveLength(1);
  });

  it('crash: panics', () => {
    const { net, end } = tell({ what: 'crash' }, 100);
    expect(end).not.toBe('time');
    expect(net.machine.printed(/(?<!end )Kernel panic - not syncing: behaviour=told/)).toHaveLength(1);
  });

  it.each([
    [{ what: 'toggle', us: -1 }, /'us', expected: integer/],
    [{ what: 'sing', us: 1 }, /does not accept value 'sing'/],
    [{ us: 1 }, /'what' is missing/],
  ])('refuses what it does not know: %j', (args, words) => {
    expect(tell(args, 50).reply).toMatch(words);
  });
});

describe('a driver that is asked to let go of its device', () => {
  it('right after it got it, before its interface is set up, has both when it may go on', () => {
    const net = run('', 1500, [
      [0, (it) => it.port.eject()],
      [100, (it) => it.port.plug(it.assigned[0]!, 'link')],
      // The slot was off for a second, and now waits for the link: this is the next that is done after the probe.
      [1060, ask('susp')],
      [1200, ask('rsme')],
      [1300, echoes],
    ]);
    const order = net.machine.printed(/ferry: suspended|IP-Config: Complete|ferry: resumed/).slice(1);
    expect(order.map((line) => /suspended|Complete|resumed/.exec(line)![0])).toEqual([
      'suspended',
      'Complete',
      'resumed',
    ]);
    expect(received(net)).toBe(ECHOES);
  });
});

describe('a guest that is asked for more before it has answered', () => {
  it('does all of it, in order, and has its device in the end', () => {
    const net = run('', 500, [
      [0, ask('susp')],
      [0, ask('rsme')],
      [0, ask('keep')],
      [300, echoes],
    ]);
    const said = net.machine
      .printed(/ferry: (suspended|resumed)/)
      .map((line) => /suspended|resumed/.exec(line)![0]);
    expect(said).toEqual(['suspended', 'resumed']);
    expect(received(net)).toBe(ECHOES);
  });
});

describe('a guest that takes the CPU for other things, and is', () => {
  it('dirtying: writes all over its memory, but only once it was asked something', () => {
    const written = (net: NicMachine): number => {
      const [line = ''] = net.machine.printed(/behaviour: dirties/);
      return Number(/dirties (\d+) pages/.exec(line)?.[1] ?? 0);
    };
    expect(written(run('behaviour=dirtying', 20))).toBe(0);
    const net = run('behaviour=dirtying', 20, [[0, ask('susp')]]);
    expect(written(net)).toBeGreaterThan(1000);
    expect(net.machine.printed(/ferry: suspended/)).toHaveLength(1);
  });

  it('starved: does little of what a guest with a CPU does', () => {
    const steps = (word: string): number => {
      const machine = new PlainMachine(kernel, { commandLine: `workload=idle status_ms=1 ${word}` });
      machine.run(SETTLED);
      return machine.printed(/idle: up/).length;
    };
    const [usual, starved] = [steps(''), steps('behaviour=starved')];
    expect(usual).toBeGreaterThan(100);
    expect(starved).toBeLessThan(usual / 5);
    expect(starved).toBeGreaterThan(0);
  });
});

describe('a behaviour that there is not', () => {
  it('ends the guest, with those that there are', () => {
    const machine = new PlainMachine(kernel, { commandLine: 'behaviour=rude' });
    machine.run(SETTLED);
    expect(machine.printed(/Kernel panic.*behaviour= must be silent, late/)).not.toEqual([]);
  });
});
