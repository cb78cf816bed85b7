// The commands that say how the agent and its guest are.
import { ktime_get_real } from '../kernel/time';
import { str } from '../lib/string';
import { machine_power_off, machine_restart } from '../drivers/power/power';
import { Call, Command, call_fail, call_has, call_return_integer, call_string, call_text_is } from './command';
import { qga_command_register, qga_commands } from './dispatch';
import { reply_put } from './reply';

function guest_ping(call: Call): void {
  reply_put(call.reply, '{}');
}

function guest_sync(call: Call): void {
  call_return_integer(call, 'id');
}

function guest_sync_delimited(call: Call): void {
  call.delimited = 1;
  call_return_integer(call, 'id');
}

function guest_get_time(call: Call): void {
  reply_put(call.reply, '%u', ktime_get_real());
}

function guest_info(call: Call): void {
  reply_put(call.reply, '{"version": "0.1.0", "supported_commands": [');
  for (let entry = qga_commands().next; entry != qga_commands(); entry = entry.next) {
    if (entry != qga_commands().next) reply_put(call.reply, ', ');
    const command = changetype<Command>(entry);
    const answers = command.is_silent != 0 ? str('false') : str('true');
    reply_put(call.reply, '{"enabled": true, "name": "%s", "success-response": %s}', command.name, answers);
  }
  reply_put(call.reply, ']}');
}

/** What is on its way to the host stays there. */
function guest_shutdown(call: Call): void {
  if (!call_has(call, 'mode')) return machine_power_off();
  if (!call_string(call, 'mode')) return;
  if (call_text_is(call, 'reboot')) return machine_restart();
  if (call_text_is(call, 'powerdown') || call_text_is(call, 'halt')) return machine_power_off();
  call_fail(call, "Parameter 'mode' does not accept value '", call.text, call.text_length, "'");
}

/** Boot CPU, once. */
export function qga_commands_register(): void {
  qga_command_register(str('guest-sync-delimited'), str(' id '), guest_sync_delimited);
  qga_command_register(str('guest-sync'), str(' id '), guest_sync);
  qga_command_register(str('guest-ping'), str(''), guest_ping);
  qga_command_register(str('guest-info'), str(''), guest_info);
  qga_command_register(str('guest-get-time'), str(''), guest_get_time);
  qga_command_register(str('guest-shutdown'), str(' mode '), guest_shutdown).is_silent = 1;
}
