/** Errors by the names that QEMU's `pcie_aer_inject_error` takes, and the fields of the status registers that they are. 7.8.4 */
import type { AerReporter } from './aer.js';
import type { ErrorSeverity } from './function.js';

type Uncorrectable = keyof AerReporter['errors'];
type Correctable = keyof AerReporter['correctableErrors'];

const UNCORRECTABLE: Readonly<Record<string, Uncorrectable>> = {
  DLP: 'DATA_LINK',
  SDN: 'SURPRISE_DOWN',
  POISON_TLP: 'POISONED',
  FCP: 'FLOW_CONTROL',
  COMP_TIME: 'COMPLETION_TIMEOUT',
  COMP_ABORT: 'COMPLETER_ABORT',
  UNX_COMP: 'UNEXPECTED_COMPLETION',
  RX_OVER: 'OVERFLOW',
  MALF_TLP: 'MALFORMED',
  ECRC: 'ECRC',
  UNSUP: 'UNSUPPORTED_REQUEST',
  ACSV: 'ACS_VIOLATION',
  INTN: 'INTERNAL',
};

const CORRECTABLE: Readonly<Record<string, Correctable>> = {
  RCVR: 'RECEIVER',
  BAD_TLP: 'BAD_TLP',
  BAD_DLLP: 'BAD_DLLP',
  REP_NUM_ROLL: 'REPLAY_ROLLOVER',
  RTO: 'REPLAY_TIMER',
  ADV_NONFATAL: 'ADVISORY',
  CINTN: 'INTERNAL',
  HL_OVERFLOW: 'LOG_OVERFLOW',
};

export const ERROR_NAMES: readonly string[] = [...Object.keys(UNCORRECTABLE), ...Object.keys(CORRECTABLE)];

export interface InjectedError {
  /** As the guest has set it for this error. */
  readonly severity: ErrorSeverity;
  /** A message went up; false if the guest has masked the error, or not enabled that it is reported. */
  readonly reported: boolean;
}

/** The function has the error of that name, one of ERROR_NAMES; undefined if there is none of that name. */
export function injectError(aer: AerReporter, name: string): InjectedError | undefined {
  const correctable = CORRECTABLE[name];
  if (correctable !== undefined) {
    return { severity: 'correctable', reported: aer.correctable(aer.correctableErrors[correctable]) };
  }
  const uncorrectable = UNCORRECTABLE[name];
  if (uncorrectable === undefined) return undefined;
  const error = aer.errors[uncorrectable];
  return { severity: aer.isFatal(error) ? 'fatal' : 'nonfatal', reported: aer.uncorrectable(error) };
}
