/**
 * A comparison in earnest, small as it is, and its report looked at in a real browser, of two widths and in both schemes. Needs
 * the built tree; the looking is left out where there is no Chromium, but for CI.
 */
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import puppeteer, { type Browser } from 'puppeteer-core';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { MIB } from '../../base/units.js';
import { compare } from '../../dist/lab/compare/compare.js';
import type { CompareEntry, Comparison } from '../../lab/compare/figures.js';
import { plugSteps } from '../../lab/compare/plug-steps.js';
import { reportHtml } from '../../lab/compare/report/report.js';
import { commandLine } from '../../lab/ferry.js';
import { PLUGGED } from './sample-plug.js';

const TIMEOUT_MS = 90_000;
const folder = mkdtempSync(join(tmpdir(), 'ferry-report-'));
const chromium = (process.env.PATH ?? '')
  .split(delimiter)
  .flatMap((path) => ['chromium', 'chromium-browser', 'google-chrome'].map((name) => join(path, name)))
  .find((path) => existsSync(path));

/** Longer than a narrow page is wide, and more than words. */
const HOSTILE = `it is ${'not '.repeat(60)}possible <script>throw new Error("ran")</script>${'x'.repeat(200)}`;

let measured: Comparison;
let comparison: Comparison;
beforeAll(async () => {
  measured = await compare({
    axis: 'tracking',
    runs: 1,
    approaches: { tracking: ['iommu-dirty', 'pinned'] },
    memoryBytes: 64 * MIB,
    settleMs: 300,
    rate: 2000,
  });
  const [first] = measured.entries as [CompareEntry];
  const failed: CompareEntry = {
    ...first,
    name: 'failing',
    outcome: 'failed',
    reason: HOSTILE,
    detail: undefined,
  };
  const impossible: CompareEntry = { ...failed, name: 'impossible', outcome: 'impossible', runs: [] };
  // As one whose device was unplugged and came again; the page is looked at with that, too.
  const plugged: CompareEntry = { ...first, detail: { ...first.detail!, plug: plugSteps(PLUGGED) } };
  comparison = { ...measured, entries: [plugged, ...measured.entries.slice(1), failed, impossible] };
}, TIMEOUT_MS);
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('a comparison of moves between processes', () => {
  it('has every figure of each approach, and each in detail', () => {
    expect(measured.entries.map(({ name, outcome, reason }) => [name, outcome, reason])).toEqual([
      ['iommu-dirty', 'verified', undefined],
      ['pinned', 'verified', undefined],
    ]);
    for (const { figures, detail, approaches, name } of measured.entries) {
      expect(approaches).toMatchObject({ tracking: name });
      // Nothing is asked of a guest whose device's state travels.
      const { requestNs, ...measured } = figures;
      expect(requestNs).toBeUndefined();
      for (const [figure, spread] of Object.entries(measured)) {
        // Elsewhere than on Linux nobody tells the threads' CPU times.
        if (process.platform === 'linux' || !figure.endsWith('CpuNs')) expect(spread, figure).toBeDefined();
      }
      const { blackout, network, rounds, timeline } = detail!;
      expect(blackout!.totalNs).toBe(figures.blackoutNs!.median);
      expect(rounds.at(-1)!.last).toBe(true);
      expect(timeline.some(({ what }) => what === 'quiescing')).toBe(true);
      const [flow] = network!.flows;
      const came = flow!.arrivals!.counts.reduce((sum, count) => sum + count, 0);
      // The first and the last millisecond are whole, the phase's ends lie within.
      expect(came).toBeGreaterThanOrEqual(flow!.arrived!.received);
    }
  });
});

describe('a report that can not be written', () => {
  it('is refused before anything is moved', async () => {
    const args = ['compare', '--report', join(folder, 'nowhere', 'report.html')];
    const refused = (await commandLine(args)).parseAsync(args, { from: 'user' });
    await expect(refused).rejects.toMatchObject({ code: 'lab/file-failed', exit: 'environment' });
  });
});

describe('the report', () => {
  it('is one file that asks for nothing else', () => {
    const page = reportHtml(comparison);
    expect(page).not.toMatch(/<(script|link|img|iframe|object)\b/);
    // Names of XML are no addresses that anybody goes to.
    expect(page.replaceAll(/xmlns(:\w+)?="[^"]*"/g, '')).not.toMatch(/https?:/);
    expect(page).not.toMatch(/\bNaN\b|undefined/);
    expect(page).toMatch(/Where the time of tracking iommu-dirty goes in the guest/);
    expect(page).toMatch(/<th scope="row">wait for the link<\/th><td>6\.01 s<\/td><td>130 ms<\/td>/);
  });
});

/** What is wrong with a page as a browser shows it. */
interface Findings {
  /** Errors of scripts, and what was asked of the network. */
  readonly errors: readonly string[];
  /** Elements that reach beyond the page, though nothing around them scrolls. */
  readonly over: readonly string[];
  /** Approaches that have a row in the table, and how many pictures each shows in its section. */
  readonly rows: readonly string[];
  readonly pictures: Readonly<Record<string, number>>;
  readonly withoutWords: number;
  readonly background: string;
}

describe.skipIf(chromium === undefined && process.env.CI === undefined)('the report in a browser', () => {
  let browser: Browser;
  beforeAll(async () => {
    expect(chromium, 'Chromium').toBeDefined();
    browser = await puppeteer.launch({ executablePath: chromium!, args: ['--no-sandbox'] });
  }, TIMEOUT_MS);
  afterAll(() => browser?.close());

  async function look(html: string, width: number, scheme: 'light' | 'dark'): Promise<Findings> {
    const file = join(folder, 'report.html');
    writeFileSync(file, html);
    const url = pathToFileURL(file).href;
    const errors: string[] = [];
    const page = await browser.newPage();
    try {
      page.on('pageerror', (error) => errors.push(String(error)));
      page.on('console', (message) => errors.push(message.text()));
      page.on('request', (request) => {
        if (request.url() !== url) errors.push(`asks for ${request.url().slice(0, 80)}`);
      });
      await page.setViewport({ width, height: 800 });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
      await page.goto(url, { waitUntil: 'load' });
      // It runs in the page, where these names are the browser's.
      const seen = (await page.evaluate(`(() => {
        const shown = (element) => element.getClientRects().length > 0;
        const scrolls = (element) => element.closest('.table:not(.cards)') !== null;
        const over = [...document.body.querySelectorAll('*')]
          .filter((element) => shown(element) && !scrolls(element))
          .filter((element) => {
            const { left, right } = element.getBoundingClientRect();
            return left < -1 || right > innerWidth + 1;
          })
          .map((element) => element.tagName + ' ' + element.textContent.slice(0, 40));
        const pictures = {};
        for (const section of document.querySelectorAll('section')) {
          pictures[section.id] = [...section.querySelectorAll('svg')].filter(shown).length;
        }
        return {
          over,
          pictures,
          rows: [...document.querySelectorAll('.cards th[scope=row]')].map((cell) => cell.textContent),
          withoutWords: [...document.querySelectorAll('svg')].filter((svg) => !svg.getAttribute('aria-label')).length,
          background: getComputedStyle(document.body).backgroundColor,
        };
      })()`)) as Omit<Findings, 'errors'>;
      return { ...seen, errors };
    } finally {
      await page.close();
    }
  }

  it.each([
    [390, 'light'],
    [390, 'dark'],
    [1280, 'light'],
    [1280, 'dark'],
  ] as const)(
    'has a row and pictures for each approach, nothing reaches beyond the page, no script runs (%i pixels, %s)',
    async (width, scheme) => {
      const { errors, over, rows, pictures, withoutWords } = await look(
        reportHtml(comparison),
        width,
        scheme,
      );
      expect(errors).toEqual([]);
      expect(over).toEqual([]);
      expect(rows).toEqual(['tracking iommu-dirty', 'tracking pinned', 'tracking failing']);
      expect(Object.keys(pictures)).toEqual(['tracking-iommu-dirty', 'tracking-pinned', 'tracking-failing']);
      for (const { name, detail } of measured.entries) {
        // Two of when, two of packets, one of pages.
        expect(detail!.rounds.length, name).toBeGreaterThan(1);
        expect(pictures[`tracking-${name}`]).toBe(5);
      }
      expect(withoutWords).toBe(0);
    },
    TIMEOUT_MS,
  );

  it('looks as the scheme asks', async () => {
    const [light, dark] = [
      await look(reportHtml(comparison), 390, 'light'),
      await look(reportHtml(comparison), 390, 'dark'),
    ];
    expect(light.background).toBe('rgb(255, 255, 255)');
    expect(dark.background).toBe('rgb(13, 17, 23)');
  });

  it('is found out when something reaches too far, runs, or is fetched', async () => {
    const more =
      '<p style="width:500px">wide</p><script>throw new Error("ran")</script><img src="file:///nope.png">';
    const spoilt = reportHtml(comparison).replace('</main>', `${more}</main>`);
    const { errors, over } = await look(spoilt, 390, 'light');
    expect(over).toContainEqual('P wide');
    expect(errors.join('\n')).toMatch(/Error: ran/);
    expect(errors.join('\n')).toMatch(/asks for file:\/\/\/nope\.png/);
  });
});
