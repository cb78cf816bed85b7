/**
 * A device that is cut off without a word, and a new one that the guest's driver sets up in its place: however it hears of
 * that, interface and addresses stay, traffic goes on, and a move that comes to nothing leaves it with a network too.
 */
import { describe, expect, it } from 'vitest';
import { FaultPlan } from '../../base/fault.js';
import { milliseconds } from '../../base/units.js';
import { moveUnderTraffic, RATE } from './passthrough-world.js';

const STARTS = ['error-recovery', 'error-recovery-nonfatal', 'replace-event'] as const;
/** What Linux waits for after a bus was reset: 2 ms, and 100 ms until the device may be asked. */
const FIXED_MS = 102;

const move = (start: string, scene: Parameters<typeof moveUnderTraffic>[0] = {}) =>
  moveUnderTraffic({ ...scene, parameters: { stop: 'surprise', start, ...scene.parameters } });

describe('a device that was cut off', () => {
  it.each(STARTS)(
    'is set up anew by %s: the same interface and address, and traffic goes on',
    async (start) => {
      const { source, destination, flow, nic, console } = await move(start);
      expect([source.error, destination.afterwards, source.afterwards]).toEqual([
        undefined,
        undefined,
        undefined,
      ]);
      expect(source.approaches).toMatchObject({ stop: 'surprise', start });
      const [device] = source.devices;
      expect(device).toMatchObject({ preCopyBytes: 0, blackoutBytes: 0, problem: undefined });
      const { arrived } = flow;
      expect(arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      const fixedMs = start === 'error-recovery' ? FIXED_MS : 0;
      expect(arrived!.longestGapNs).toBeGreaterThan(milliseconds(fixedMs));
      expect(arrived!.longestGapNs).toBeLessThan(milliseconds(fixedMs + 60));
      // And flows again to the end.
      expect(flow.sent - flow.arrived!.received).toBeLessThan((fixedMs + 60) * (RATE / 1000) + 40);
      // Lost is what was sent to a device that did not work, and nothing else.
      expect(arrived!.lost).toBeLessThanOrEqual((arrived!.longestGapNs / 1e9) * RATE + 40);
      expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
      expect(console.filter((line) => / eth\d: NIC Link is Up/.test(line)).length).toBeGreaterThanOrEqual(2);
      expect(console.filter((line) => /pci 0000:01:00.0: removed|Slot\(1\)/.test(line))).toEqual([]);
      const expected: Record<(typeof STARTS)[number], RegExp[]> = {
        'error-recovery': [
          /pcieport 0000:00:01.0: AER: Uncorrectable \(Fatal\) error message received from 0000:01:00.0$/,
          /ixgbevf 0000:01:00.0: AER: PCIe Bus Error: severity=Uncorrectable \(Fatal\), type=Inaccessible/,
          /pcieport 0000:00:01.0: AER: Root Port link has been reset \(0\)$/,
          /pcieport 0000:00:01.0: AER: device recovery successful$/,
        ],
        'error-recovery-nonfatal': [
          /AER: Uncorrectable \(Non-Fatal\) error message received from 0000:01:00.0$/,
          /ixgbevf 0000:01:00.0: PCIe Bus Error: severity=Uncorrectable \(Non-Fatal\), type=Transaction Layer, \(Requester ID\)$/,
          /ixgbevf 0000:01:00.0: {3}device \[8086:10ed\] error status\/mask=00004000\/00400000$/,
          /ixgbevf 0000:01:00.0: {4}\[14\] CmpltTO \(First\)$/,
          /AER: device recovery successful$/,
        ],
        'replace-event': [/pcieport 0000:00:01.0: ferry: the device was replaced$/],
      };
      for (const pattern of expected[start]) expect(console.join('\n')).toMatch(new RegExp(pattern, 'm'));
    },
  );

  it('comes back at the source when the move comes to nothing: told, set up anew, and traffic goes on', async () => {
    const { source, flow, nic, console } = await move('error-recovery', {
      faults: new FaultPlan([{ site: 'migration/last-pass-skipped' }]),
    });
    expect(source.status).toBe('failed');
    expect(source.guest).toBe('here');
    expect(source.devices[0]!.takenBack).toBe('was cut off, and is set up anew by its driver');
    expect(source.error!.advice).toMatch(/But vf0 was cut off, and is set up anew by its driver/);
    expect(flow.arrived).toMatchObject({ duplicated: 0, corrupt: 0 });
    expect(flow.arrived!.longestGapNs).toBeLessThan(milliseconds(FIXED_MS + 60));
    expect(flow.sent - flow.arrived!.received).toBeLessThan((FIXED_MS + 60) * (RATE / 1000) + 40);
    expect(nic).toMatchObject({ state: 'RUNNING', link: true });
    // What came for it while it was cut off is counted as its own.
    expect(nic.drops.stopped + nic.drops.noDescriptor).toBeGreaterThan(flow.arrived!.lost - 200);
    expect(console.join('\n')).toMatch(/AER: device recovery successful/);
  });

  it('has the cores to itself when it is set up: RAM is hashed after the first packets', async () => {
    const { source, destination } = await move('replace-event', { parameters: { verify: 'after' } });
    expect(source.verification).toMatchObject({ established: true, differences: [] });
    const start = destination.timeline.find(({ who, what }) => who === 'vf0' && what === 'start')!;
    const hashed = source.timeline.find(({ what }) => what === 'verify-after')!;
    expect(hashed.at).toBeGreaterThan(start.at + start.duration! + milliseconds(90));
  });

  it('does not go on writing: what is cut off is quiet, and a start of another kind is refused before anything', async () => {
    const { source } = await move('device-state');
    expect(source.error!.message).toMatch(
      /stop = surprise leaves a driver that believes its device at work; this start goes with stop = device-state$/,
    );
    expect(source.transferred.bytes).toBe(0);
  });
});

describe('a device whose hardware fails at a step between states of VFIO', () => {
  /** Steps that succeed before: into PRE_COPY, to be quiesced, to stop; and on the way back. */
  it.each([
    ['while it is quiesced', 1, 'the hardware does not answer'],
    ['while it stops', 2, 'the hardware does not answer'],
  ] as const)(
    '%s is in ERROR: it is reset at its place, its driver hears of it, and the guest has its network again',
    async (_, after, because) => {
      const { source, flow, nic, console } = await moveUnderTraffic({
        parameters: { stop: 'device-state', start: 'device-state' },
        nicFaults: { source: [{ site: 'nic/step-fails', after }] },
        afterwardsMs: 80,
      });
      expect(source.status).toBe('failed');
      expect(source.guest).toBe('here');
      expect(source.error!.message).toContain(because);
      expect(source.devices[0]!.takenBack).toMatch(/^was reset, because it could not go on as it was/);
      const states = source.timeline.flatMap(({ what, facts }) =>
        what === 'vfio-state' ? [facts!.state] : [],
      );
      expect(states).toContain('ERROR');
      expect(states.at(-1)).toBe('RUNNING');
      expect(nic).toMatchObject({ state: 'RUNNING', link: true, faults: { count: 0 } });
      expect(flow.arrived).toMatchObject({ duplicated: 0, reordered: 0, corrupt: 0 });
      expect(flow.arrived!.silentNs).toBeLessThan(milliseconds(50));
      expect(flow.arrived!.longestGapNs).toBeLessThan(milliseconds(60));
      expect(console.filter((line) => /AER: device recovery successful/.test(line))).toHaveLength(1);
      expect(console.filter((line) => /Adapter removed|BUG|DMA-API: ixgbevf/.test(line))).toEqual([]);
    },
  );
});
