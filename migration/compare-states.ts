/** Compares the machine state as saved at the source with the state read back from the loaded machine. */
import { hexBytes } from './frame.js';
import { firstDifference, sameBytes } from './integrity.js';
import type { MachineState, VcpuRecord } from './ports.js';

/** Names of the vCPU's registers in the image's order; a register without one is named by its number. */
export type RegisterNames = readonly string[];

/** Every difference, each naming the register, vector, timer, stack byte or device record that differs. */
export function compareStates(
  saved: MachineState,
  loaded: MachineState,
  registerNames: RegisterNames = [],
): string[] {
  const differences: string[] = [];
  if (saved.clockNs !== loaded.clockNs) {
    differences.push(`virtual clock: ${saved.clockNs} ns saved, ${loaded.clockNs} ns loaded`);
  }
  if (saved.vcpus.length !== loaded.vcpus.length) {
    differences.push(`vCPUs: ${saved.vcpus.length} saved, ${loaded.vcpus.length} loaded`);
  }
  if (saved.devices.length !== loaded.devices.length) {
    differences.push(`devices: ${saved.devices.length} saved, ${loaded.devices.length} loaded`);
  }
  saved.vcpus.forEach((vcpu, at) => {
    const other = loaded.vcpus[at];
    if (other !== undefined) differences.push(...compareVcpus(vcpu, other, registerNames));
  });
  saved.devices.forEach((device, at) => {
    const other = loaded.devices[at];
    if (other === undefined) return;
    if (device.name !== other.name || device.version !== other.version) {
      differences.push(
        `device ${at}: ${device.name} version ${device.version} saved, ${other.name} version ${other.version} loaded`,
      );
    } else if (!sameBytes(device.state, other.state)) {
      differences.push(
        `device ${device.name}: record differs from byte ${firstDifference(device.state, other.state)}`,
      );
    }
  });
  return differences;
}

function compareVcpus(saved: VcpuRecord, loaded: VcpuRecord, registerNames: RegisterNames): string[] {
  const who = `vCPU ${saved.index}`;
  const differences: string[] = [];
  if (saved.run !== loaded.run) differences.push(`${who}: ${saved.run} saved, ${loaded.run} loaded`);
  if (saved.timerDeadlineNs !== loaded.timerDeadlineNs) {
    differences.push(`${who} timer: ${saved.timerDeadlineNs} ns saved, ${loaded.timerDeadlineNs} ns loaded`);
  }
  if (saved.registers.length !== loaded.registers.length) {
    differences.push(
      `${who}: ${saved.registers.length / 8} registers saved, ${loaded.registers.length / 8} loaded`,
    );
  }
  // Of what is equal nothing is put into words.
  const equal = sameBytes(saved.registers, loaded.registers);
  const registers = equal ? 0 : Math.min(saved.registers.length, loaded.registers.length) / 8;
  for (let register = 0; register < registers; register++) {
    const [was, is] = [saved, loaded].map((vcpu) => registerInHex(vcpu.registers, register));
    if (was !== is) {
      differences.push(`${who} register ${registerNames[register] ?? register}: ${was} saved, ${is} loaded`);
    }
  }
  for (let vector = 0; vector < 256; vector++) {
    const mask = 1 << (vector & 7);
    const was = (saved.pir[vector >>> 3]! & mask) !== 0;
    const is = (loaded.pir[vector >>> 3]! & mask) !== 0;
    if (was !== is) differences.push(`${who} PIR: vector 0x${vector.toString(16)} ${was ? 'lost' : 'added'}`);
  }
  const at = firstDifference(saved.unwind, loaded.unwind);
  if (at !== -1) differences.push(`${who}: unwound stack differs from byte ${at}`);
  return differences;
}

/** Eight little-endian bytes as one hexadecimal number. */
function registerInHex(registers: Uint8Array, register: number): string {
  return `0x${hexBytes(registers.slice(8 * register, 8 * register + 8).reverse())}`;
}
