/** A code variant as a vCPU runs it, and what is asked of it before it may. */
import { IRQ_ENABLED_REGISTER } from '../../base/abi/code-variant.js';
import type { CodeVariant, RegisterInfo } from '../../base/abi/image.js';
import { vmmErrors } from '../errors.js';

/** Compiled once, posted to every vCPU. */
export interface VcpuCode {
  readonly variant: CodeVariant;
  readonly module: WebAssembly.Module;
  readonly registers: readonly RegisterInfo[];
}

/** The module name of all imports. */
export const IMPORT_MODULE = 'ferry';

const IMPORTS: Readonly<Record<string, WebAssembly.ImportDescriptor['kind']>> = {
  memory: 'memory',
  mmio_read: 'function',
  mmio_write: 'function',
  clock_ns: 'function',
  timer_program: 'function',
  exit: 'function',
  post_fault: 'function',
  kick: 'global',
  window: 'global',
  dirty_map: 'global',
  present_map: 'global',
  cpu: 'global',
};

const ASYNCIFY_EXPORTS = [
  'asyncify_start_unwind',
  'asyncify_stop_unwind',
  'asyncify_start_rewind',
  'asyncify_stop_rewind',
  'asyncify_get_state',
];

/**
 * Throws `vmm/image-refused` unless `code` imports only what a vCPU supplies and exports what it needs. Guest code
 * comes from a file or a peer; that it is valid WebAssembly says nothing of its interface.
 */
export function checkCode(name: string, code: VcpuCode, smp: boolean): void {
  const refuse = (problem: string): never => {
    const why = `its ${code.variant} code ${problem}`;
    throw vmmErrors.error('image-refused', { name, why });
  };
  for (const { module, name: what, kind } of WebAssembly.Module.imports(code.module)) {
    if (module !== IMPORT_MODULE || IMPORTS[what] !== kind) {
      refuse(`imports ${kind} ${module}.${what}, which the machine does not have`);
    }
  }
  const exported = new Map(WebAssembly.Module.exports(code.module).map((e) => [e.name, e.kind]));
  const needs = (what: string, kind: string): void => {
    if (exported.get(what) !== kind) refuse(`does not export ${kind} ${what}`);
  };
  for (const what of [...ASYNCIFY_EXPORTS, 'start_kernel', 'irq_entry']) needs(what, 'function');
  if (smp) needs('secondary_start', 'function');
  for (const register of code.registers) needs(register.name, 'global');
  if (!code.registers.some((r) => r.name === IRQ_ENABLED_REGISTER && r.type === 'i32')) {
    refuse(`has no i32 register ${IRQ_ENABLED_REGISTER}`);
  }
}
