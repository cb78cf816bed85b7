/** `ferry faults`: migrations of real processes that are cut, stalled, killed and stopped, and what must hold all the same. */
import { type Command, Option } from 'commander';
import { EXIT_STATUS } from '../../base/exit-status.js';
import type { FaultRun } from '../faults/outcome.js';
import { runLine, runsText, scenariosText } from '../faults/report.js';
import { runScenario } from '../faults/run.js';
import { SCENARIOS } from '../faults/scenarios.js';
import { WholeFile } from '../move/whole-file.js';
import { exitStatuses } from '../options/exit-statuses.js';
import { optionValue } from '../options/option-value.js';
import { BadValue, parseWhole } from '../options/quantities.js';

const NAME = 'ferry faults';
const ALL = 'all';
const RUNS_MAX = 1000;

interface Flags {
  readonly scenario: string;
  readonly runs?: number;
  readonly report?: string;
  readonly list?: boolean;
  readonly json?: boolean;
}

export function define(command: Command): void {
  command
    .addOption(
      new Option('--scenario <name>', 'the one to run, by its name in --list').default(ALL).argParser(
        optionValue(NAME, '--scenario', (name) => {
          if (name === ALL || SCENARIOS.some((scenario) => scenario.name === name)) return name;
          throw new BadValue(`there is no scenario '${name.slice(0, 40)}'; ${NAME} --list shows all`);
        }),
      ),
    )
    .option(
      '--runs <n>',
      `times that each is run, 1 to ${RUNS_MAX} (default: 1)`,
      optionValue(NAME, '--runs', (text) => parseWhole(text, { min: 1, max: RUNS_MAX })),
    )
    .option('--report <file>', 'write it as one HTML file that needs nothing else')
    .option('--list', 'print the scenarios, and run none')
    .allowExcessArguments(false)
    .addHelpText(
      'after',
      `
Each run starts two VMMs and a network, moves a guest that answers packets through a proxy between them, and does one thing to it: to
the link (delays, stalls, cuts, damage, strangers), to a process (SIGKILL, SIGSTOP), or to the host (no room, busy cores).
What must hold: at most one side runs the guest at any time, and in the end the one that must; each side names the cause; no packet
comes twice, late or damaged; the guest works where it is then; it ends in time; no process, socket or file is left.

Examples:
  ferry faults --list
  ferry faults --scenario cut-before-commit
  ferry faults --scenario kill-destination-commit --runs 10
  ferry faults --report faults.html
  ferry faults --json                                all, a few seconds each

${exitStatuses('everything held in each run', ['not-verified', 'failed', 'environment'])}`,
    )
    .action(() => faults(command.optsWithGlobals<Flags>()));
}

async function faults({ scenario: wanted, runs = 1, report, list, json }: Flags): Promise<void> {
  const scenarios = SCENARIOS.filter(({ name }) => wanted === ALL || name === wanted);
  if (list) {
    const data = scenarios.map(({ name, text, guest }) => ({ name, text, guest }));
    process.stdout.write(json ? `${JSON.stringify(data, null, 2)}\n` : scenariosText(scenarios));
    return;
  }
  const file = report === undefined ? undefined : new WholeFile(report, 'report');
  const results: FaultRun[] = [];
  for (const scenario of scenarios) {
    for (let run = 0; run < runs; run++) {
      const result = await runScenario(scenario);
      results.push(result);
      if (!json || process.stderr.isTTY) process.stderr.write(`${runLine(result)}\n`);
    }
  }
  if (results.some(({ findings }) => findings.length > 0)) process.exitCode = EXIT_STATUS['not-verified'];
  const { columns } = process.stdout;
  process.stdout.write(json ? `${JSON.stringify(results, null, 2)}\n` : runsText(results, columns));
  if (file === undefined) return;
  const { faultsHtml } = await import('../faults/page.js');
  const cut = file.write(faultsHtml(scenarios, results));
  file.close();
  if (cut !== undefined && process.exitCode === undefined) throw cut;
}
