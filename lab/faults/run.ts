/**
 * Runs one scenario on real processes: two VMMs with a guest that answers on the network, a fault proxy between them, and an operator;
 * watches until both sides have come to an end, does what a person would do, and has all of it judged.
 */
import type { Cancel } from '../../base/clock.js';
import { FerryError } from '../../base/errors.js';
import type { FlowReport } from '../../devices/ethernet/flow.js';
import type { MigrationRecord } from '../../migration/record.js';
import type { MigrationInfo } from '../../vmm/monitor/control.js';
import { UNDER_WAY } from '../../vmm/monitor/protocol.js';
import { afterMs } from '../../vmm/timers.js';
import type { Happened, Side, SideEnd, Whereabouts } from '../checkers/happened.js';
import { complaintIn } from '../move/verdict.js';
import { ONE_NAME } from '../tls/sample-credentials.js';
import { findingsOf, otherAnswer } from './judge.js';
import { FaultProxy } from './link/proxy.js';
import type { LinkRule } from './link/rule.js';
import { SealedProxy } from './link/sealed-proxy.js';
import type { FaultRun } from './outcome.js';
import { answerOf, flow, Parties, RATE, SIDES } from './parties.js';
import {
  type FaultScenario,
  isLinkStrike,
  isMoment,
  type Moment,
  type ProcessFault,
  type Strike,
} from './scenario.js';

/** As a VMM has them if nobody says otherwise, so that a busy host is no fault; but the other side is looked for more often. */
const PATIENCE = {
  'keepalive-interval': 250,
  'peer-timeout': 10_000,
  'answer-timeout': 30_000,
  'request-timeout': 10_000,
  'device-start-timeout': 30_000,
  'inquiry-timeout': 10_000,
} as const;
const POLL_MS = 10;
/** Longest wait for what has to come; whether it does is for the judge. */
const COMES_MS = 30_000;
const LAST_PACKETS = 8;

/** What came of a scenario, before anybody judges it. */
export interface Watched {
  readonly run: Omit<FaultRun, 'findings'>;
  readonly happened: Happened;
  readonly unstruck: readonly Pick<Strike, 'at'>[];
  /** What an operator asked for and got another answer than was to come. */
  readonly otherAnswers: readonly string[];
}

/** Rejects if no migration came about: a process that could not be started, an address that is taken. */
export async function runScenario(scenario: FaultScenario): Promise<FaultRun> {
  const { run, happened, unstruck, otherAnswers } = await watchScenario(scenario);
  return { ...run, findings: [...findingsOf(scenario, happened, run, unstruck), ...otherAnswers] };
}

/** The same without a judgement. */
export async function watchScenario(scenario: FaultScenario): Promise<Watched> {
  const parties = await Parties.open(scenario);
  const run = new Run(scenario, parties);
  try {
    return await run.live();
  } finally {
    run.end();
    await parties.close();
  }
}

/** Parameters of both sides, by their names at the monitor, where they are not the defaults. */
export const parametersInForce = ({
  patience,
  tls,
  parameters,
}: FaultScenario): Readonly<Record<string, string | number | boolean>> => ({
  ...PATIENCE,
  ...patience,
  ...(tls && { 'tls-hostname': ONE_NAME }),
  ...parameters,
});

class Run {
  #proxy: FaultProxy | SealedProxy | undefined;
  /** Of what is still to happen to a process that may be gone by then. */
  readonly #endings: Cancel[] = [];
  /** Of strikes that wait for their moment. */
  readonly #moments: Cancel[] = [];
  readonly #scenario: FaultScenario;
  readonly #parties: Parties;
  readonly #defects: string[] = [];
  readonly #otherAnswers: string[] = [];
  /** What the operators asked for, until it is answered. */
  readonly #calls: Promise<void>[] = [];
  /** Strikes at a moment that did not come so far. */
  readonly #awaited = new Set<Pick<Strike, 'at'>>();
  /** Between what the source left and what the destination took over, as far as it was compared. */
  #differences: readonly string[] | undefined;

  constructor(scenario: FaultScenario, parties: Parties) {
    this.#scenario = scenario;
    this.#parties = parties;
  }

  async live(): Promise<Watched> {
    const { vmms, operator } = this.#parties;
    const rules = this.#scenario.strikes.flatMap((strike): readonly LinkRule[] => {
      if (isLinkStrike(strike)) return [strike];
      const { at, does } = strike;
      return isMoment(at) ? [] : [{ at, does: { kind: 'act', act: () => this.#strike(does) } }];
    });
    const target = await vmms.destination.incomingAddress();
    this.#proxy = this.#scenario.tls
      ? await SealedProxy.open(target, rules, () => this.#isPrepared())
      : await FaultProxy.open(target, rules);
    const inForce = parametersInForce(this.#scenario);
    for (const side of SIDES) await vmms[side].execute('migrate-set-parameters', inForce);
    // All of them one after the other, and once more for what is taken back.
    const timeouts = Object.keys(PATIENCE).map((name) => Number(inForce[name]));
    const mayTakeMs = 2 * timeouts.reduce((sum, ms) => sum + ms, 0);
    await this.#awaitMoments();
    const from = performance.now();
    await operator.execute('migrate', { uri: this.#proxy.address });
    await until(mayTakeMs, async () =>
      (await Promise.all(SIDES.map((side) => this.#isOver(side)))).every((over) => over),
    );
    const tookMs = performance.now() - from;
    const [source, destination] = [await this.#endOf('source'), await this.#endOf('destination')];
    for (const cancel of this.#moments.splice(0)) cancel();
    await Promise.all(this.#calls);
    const guest = await this.#whereabouts();
    if (guest === 'undecided') await this.#decide();
    const { guestFindings, ...traffic } = await this.#askGuest();
    // Connections to the proxy are none of the VMMs' any more.
    this.#proxy.close();
    const leftovers = await this.#socketsLeft();
    const resting = this.#parties.restingNeighbours;
    if (resting > 0) this.#defects.push(`${resting} neighbours took nothing of the cores`);
    const runs = this.#parties.runs;
    const { left, unwritten } = await this.#parties.close();
    const handOver = this.#differences;
    const happened: Happened = {
      runs,
      source,
      destination,
      faults: [{ name: this.#scenario.name, causes: this.#scenario.causes ?? /^$/ }],
      leftStopped: false,
      handOver,
      ...traffic,
      networkGone: this.#parties.isKilled('fabric'),
      packetRate: RATE,
      tookNs: tookMs * 1e6,
      mayTakeNs: mayTakeMs * 1e6,
      defects: this.#defects,
      guestFindings,
      leftovers: [...leftovers, ...left],
    };
    const run = {
      scenario: this.#scenario.name,
      guest,
      source,
      destination,
      unwritten: unwritten.map((error) => error.toJSON()),
      tookMs,
      gapMs: traffic.during?.arrived ? traffic.during.arrived.longestGapNs / 1e6 : undefined,
    };
    const unstruck = [...this.#proxy.unstruck, ...this.#awaited];
    return { run, happened, unstruck, otherAnswers: this.#otherAnswers };
  }

  /** Nothing more is inflicted; harmless when all is over. */
  end(): void {
    for (const cancel of [...this.#moments, ...this.#endings]) cancel();
    this.#proxy?.close();
  }

  /** From here on moments come: `migrate` is about to be asked for. */
  async #awaitMoments(): Promise<void> {
    for (const strike of this.#scenario.strikes) {
      if (isLinkStrike(strike) || !isMoment(strike.at)) continue;
      this.#awaited.add(strike);
      this.#moments.push(
        this.#when(strike.at, () => {
          this.#awaited.delete(strike);
          // What can't be done to a process that is gone is for the judge, who sees that it is.
          this.#calls.push(this.#strike(strike.does));
        }),
      );
    }
    const events = { capabilities: [{ capability: 'events', state: true }] };
    for (const side of SIDES) await this.#parties.vmms[side].execute('migrate-set-capabilities', events);
  }

  #when(moment: Moment, strike: () => void): Cancel {
    if ('afterMs' in moment) return afterMs(moment.afterMs, strike);
    const { event, side, nth, where } = moment;
    let came = 0;
    return this.#parties.vmms[side].client.onEvent(({ event: name, data }) => {
      if (name !== event || !Object.entries(where).every(([key, value]) => data[key] === value)) return;
      came++;
      if (came === nth) strike();
    });
  }

  async #strike(does: ProcessFault): Promise<void> {
    const parties = this.#parties;
    switch (does.kind) {
      case 'kill':
        return parties.kill(does.process);
      case 'suspend':
        parties.signal(does.process, 'SIGSTOP');
        this.#endings.push(afterMs(does.ms, () => parties.signal(does.process, 'SIGCONT')));
        return;
      case 'unreachable':
        return this.#proxy!.close();
      case 'client-gone':
        return parties.operator.close();
      case 'execute':
        this.#calls.push(this.#ask(does));
    }
  }

  /** Not waited for by what comes on the link: a monitor may answer only when that has passed. */
  async #ask({ side, command, arguments: args, refused }: ProcessFault & { kind: 'execute' }): Promise<void> {
    let reason: string | undefined;
    try {
      await this.#parties.vmms[side].execute(command, args);
    } catch (error) {
      if (!(error instanceof FerryError)) throw error;
      reason = error.message;
    }
    const other = otherAnswer(side, command, reason, refused);
    if (other !== undefined) this.#otherAnswers.push(other);
  }

  /** Whether the destination has promised to run the guest, and waits to be told so. */
  async #isPrepared(): Promise<boolean> {
    const record = await answerOf(this.#parties.vmms.destination.recordOfArrival());
    return record?.timeline.some(({ what, facts }) => what === 'state' && facts?.to === 'prepared') === true;
  }

  async #isOver(side: Side): Promise<boolean> {
    const info = (await answerOf(this.#parties.vmms[side].execute('query-migrate'))) as
      | MigrationInfo
      | undefined;
    return info === undefined || !UNDER_WAY.includes(info.status ?? 'none');
  }

  async #endOf(side: Side): Promise<SideEnd> {
    const vmm = this.#parties.vmms[side];
    const gone = this.#parties.isKilled(side);
    if (!gone && vmm.hasEnded) {
      const { error } = await vmm.exited;
      this.#defects.push(`the ${side}'s process has ended: ${error?.message ?? 'it did not say why'}`);
    }
    const record = side === 'source' ? await this.#recordAtSource() : await answerOf(vmm.recordOfArrival());
    return { status: record?.status, error: record?.error, gone };
  }

  async #recordAtSource(): Promise<MigrationRecord | undefined> {
    const record = await answerOf(this.#parties.vmms.source.record());
    if (record?.verification?.established === true) this.#differences = record.verification.differences;
    return record;
  }

  async #whereabouts(): Promise<Whereabouts> {
    const { vmms } = this.#parties;
    const states = await Promise.all(SIDES.map((side) => answerOf(vmms[side].runState())));
    const [here, there] = states.map((state) => state === 'running');
    if (here && there) return 'both';
    if (here) return 'source';
    if (there) return 'destination';
    return states[0] === 'finish-migrate' ? 'undecided' : 'nobody';
  }

  /** What a person does who knows that the guest never ran at the destination, and never will. */
  async #decide(): Promise<void> {
    const taken = this.#parties.runs.some(({ side, running }) => side === 'destination' && running);
    if (taken) return;
    await this.#parties.vmms.source.execute('x-ferry-reclaim');
  }

  /** Traffic so far, some more with the guest where it is now, and what it says there. */
  async #askGuest(): Promise<
    Pick<Happened, 'during' | 'later' | 'senderStallNs'> & { readonly guestFindings: readonly string[] }
  > {
    const { fabric, vmms } = this.#parties;
    const last = this.#parties.runs.at(-1);
    if (last?.running !== true) return { during: undefined, later: undefined, guestFindings: [] };
    const vmm = vmms[last.side];
    const guestFindings: string[] = [];
    const works = vmm.waitForConsole(/, clean$/, { after: vmm.console.length, timeoutMs: COMES_MS });
    await works.catch((error: unknown) => {
      if (!(error instanceof FerryError)) throw error;
      guestFindings.push(`the guest at the ${last.side} shows no work: ${error.message}`);
    });
    const networkGone = this.#parties.isKilled('fabric');
    const lines = SIDES.flatMap((side) => vmms[side].console.map(({ text }) => text));
    const complaint = complaintIn(lines, { linkDown: networkGone });
    if (complaint !== undefined) guestFindings.push(`the guest says: ${complaint}`);
    if (networkGone) return { during: undefined, later: undefined, guestFindings };
    const flows = async (): Promise<readonly FlowReport[]> => (await fabric.report()).peers[0]!.flows;
    const received = async (): Promise<number> => (await flows())[0]?.arrived?.received ?? 0;
    const before = await received();
    await until(COMES_MS, async () => (await received()) > before);
    await fabric.stopFlows();
    await until(COMES_MS, async () => (await flows())[0]?.outstanding === 0);
    const during = (await flows())[0];
    const senderStallNs = (await fabric.report()).longestStallNs;
    await fabric.startFlow(flow(LAST_PACKETS));
    await until(COMES_MS, async () => (await flows())[1]?.arrived?.received === LAST_PACKETS);
    return { during, later: (await flows())[1], senderStallNs, guestFindings };
  }

  async #socketsLeft(): Promise<readonly string[]> {
    const more = (): readonly string[] =>
      SIDES.flatMap((side) => {
        const count = this.#parties.socketsMore(side);
        return count > 0 ? [`${count} sockets of the ${side}`] : [];
      });
    await until(COMES_MS, async () => more().length === 0);
    return more();
  }
}

/** Resolves when `done` says so, or when that takes too long: whether it came is for the judge. */
async function until(patienceMs: number, done: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + patienceMs;
  while (!(await done()) && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}
