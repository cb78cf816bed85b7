import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { VF_DEVICE_ID } from '../../devices/nic82599/functions.js';
import { dumpBytes, dumpTopology } from '../../devices/pci/dump.js';
import type { PciFunction } from '../../devices/pci/function.js';
import { VENDOR_INTEL } from '../../devices/pci/identities.js';
import { TestMachine } from './machine.js';
import { GuestVf } from './vf-guest.js';

const hasLspci = spawnSync('lspci', ['--version']).status === 0;

/** What `lspci -F` makes of a dump; complaints of its own are part of it. */
function decode(dump: string): string {
  const folder = mkdtempSync(join(tmpdir(), 'ferry-lspci-'));
  try {
    const file = join(folder, 'dump.txt');
    writeFileSync(file, dump);
    return execFileSync('sh', ['-c', `lspci -F ${file} -vvv -nn 2>&1`], { encoding: 'utf8' });
  } finally {
    rmSync(folder, { recursive: true });
  }
}

const vfIds = (fn: PciFunction) =>
  fn.name.includes('-vf') ? { vendorId: VENDOR_INTEL, deviceId: VF_DEVICE_ID } : undefined;
/** The decoded part that is about one function. */
const partOf = (text: string, place: string): string =>
  text.split(/\n\n/).find((part) => part.startsWith(`${place} `)) ?? '';

/** What lspci says when it can't make sense of a dump. */
const COMPLAINTS = /malformed|looped|<unreadable>|access denied|unknown header|illegal vendor|!!!|invalid/i;

describe('configuration dumps', () => {
  it('are text of the form that lspci -xxxx writes: 4096 bytes a function, sixteen a line', () => {
    const text = dumpBytes(1, 0x83, 'title', new Uint8Array(4096).fill(0xab));
    const lines = text.split('\n');
    expect(lines[0]).toBe('01:10.3 title');
    expect(lines[1]).toBe(`00: ${Array(16).fill('ab').join(' ')}`);
    expect(lines[17]).toBe(`100: ${Array(16).fill('ab').join(' ')}`);
    expect(lines[256]).toMatch(/^ff0: /);
    expect(text.endsWith('\n\n')).toBe(true);
  });

  it.skipIf(!hasLspci && process.env.CI === undefined)(
    'decode without complaint: PF, VFs, root port, before and after use',
    () => {
      const machine = new TestMachine({ vfs: [{}, {}] });
      for (const used of [false, true]) {
        if (used) new GuestVf(machine, machine.vf(0), 0x10_0000).start();
        const text = decode(dumpTopology(machine.complex, vfIds));
        expect(text).not.toMatch(COMPLAINTS);
        expect(text).toContain('00:01.0 PCI bridge [0604]');
        expect(text).toContain('Express (v2) Root Port (Slot+)');
        expect(text).toContain('AttnBtn+ PwrCtrl+ MRL- AttnInd+ PwrInd+ HotPlug+ Surprise-');
        expect(text).toContain('Access Control Services');
        expect(text).toContain('Designated Vendor-Specific: Vendor=fe44 ID=0001');
        expect(text).toMatch(/01:00\.0 Ethernet controller .*\[8086:10fb\]/);
        expect(text).toContain('Single Root I/O Virtualization (SR-IOV)');
        expect(text).toContain('VF offset: 128, stride: 2, Device ID: 10ed');
        expect(text).toContain('Supported Page Size: 00000553, System Page Size: 00000001');
        expect(text).toMatch(/01:10\.0 Ethernet controller .*\[8086:10ed\]/);
        expect(text).toMatch(/01:10\.2 Ethernet controller .*\[8086:10ed\]/);
        expect(text).toContain(`Capabilities: [70] MSI-X: Enable${used ? '+' : '-'} Count=3 Masked-`);
        expect(text).toContain('Device Serial Number 00-1b-21-ff-ff-00-00-01');
      }
    },
  );

  it.skipIf(!hasLspci && process.env.CI === undefined)(
    "show latencies, clock and DSI as a real 82599's, and claim nothing that the model does not do",
    () => {
      const text = decode(dumpTopology(new TestMachine({ vfs: [{}] }).complex, vfIds));
      const [pf, vf, port] = ['01:00.0', '01:10.0', '00:01.0'].map((place) => partOf(text, place));
      for (const fn of [pf, vf]) {
        expect(fn).toMatch(/DevCap:.* Latency L0s <512ns, L1 <64us/);
        expect(fn).toMatch(/SlotClk\+/);
        expect(fn, 'no link power management').toMatch(/LnkCap:.* ASPM not supported/);
        expect(fn, 'no completion is waited for').toMatch(/DevCap2: Completion Timeout: Not Supported/);
        expect(fn, 'packets are not damaged').toMatch(/ECRCGenCap- .*ECRCChkCap- /);
        expect(fn, 'MSI and MSI-X only').not.toMatch(/Interrupt: pin|Vital Product/);
      }
      expect(pf).toMatch(/Flags: PMEClk- DSI\+ .*PME\(D0-,D1-,D2-,D3hot-,D3cold-\)/);
      expect(port, 'of the 82599 only').toMatch(/SlotClk-/);
      expect(port).toMatch(/Flags: PMEClk- DSI- /);
    },
  );

  it.skipIf(!hasLspci && process.env.CI === undefined)(
    'a damaged dump is noticed (the check can fail)',
    () => {
      const machine = new TestMachine();
      expect(decode(dumpTopology(machine.complex)), 'VFs without ids').toMatch(COMPLAINTS);
      const looped = dumpTopology(machine.complex, vfIds).replace(/^40: 01 50/m, '40: 01 40');
      expect(decode(looped)).toMatch(COMPLAINTS);
    },
  );
});
