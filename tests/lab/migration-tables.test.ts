/** The tables of a migration's record, of records that a simulated migration made. */
import { describe, expect, it } from 'vitest';
import { blackoutTable, phaseTable, roundLine, summaryLines } from '../../lab/report/migration-tables.js';
import { formatTime } from '../../lab/report/words.js';
import { migrationInfo } from '../../vmm/process/migration-info.js';
import { simulate } from '../migration/simulate.js';
import { scene, scriptOf } from '../migration/test-approaches.js';
import { smallDevice } from '../migration/test-device.js';
import { refused } from '../migration/test-errors.js';
import { smallGuest } from '../migration/test-machine.js';

describe('the tables of a migration', () => {
  it('tell with an assigned device who dirtied pages, what of it travelled, and its parts of the blackout', async () => {
    const { source } = await simulate({ shape: { ...smallGuest, device: smallDevice } });
    const { cpu, device, both } = source.dirtied;
    const phases = phaseTable(source).split('\n');
    expect(phases[1]).toMatch(/by CPU +by device +by both/);
    expect(phases.find((line) => line.includes('in all'))).toMatch(
      new RegExp(`${cpu} +${device} +${both}\\s*$`),
    );
    const blackout = blackoutTable(source.blackout!, source.expected, source.destination);
    expect(blackout).toMatch(/time +expected +share/);
    const times = [source.blackout!.totalNs, source.expected!.totalNs].map((ns) =>
      formatTime(ns).replace('.', '\\.'),
    );
    expect(blackout).toMatch(new RegExp(`blackout +${times.join(' +')}`));
    expect(blackout).toMatch(/quiesce the device/);
    const { loadNs, deviceLoadNs } = source.destination!;
    expect(blackout).toMatch(`, load ${formatTime(loadNs)}, start `);
    expect(blackout).toMatch(
      `beside these steps it took the device's state in, in ${formatTime(deviceLoadNs)}`,
    );
    const summary = summaryLines(source).join('\n');
    expect(summary).toMatch(/vf0: tracking iommu-dirty, stop device-state, start device-state/);
    expect(summary).toMatch(new RegExp(`vf0 dirtied ${source.deviceDirtied!.pages} pages: `));
    expect(migrationInfo(source, undefined)).toMatchObject({
      vfio: { transferred: source.devices[0]!.preCopyBytes + source.devices[0]!.blackoutBytes },
      'x-ferry-approaches': { tracking: 'iommu-dirty' },
      'x-ferry-dirtied': { cpu, device, both },
    });
  });

  it('have as many columns as there is room for, say which have none, and keep sizes and rates in one unit', async () => {
    const { source } = await simulate({ shape: { ...smallGuest, device: smallDevice } });
    const wide = phaseTable(source).split('\n');
    const width = Math.max(...wide.map((line) => line.length));
    expect(phaseTable(source, width)).toBe(wide.join('\n'));
    for (let narrow = width - 1; narrow > 50; narrow--) {
      const lines = phaseTable(source, narrow).split('\n');
      const [, left] = /^not shown for want of room: (.*)$/.exec(lines.pop()!)!;
      expect(
        lines.filter((line) => line.length > narrow),
        `${narrow}`,
      ).toEqual([]);
      for (const head of left!.split(', ')) expect(wide[1]).toContain(head);
      expect(lines[1]).toMatch(/^phase .*time .*pages .*by CPU .*by device/);
    }
    expect([...wide, ...source.rounds.map(roundLine)].join('\n')).not.toMatch(/\d [kMG]B\b/);
  });

  it('tell what became of a device that was taken back by a reset, or started after the guest', async () => {
    const shape = { ...smallGuest, device: smallDevice };
    const reset = await simulate({
      shape,
      prepare: ({ source, destination }) => {
        destination.failing = { load: refused('no room') };
        source.device!.failing = { resume: refused('stuck') };
      },
    });
    expect(summaryLines(reset.source).join('\n')).toMatch(/^vf0 was reset, .*stuck/m);
    const late = await simulate(scene(scriptOf()));
    expect(summaryLines(late.source).join('\n')).toMatch(/^vf0 worked .* after the guest ran$/m);
    const dead = await simulate(scene(scriptOf({ started: () => Promise.reject(refused('no link')) })));
    expect(summaryLines(dead.source).join('\n')).toMatch(/^vf0 does not work at the destination: .*no link/m);
  });

  it('say nothing of a device where there is none', async () => {
    const { source } = await simulate();
    const { destination } = source;
    const all = [
      phaseTable(source),
      blackoutTable(source.blackout!, source.expected, destination),
      ...summaryLines(source),
    ];
    expect(all.join('\n')).not.toMatch(/device/);
    expect(migrationInfo(source, undefined).vfio).toBeUndefined();
  });
});
