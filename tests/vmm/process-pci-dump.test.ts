/** `ferry vmm --pci-dump`: what a VMM process leaves behind of its PCI functions, for lspci. Needs the built tree. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { QmpClient } from '../../dist/lab/vmm-client/qmp-client.js';
import { FERRY, startFerry } from '../processes.js';

const KERNEL = fileURLToPath(new URL('../../dist/guests/kernel.img', import.meta.url));
const hasLspci = spawnSync('lspci', ['--version']).status === 0;
/** What lspci says when it can't make sense of a dump. */
const COMPLAINTS = /malformed|looped|<unreadable>|access denied|unknown header|illegal vendor|!!!|invalid/i;

let directory = '';
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'ferry-pci-'));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

/** Runs `ferry vmm` with a guest and these options, until the guest's driver works; resolves with the exit status. */
async function runVmm(...args: string[]): Promise<{ status: number | null; stderr: string }> {
  const monitor = `unix:${join(directory, 'monitor.sock')}`;
  const guest = ['--guest', KERNEL, '--memory', '64MiB', '--append', 'workload=idle status_ms=100'];
  const started = startFerry(['vmm', ...guest, '--monitor', monitor, ...args]);
  await started.out.find(/idle: up/);
  const client = await QmpClient.connect(monitor);
  await client.execute('quit').catch(() => undefined);
  return started.ended();
}

/** What `lspci -F` makes of a dump, its own complaints among it; domains are always shown. */
function decode(dump: string): string {
  const { stdout, stderr } = spawnSync('lspci', ['-F', dump, '-vvv', '-nn', '-D'], { encoding: 'utf8' });
  return stdout + stderr;
}

/** The part of a decoded dump that is about one function. */
function functionOf(text: string, place: string): string {
  const start = text.indexOf(`\n${place} `);
  expect(start, place).toBeGreaterThanOrEqual(0);
  const end = text.indexOf('\n\n', start);
  return text.slice(start, end < 0 ? undefined : end);
}

describe('ferry vmm --pci-dump', () => {
  it.skipIf(!hasLspci && process.env.CI === undefined)(
    'leaves what lspci decodes without complaint: the host with PF and VF, the guest with root port and its VF',
    async () => {
      const dump = join(directory, 'vf.txt');
      const { status } = await runVmm('--nic', 'vf', '--iommu-leaves', 'huge', '--pci-dump', dump);
      expect(status).toBe(0);
      const text = `\n${decode(dump)}`;
      expect(text).not.toMatch(COMPLAINTS);

      const pf = functionOf(text, '0000:01:00.0');
      expect(pf).toMatch(/Ethernet controller .*\[8086:10fb\]/);
      expect(pf).toContain('Single Root I/O Virtualization (SR-IOV)');
      expect(pf).toMatch(/IOVCtl:\s+Enable\+/);
      expect(pf).toMatch(/Number of VFs: 1,/);
      const vf = functionOf(text, '0000:01:10.0');
      expect(vf).toMatch(/Ethernet controller .*\[8086:10ed\]/);
      expect(vf).toContain('MSI-X: Enable+ Count=3 Masked-');
      expect(functionOf(text, '0000:00:01.0')).toContain('Express (v2) Root Port (Slot+)');

      const port = functionOf(text, '0001:00:01.0');
      expect(port).toContain('PCI bridge [0604]');
      expect(port).toContain('HotPlug+ Surprise+');
      expect(port).toMatch(/SltSta:.*PresDet\+/);
      // The guest's driver works: it has given the function its BARs, its interrupts, and mastering.
      const assigned = functionOf(text, '0001:01:00.0');
      expect(assigned).toMatch(/Ethernet controller .*\[8086:10ed\]/);
      expect(assigned).toMatch(/Control: .*Mem\+ BusMaster\+/);
      expect(assigned).toContain('Region 0: Memory at ');
      expect(assigned).toContain('MSI-X: Enable+ Count=3 Masked-');
      expect(assigned).toMatch(/FLReset\+/);
    },
  );

  it.skipIf(!hasLspci && process.env.CI === undefined)(
    'a dump whose capability list runs in a circle is noticed (the check can fail)',
    () => {
      const looped = join(directory, 'looped.txt');
      const dump = readFileSync(join(directory, 'vf.txt'), 'utf8');
      writeFileSync(looped, dump.replace(/^40: 01 50/m, '40: 01 40'));
      expect(readFileSync(looped, 'utf8')).not.toBe(dump);
      expect(decode(looped)).toMatch(COMPLAINTS);
    },
  );

  it('is refused in words without a NIC', () => {
    const { status, stderr } = spawnSync(
      process.execPath,
      [FERRY, 'vmm', '--guest', KERNEL, '--pci-dump', join(directory, 'none.txt')],
      { encoding: 'utf8' },
    );
    expect(status).toBe(2);
    expect(stderr).toMatch(/--pci-dump is of no use without --nic vf/);
  });
});
