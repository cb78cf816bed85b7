/** What devices report by themselves, and the slot that an assigned function sits in, on the whole machine. */
import { describe, expect, test } from 'vitest';
import type { Cancel } from '../../base/clock.js';
import { seededRandom } from '../../base/random.js';
import { milliseconds } from '../../base/units.js';
import { createDeterministicMachine } from '../../dist/vmm/deterministic/create.js';
import type { MachineEvent } from '../../dist/vmm/machine/events.js';
import { Trace } from '../../lab/simulator/trace.js';
import { VirtualTime } from '../../lab/simulator/virtual-time.js';
import type { DeviceSlot, SlotState } from '../../migration/ports.js';
import { channelText, channelWord } from '../../vmm/passthrough/channel.js';
import { type DeviceEvent, EventOutbox } from '../../vmm/passthrough/events.js';
import type { Watch } from './machine-watch.js';
import { booted, RAM_BYTES, WORLDS } from './machine-worlds.js';

const NIC = { macs: [[0x52, 0x54, 0, 0x12, 0x34, 0x56]] } as const;

const told = <K extends DeviceEvent['kind']>(watch: Watch, kind: K): Extract<DeviceEvent, { kind: K }>[] =>
  watch.events.flatMap((event) =>
    event.kind === 'device' && event.event.kind === kind
      ? [event.event as Extract<DeviceEvent, { kind: K }>]
      : [],
  );

/** Listens until it hears of something that is so. */
function heard<T>(
  on: (listener: (value: T) => void) => Cancel,
  so: (value: T) => boolean = () => true,
): Promise<T> {
  return new Promise((resolve) => {
    const cancel = on((value) => {
      if (!so(value)) return;
      cancel();
      resolve(value);
    });
  });
}

const until = (slot: DeviceSlot, so: (state: SlotState) => boolean): Promise<SlotState> =>
  heard(slot.onChange, so);

describe.each(WORLDS)('the slot of a function of a machine of $name', ({ run }) => {
  test('is turned off by the guest that is asked, emptied, filled and turned on again; each is heard of', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'slot', 0, { nic: NIC });
      const slot = machine.devices[0]!.slot!;
      await watch.line(/^r/);
      const on = { present: true, powered: true, link: true, powerIndicator: 'on' };
      expect(await slot.state()).toMatchObject(on);

      const off = until(slot, ({ powerIndicator }) => powerIndicator === 'off');
      await machine.devices[0]!.button!.press();
      await watch.line(/^o/);
      const letGo = { present: true, powered: false, link: false, powerIndicator: 'off' };
      expect(await off).toMatchObject(letGo);
      expect(await slot.state()).toMatchObject(letGo);

      const empty = until(slot, ({ present }) => !present);
      await slot.remove();
      expect(await empty).toMatchObject({ present: false, link: false });
      await slot.remove();

      const filled = until(slot, ({ link }) => link);
      await slot.insert('button');
      await watch.line(/^i/);
      expect(await filled).toMatchObject({ present: true, link: true });
      expect(await slot.state()).toMatchObject(on);
      await slot.insert('button');
      expect(await slot.state()).toMatchObject(on);

      await machine.pause();
      const messages = told(watch, 'guest-message').map(({ device, message }) => [
        device,
        message.sequence,
        message.word,
      ]);
      expect(messages.at(-1)).toEqual(['vf0', 2, '?']);
    }));

  test('that is emptied without asking is heard of at once, and the guest goes on', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'slot', 0, { nic: NIC });
      const slot = machine.devices[0]!.slot!;
      await watch.line(/^r/);
      const gone = until(slot, ({ present }) => !present);
      await slot.remove();
      expect(await gone).toMatchObject({ present: false, link: false, powered: true });
      expect(machine.state).toBe('running');
      const back = until(slot, ({ link }) => link);
      await slot.insert('link');
      expect(await back).toMatchObject({ present: true, link: true, powered: true });
    }));
});

describe.each(WORLDS)("the channel to the guest's driver on a machine of $name", ({ run }) => {
  test('has what the driver offers, carries requests there and answers back', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'slot', 0, { nic: NIC });
      const channel = machine.devices[0]!.guest!;
      await watch.line(/^r/);
      expect(await channel.features()).toEqual(['susp']);
      for (const [i, request] of ['susp', 'go'].entries()) {
        const answer = heard(channel.onMessage);
        const sequence = await channel.request(request, [i]);
        expect(await answer).toEqual({ sequence, word: request, args: [0, 0, 0, 0] });
      }
    }));

  test('answers each of several requests that nobody waits with, and each answer is heard', () =>
    run(async (world) => {
      const { machine, watch } = await booted(world, 'slot', 0, { nic: NIC });
      const channel = machine.devices[0]!.guest!;
      await watch.line(/^r/);
      const words = ['a', 'b', 'c', 'd'];
      const answered: string[] = [];
      const all = heard(channel.onMessage, ({ word }) => answered.push(word) === words.length);
      const numbers = await Promise.all(words.map((word) => channel.request(word)));
      expect(numbers).toEqual([1, 2, 3, 4]);
      await all;
      expect(answered).toEqual(words);
    }));

  test('has nothing of a guest without one, and waits for nobody', () =>
    run(async (world) => {
      const { machine } = await booted(world, 'hello', 0, { nic: NIC });
      const channel = machine.devices[0]!.guest!;
      expect(await channel.features()).toEqual([]);
      await channel.request('susp');
    }));
});

describe.each(WORLDS)('the standby of a function of a machine of $name', ({ run }) => {
  const [mac] = NIC.macs;

  test('can take over only once the guest has agreed to it, and says so when it is to', () =>
    run(async (world) => {
      const nic = { ...NIC, virtio: [{ mac, standby: true }] };
      const { machine } = await booted(world, 'hello', 0, { nic });
      const standby = machine.devices[0]!.standby!;
      expect(await standby.problem()).toBe('the guest has not agreed to use virtio-net0 as a standby');
      const taken = heard<MachineEvent>(
        (listener) => machine.on(listener),
        (event) => event.kind === 'device' && event.event.kind === 'unplug-primary',
      );
      await standby.takeOver();
      expect(await taken).toMatchObject({ event: { device: 'vf0' } });
    }));

  test('is not there where no device was given as one', () =>
    run(async (world) => {
      const nic = { ...NIC, virtio: [{ mac }] };
      const { machine } = await booted(world, 'hello', 0, { nic });
      expect(machine.devices[0]!.standby).toBeUndefined();
    }));
});

test('words on the channel are what registers hold, whatever a guest wrote there', () => {
  for (const text of ['a', 'go', 'susp']) expect(channelText(channelWord(text))).toBe(text);
  expect(channelWord('susp')).toBe(0x7073_7573);
  expect([0, 0xffff_ffff, 0x0041_0001].map(channelText)).toEqual(['', '????', '?']);
  for (const text of ['', 'longer', 'a b']) expect(() => channelWord(text)).toThrow(/word of the channel/);
});

describe('events of devices', () => {
  test('tell that the cable was plugged in', () => {
    const time = new VirtualTime(seededRandom(1), new Trace());
    return time.run(
      (async () => {
        const world = { scheduler: time, random: seededRandom(2), plug: () => () => {} };
        const machine = createDeterministicMachine({ ramBytes: RAM_BYTES, vcpus: 1, nic: NIC }, world);
        const events: MachineEvent[] = [];
        machine.on((event) => events.push(event));
        await time.sleep(milliseconds(1));
        const link = { kind: 'link', device: 'vf0', up: true };
        expect(events).toContainEqual({ kind: 'device', event: link });
        await machine.destroy();
      })(),
    );
  });

  test('tell each state that a migration takes a device to, and none twice', () =>
    WORLDS[1]!.run(async (world) => {
      const { machine, watch } = await booted(world, 'hello', 0, { nic: NIC });
      const { vfio } = machine.devices[0]!;
      const from = told(watch, 'vfio-state').length;
      await vfio!.preCopy();
      await vfio!.preCopy();
      await vfio!.quiesce();
      await machine.pause();
      await vfio!.stopCopy();
      await vfio!.resume();
      await world.elapse(1);
      const states = told(watch, 'vfio-state').slice(from);
      expect(states.map(({ device, state }) => [device, state])).toEqual(
        ['PRE_COPY', 'PRE_COPY_P2P', 'STOP_COPY', 'RUNNING'].map((state) => ['vf0', state]),
      );
    }));

  test('of a guest that writes to its slot as fast as it can do not pile up while nobody takes them', () =>
    WORLDS[0]!.run(async (world) => {
      const { watch } = await booted(world, 'slot', 2 ** 30, { nic: NIC });
      await watch.line(/^h/);
      const [eventsBefore, linesBefore] = [told(watch, 'slot').length, watch.lines.length];
      expect(eventsBefore).toBeGreaterThan(0);
      // The machine's thread is busy; the guest and its devices are not.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 500);
      await watch.count(linesBefore + 2);
      // So many writes were made, at least, and most of them while nobody listened.
      expect(told(watch, 'slot').length - eventsBefore).toBeLessThan(256);
    }));

  test('wait with the latest of each kind and device, behind those that came before, and are handed over one batch at a time', () => {
    const outbox = new EventOutbox();
    const link = (device: string, up: boolean): DeviceEvent => ({ kind: 'link', device, up });
    expect(outbox.take()).toBeUndefined();
    outbox.push(link('vf0', true));
    outbox.push(link('vf1', true));
    outbox.push({ kind: 'iommu-faults', device: 'vf0', count: 1 });
    outbox.push(link('vf0', false));
    expect(outbox.take()).toEqual([
      link('vf1', true),
      { kind: 'iommu-faults', device: 'vf0', count: 1 },
      link('vf0', false),
    ]);
    outbox.acknowledge();
    // Of a device's states the latest of each.
    const state = (name: string): DeviceEvent => ({ kind: 'vfio-state', device: 'vf0', state: name });
    for (const name of ['PRE_COPY', 'STOP_COPY', 'PRE_COPY']) outbox.push(state(name));
    expect(outbox.take()).toEqual([state('STOP_COPY'), state('PRE_COPY')]);
    // Of what a guest says each answer, and of all else the latest.
    const message = (sequence: number, answers: boolean): DeviceEvent => ({
      kind: 'guest-message',
      device: 'vf0',
      message: { sequence, word: 'ok', args: [] },
      answers,
    });
    outbox.acknowledge();
    for (const said of [message(1, true), message(2, true), message(8, false), message(9, false)])
      outbox.push(said);
    expect(outbox.take()).toEqual([message(1, true), message(2, true), message(9, false)]);
    for (let count = 2; count < 10_000; count++) outbox.push({ kind: 'iommu-faults', device: 'vf0', count });
    expect(outbox.take()).toBeUndefined();
    outbox.acknowledge();
    expect(outbox.take()).toEqual([{ kind: 'iommu-faults', device: 'vf0', count: 9999 }]);
  });
});
