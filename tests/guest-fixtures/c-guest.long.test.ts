/** What `ferry guest init` writes is a guest: it is built as its Makefile says, boots, moves under traffic, and survives its device. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { BOOT_PARAMS_MAGIC, bootParams } from '../../base/abi/boot-params.js';
import { FIRST_EXTERNAL_VECTOR, TIMER_VECTOR } from '../../base/abi/platform.js';
import { POWER_OFF, POWER_PANIC, POWER_RESET } from '../../devices/power/registers.js';
import {
  echoingAlone,
  moveUnderTraffic,
  type TrafficResult,
  type TrafficScene,
} from '../vmm/passthrough-world.js';
import { until } from '../waiting.js';

const FERRY = fileURLToPath(new URL('../../dist/bin/ferry.js', import.meta.url));
const TOOLS = ['clang', 'wasm-ld', 'make'];
const missing = TOOLS.filter((tool) => spawnSync(tool, ['--version']).error !== undefined);
const TIMEOUT_MS = 300_000;
/** A fatal error costs 102 ms, and what comes meanwhile is lost. */
const RATE = 2000;
const RECOVERY_MS = 110;
/** Echoes in a tenth of a second at the rate of the flow that is looked at: more than were under way. */
const FLOWS = 50;

const folder = mkdtempSync(join(tmpdir(), 'ferry-c-'));
afterAll(() => rmSync(folder, { recursive: true }));
const project = join(folder, 'my-guest');
const make = (...words: string[]) =>
  spawnSync('make', [`FERRY=${process.execPath} ${FERRY}`, ...words], { cwd: project, encoding: 'utf8' });

/** Fields of the boot parameters as C names them. */
const inC = (field: string): string =>
  ({ commandLineGpa: 'command_line', imageGpa: 'image' })[field] ??
  field.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

describe.skipIf(missing.length > 0 && process.env.CI === undefined)(
  `a guest in C${missing.length > 0 ? `: no ${missing.join(', ')}` : ''}`,
  () => {
    let image: Buffer;
    beforeAll(() => {
      execFileSync(process.execPath, [FERRY, 'guest', 'init', project]);
      const built = make();
      expect(built.status, built.stdout + built.stderr).toBe(0);
      image = readFileSync(join(project, 'guest.img'));
    }, TIMEOUT_MS);

    const move = (parameters: Record<string, string>, more: TrafficScene = {}): Promise<TrafficResult> =>
      moveUnderTraffic({ image, rate: RATE, afterwardsMs: 250, parameters, ...more });
    const said = ({ console }: TrafficResult, words: RegExp): number =>
      console.filter((line) => words.test(line)).length;

    it('has the machine as it is declared', () => {
      const asserted = [
        ...Object.entries(bootParams.offset).map(([name, at]) => [
          `offsetof(struct boot_params, ${inC(name)})`,
          at,
        ]),
        ['BOOT_PARAMS_MAGIC', BOOT_PARAMS_MAGIC],
        ['TIMER_VECTOR', TIMER_VECTOR],
        ['FIRST_EXTERNAL_VECTOR', FIRST_EXTERNAL_VECTOR],
        ['POWER_OFF', POWER_OFF],
        ['POWER_RESET', POWER_RESET],
        ['POWER_PANIC', POWER_PANIC],
      ];
      const compile = (more = '') => {
        const checks = asserted.map(([what, value]) => `_Static_assert(${what} == ${value}u, "${what}");`);
        writeFileSync(join(project, 'check.c'), `#include "ferry.h"\n${checks.join('\n')}\n${more}\n`);
        const words = ['--target=wasm32', '-ffreestanding', '-fsyntax-only', 'check.c'];
        return spawnSync('clang', words, { cwd: project, encoding: 'utf8' });
      };
      expect(compile().stderr).toBe('');
      expect(compile('_Static_assert(TIMER_VECTOR == 1, "control");').stderr).toContain('control');
    });

    it('runs in a process of its own, on what memory there is, and knows that it has no network', () => {
      const words = [
        'vmm',
        '--guest',
        join(project, 'guest.img'),
        '--memory',
        '8MiB',
        '--append',
        'status_ms=50 lines=3',
      ];
      const { status, stdout } = spawnSync(process.execPath, [FERRY, ...words], { encoding: 'utf8' });
      expect(status).toBe(0);
      expect(stdout).toMatch(
        /guest: hello from C, on vf-ferry\n.*guest: no network\n(.*guest: 0 received, 0 echoed.*\n){3}$/,
      );
    });

    it(
      'is moved from process to process by `ferry migrate`, its device cut off on the way, to VERIFIED',
      () => {
        const how = ['--nic', 'vf', '--stop', 'surprise', '--start', 'error-recovery', '--settle', '300ms'];
        const words = [
          'migrate',
          '--guest',
          join(project, 'guest.img'),
          '--memory',
          '64MiB',
          '--json',
          ...how,
        ];
        const { status, stdout, stderr } = spawnSync(process.execPath, [FERRY, ...words], {
          encoding: 'utf8',
        });
        expect([status, stderr]).toEqual([0, '']);
        expect(JSON.parse(stdout)).toMatchObject({
          verdict: { outcome: 'verified' },
          record: { approaches: { stop: 'surprise', start: 'error-recovery' } },
        });
      },
      TIMEOUT_MS,
    );

    it(
      'answers what is sent to it all the while that `ferry migrate --flow echo` moves it, and no packet is unaccounted for',
      () => {
        const words = ['--memory', '64MiB', '--nic', 'vf', '--flow', 'echo', '--rate', '1000', '--json'];
        const { status, stdout, stderr } = spawnSync(
          process.execPath,
          [FERRY, 'migrate', '--guest', join(project, 'guest.img'), ...words],
          { encoding: 'utf8' },
        );
        expect([status, stderr]).toEqual([0, '']);
        const { verdict, network } = JSON.parse(stdout) as {
          verdict: { outcome: string; checks: { name: string; outcome: string }[] };
          network: { after: { flows: { arrived: { received: number } }[] } };
        };
        expect(verdict.outcome).toBe('verified');
        const checked = verdict.checks.map(({ name }) => name);
        expect(checked).toContain('every lost packet is accounted for');
        // It says in words of its own what it counts.
        expect(checked).not.toContain("the guest's own counters agree");
        expect(network.after.flows[0]!.arrived.received).toBeGreaterThan(100);
      },
      TIMEOUT_MS,
    );

    it(
      'that answers nobody is told apart from one that does: nothing is moved',
      () => {
        const words = ['--memory', '64MiB', '--nic', 'vf', '--flow', 'echo', '--json'];
        const source = join(project, 'guest.c');
        const written = readFileSync(source, 'utf8');
        const deaf = join(folder, 'deaf.img');
        try {
          writeFileSync(source, written.replace('#define PORT_ECHO 7', '#define PORT_ECHO 9'));
          expect(make().status).toBe(0);
          writeFileSync(deaf, readFileSync(join(project, 'guest.img')));
        } finally {
          writeFileSync(source, written);
          make();
        }
        const { status, stderr } = spawnSync(
          process.execPath,
          [FERRY, 'migrate', '--guest', deaf, ...words],
          {
            encoding: 'utf8',
          },
        );
        expect(status).not.toBe(0);
        expect(stderr).toContain('UDP port 7 at 10.0.0.2');
      },
      TIMEOUT_MS,
    );

    it(
      'moves byte for byte with the state of its device, with no packet lost but what came while it stood, and hears its power button',
      async () => {
        const ended: string[] = [];
        const after: TrafficScene['after'] = async (machine) => {
          const off = new Promise<void>((resolve) => {
            machine.on(({ kind }) => {
              ended.push(kind);
              if (kind === 'power-off') resolve();
            });
          });
          expect(await machine.pressPowerButton()).toBe(true);
          await off;
        };
        const result = await move({}, { after });
        expect(ended).toContain('power-off');
        expect(said(result, /guest: the power button was pressed/)).toBe(1);
        expect(result.source.verification).toMatchObject({ established: true, differences: [] });
        expect(result.source.approaches).toMatchObject({ stop: 'device-state', start: 'device-state' });
        expect(result.flow.arrived).toMatchObject({ corrupt: 0, duplicated: 0, reordered: 0 });
        expect(result.flow.arrived!.lost).toBeLessThan(5);
        expect(said(result, /vf: /)).toBe(2);
        expect(said(result, /, 0 errors$/)).toBe(said(result, / errors$/));
      },
      TIMEOUT_MS,
    );

    it.each([
      ['error-recovery', 'fatal', RECOVERY_MS],
      ['error-recovery-nonfatal', 'non-fatal', 5],
    ])(
      'has its device cut off, and sets up the new one when it hears of it: %s',
      async (start, kind, lostMs) => {
        const result = await move({ stop: 'surprise', start });
        expect(result.source.verification).toMatchObject({ established: true, differences: [] });
        expect(result.source.error ?? result.destination.error).toBeUndefined();
        expect(said(result, new RegExp(`vf: the port reports a ${kind} error`))).toBe(1);
        expect(said(result, /vf: the device works again/)).toBe(1);
        const { received, lost, corrupt, duplicated } = result.flow.arrived!;
        expect({ corrupt, duplicated }).toEqual({ corrupt: 0, duplicated: 0 });
        expect(lost).toBeLessThan((lostMs * RATE) / 1000);
        expect(received).toBeGreaterThan(lost);
      },
      TIMEOUT_MS,
    );

    it(
      'goes on after each error of its device, and when a link that was taken away comes back',
      () =>
        echoingAlone(
          async ({ machine, network, console }) => {
            const echoes = (): number => network.peer.report()[0]!.arrived!.received;
            const flows = async (): Promise<void> => {
              const before = echoes();
              await until('the guest echoes on', () => echoes() >= before + FLOWS);
            };
            const count = (words: RegExp): number => console.filter((line) => words.test(line)).length;
            await flows();
            for (let i = 1; i <= 6; i++) {
              expect(await machine.injectError('vf0', i % 3 === 0 ? 'MALF_TLP' : 'COMP_TIME')).toMatchObject({
                reported: true,
              });
              await until(
                `its driver says for the ${i}th time that it works again`,
                () => count(/works again/) >= i,
              );
              await flows();
              expect(count(/works again/)).toBe(i);
            }
            await machine.injectError('vf0', 'BAD_TLP');
            await flows();
            expect(count(/works again/)).toBe(6);
            await machine.network!.setLink('vf0', false);
            await until('its driver hears that the link is down', () => count(/link is down/) > 0);
            expect(count(/link is down/)).toBe(1);
            await machine.network!.setLink('vf0', true);
            await flows();
            expect(count(/link is up/)).toBe(2);
            // Nothing was lost on the way to a ring: it has as many buffers as before.
            expect((await machine.nicReports())[0]!.drops).toMatchObject({ noDescriptor: 0, malformed: 0 });
          },
          undefined,
          { rate: 500, image },
        ),
      TIMEOUT_MS,
    );
  },
);

describe('a folder with something in it', () => {
  it('gets no guest', () => {
    writeFileSync(join(folder, 'mine.txt'), 'x');
    const { status, stderr } = spawnSync(process.execPath, [FERRY, 'guest', 'init', folder], {
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([2, expect.stringContaining('there is something in')]);
  });
});
