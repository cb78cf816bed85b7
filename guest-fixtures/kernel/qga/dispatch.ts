// From the text of a request to the text of its reply.
import { INIT_LIST_HEAD, ListHead, list_add_tail } from '../lib/list';
import { bytes_equal } from '../lib/string';
import { kmalloc } from '../mm/slab';
import { Call, Command, call_fail, fail_as, is_one_of } from './command';
import { FRAME_STRAY, FRAME_TOO_LONG, Framing, REQUEST_MAX } from './framing';
import { json_is_named, json_members, json_next, json_skip, json_string } from './json';
import { REPLY_MAX, reply_bytes, reply_is_whole, reply_put } from './reply';

const commands = changetype<ListHead>(memory.data(16, 16));
/** Longest name of a command that is looked for. */
const COMMAND_MAX: u32 = 256;
const wanted = memory.data(256, 8);

/** Boot CPU, once, before who registers commands. */
export function qga_commands_init(): void {
  INIT_LIST_HEAD(commands);
}

/** Head of the list of all commands. */
// @ts-ignore: decorator
@inline export function qga_commands(): ListHead { return commands; }

/** Both literals; `parameters` with a blank before and after each: `' name prefix '`. Returns the command. */
export function qga_command_register(name: usize, parameters: usize, run: (call: Call) => void): Command {
  const command = changetype<Command>(kmalloc(offsetof<Command>()));
  command.name = name;
  command.parameters = parameters;
  command.run = run;
  list_add_tail(command, commands);
  return command;
}

/** The command that `wanted` names in so many bytes; null if there is none. */
function find_command(length: i32): Command | null {
  for (let entry = commands.next; entry != commands; entry = entry.next) {
    const command = changetype<Command>(entry);
    if (length >= 0 && bytes_equal(wanted, <u32>length, command.name)) return command;
  }
  return null;
}

/** Fails if one of the members of the object at `at` is none of `names`; `before` is the error's words up to the name. */
function has_only(call: Call, at: usize, names: usize, before: string): bool {
  const members = call.members;
  json_members(members, at, call.end);
  while (json_next(members)) {
    if (is_one_of(members, names)) continue;
    const end = json_skip(members.name, call.end);
    call_fail(call, before, members.name + 1, min<u32>(<u32>(end - members.name) - 2, 64), "' is unexpected");
    return false;
  }
  return true;
}

/** Runs what the request at `at`, an object, asks for. */
function execute(call: Call, at: usize): void {
  const members = call.members;
  let name: usize = 0;
  let given: usize = 0;
  json_members(members, at, call.end);
  while (json_next(members)) {
    if (json_is_named(members, 'execute')) name = members.value;
    else if (json_is_named(members, 'arguments')) given = members.value;
  }
  if (!has_only(call, at, changetype<usize>(' execute arguments id '), "QMP input member '")) return;
  if (name == 0) return call_fail(call, "QMP input lacks member 'execute'");
  if (load<u8>(name) != 0x22) return call_fail(call, "QMP input member 'execute' must be a string");
  if (given != 0 && load<u8>(given) != 0x7b) return call_fail(call, "QMP input member 'arguments' must be an object");
  const length = json_string(name, call.end, wanted, COMMAND_MAX);
  const command = find_command(length);
  if (command === null) {
    fail_as(call, 'CommandNotFound', 'The command ', wanted, <u32>max<i32>(length, 0), ' has not been found');
    return;
  }
  if (given != 0 && !has_only(call, given, command.parameters, "Parameter '")) return;
  call.arguments = given;
  reply_put(call.reply, '{"return": ');
  command.run(call);
  if (!reply_is_whole(call.reply)) call_fail(call, 'The reply is too long');
}

/** Echoes the request's `id`. */
function put_id(call: Call, at: usize): void {
  json_members(call.members, at, call.end);
  while (json_next(call.members)) {
    if (!json_is_named(call.members, 'id')) continue;
    const value = call.members.value;
    const length = <u32>(json_skip(value, call.end) - value);
    if (call.reply.length + length + 16 >= REPLY_MAX) return;
    reply_put(call.reply, ', "id": ');
    reply_bytes(call.reply, value, length);
    return;
  }
}

/**
 * Puts the reply to what `framing` has come to (FRAME_*, but for FRAME_NONE) together. Returns where it begins in the reply's
 * text; it ends with a newline.
 */
export function qga_respond(call: Call, framing: Framing, frame: u32): u32 {
  const at = framing.text;
  call.end = at + min<u32>(framing.length, REQUEST_MAX);
  call.arguments = 0;
  call.failed = 0;
  call.delimited = 0;
  // In front of it there is room for a delimiter.
  store<u8>(call.reply.text, 0xff);
  call.reply.length = 1;
  let whole = false;
  if (frame == FRAME_TOO_LONG) call_fail(call, 'JSON parse error, more than 4096 bytes');
  else if (frame == FRAME_STRAY) call_fail(call, 'JSON parse error, no value begins here');
  else if (json_skip(at, call.end) != call.end) call_fail(call, 'JSON parse error, malformed');
  else if (load<u8>(at) != 0x7b) call_fail(call, 'QMP input must be a JSON object');
  else {
    whole = true;
    execute(call, at);
  }
  if (whole) put_id(call, at);
  reply_put(call.reply, '}\n');
  return call.delimited != 0 && call.failed == 0 ? 0 : 1;
}
