/** All fault scenarios, by name. */
import { LINK_SCENARIOS } from './link-scenarios.js';
import { PROCESS_SCENARIOS } from './process-scenarios.js';
import type { FaultScenario } from './scenario.js';

export const SCENARIOS: readonly FaultScenario[] = [...LINK_SCENARIOS, ...PROCESS_SCENARIOS];
