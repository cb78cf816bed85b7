import { describe, expect, it } from 'vitest';
import { reservedRange } from '../../base/abi/reserved-range.js';
import type { FerryError } from '../../base/errors.js';
import { MIB, PAGE_BYTES } from '../../base/units.js';
import type { MachineDescription } from '../../migration/ports.js';
import { refuseUnlike } from '../../vmm/machine/compatible.js';
import { deviceRecords } from '../../vmm/machine/devices.js';

const mac = [0, 0, 0, 0, 0, 0] as const;

/** As a machine with these options describes itself; its image lies as high as it can. */
function machine({ ramBytes = 64 * MIB, vcpus = 1, functions = 0, virtio = 0 } = {}): MachineDescription {
  const { firstPage } = reservedRange(ramBytes, vcpus);
  const imageBytes = 3 * PAGE_BYTES;
  return {
    ramBytes,
    vcpus,
    migratedPages: firstPage,
    imageGpa: firstPage * PAGE_BYTES - imageBytes,
    imageBytes,
    imageHash: '',
    devices: deviceRecords({ macs: Array(functions).fill(mac), virtio: Array(virtio).fill({ mac }) }),
  };
}

function differences(ours: MachineDescription, theirs: MachineDescription): string[] {
  try {
    refuseUnlike(ours, theirs);
    return [];
  } catch (error) {
    const { facts } = error as FerryError;
    const found = String(facts.differences).split('; ');
    expect(facts.count).toBe(found.length);
    return found;
  }
}

describe('a guest that does not fit', () => {
  it('is refused with every cause and no consequence of one', () => {
    const causes = [
      [{ vcpus: 2 }, /^vCPUs: the source has 2, this machine 1$/],
      [{ ramBytes: 32 * MIB }, /^RAM bytes: the source has 33554432, this machine 67108864$/],
      [{ ramBytes: 128 * MIB }, /^RAM bytes: /],
      [
        { functions: 1 },
        /^assigned functions: the source has 1 \(--nic vf\), this machine 0 \(--nic none\)$/,
      ],
    ] as const;
    // Every set of causes, in both directions.
    for (let set = 0; set < 1 << causes.length; set++) {
      const chosen = causes.filter((_, i) => set & (1 << i));
      const other = machine(Object.assign({}, ...chosen.map(([change]) => change)));
      const names = (found: string[]): string[] =>
        found.map((difference) => difference.split(':')[0]!).sort();
      const expected = [...new Set(chosen.map(([, words]) => words.source.slice(1).split(':')[0]!))].sort();
      expect(names(differences(machine(), other))).toEqual(expected);
      expect(names(differences(other, machine()))).toEqual(expected);
    }
    for (const [change, words] of causes) {
      expect(differences(machine(), machine(change))).toEqual([expect.stringMatching(words)]);
    }
  });

  it('is refused for its devices, told apart from those of a NIC', () => {
    const toaster = { name: 'toaster', version: 3 };
    const theirs = machine({ functions: 1 });
    const odd = { ...theirs, devices: [toaster, ...theirs.devices.slice(1)] };
    expect(differences(machine({ functions: 1 }), odd)).toEqual([
      expect.stringMatching(/^devices: .*toaster v3/),
    ]);
    expect(differences(machine(), odd)).toEqual([
      expect.stringMatching(/^assigned functions: /),
      expect.stringMatching(/^devices: .*toaster v3/),
    ]);
  });

  it('is refused for more or fewer functions than this machine has, in one sentence', () => {
    expect(differences(machine({ functions: 2 }), machine({ functions: 8 }))).toEqual([
      'assigned functions: the source has 8 (--nic vf=8), this machine 2 (--nic vf=2)',
    ]);
    expect(differences(machine({ functions: 8 }), machine({ functions: 8 }))).toEqual([]);
  });

  it('is refused for another layout of a machine of the same size', () => {
    const theirs = machine();
    expect(differences(machine(), { ...theirs, migratedPages: theirs.migratedPages + 1 })).toEqual([
      expect.stringMatching(/^migrated pages: /),
    ]);
  });

  it('is refused for an image that does not lie in its own RAM, whatever else is wrong', () => {
    for (const image of [
      { imageBytes: 0 },
      { imageGpa: PAGE_BYTES + 1 },
      { imageGpa: machine().imageGpa + PAGE_BYTES },
    ]) {
      expect(differences(machine(), { ...machine(), ...image })).toEqual([
        expect.stringMatching(/^the guest image at \d+ to \d+ does not lie/),
      ]);
      expect(differences(machine({ vcpus: 2 }), { ...machine(), ...image })).toHaveLength(2);
    }
  });
});
