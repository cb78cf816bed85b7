// What commands have in common: how they are found, what they were given, and how they fail. Requests, replies and the words
// of errors are those of QEMU's guest agent, so that its clients need not know the difference.
import { ListHead } from '../lib/list';
import { bytes_equal, str_at, str_length } from '../lib/string';
import { kmalloc } from '../mm/slab';
import {
  JsonMembers,
  json_integer,
  json_is_integer,
  json_is_named,
  json_members,
  json_next,
  json_skip,
  json_string,
} from './json';
import { Reply, reply_bytes, reply_escaped, reply_put } from './reply';

/** Longest text of an argument. */
export const ARGUMENT_MAX: u32 = 64;

/** One request as its command sees it. */
// @ts-ignore: decorator
@unmanaged export class Call {
  /** The object with the arguments, well formed; 0 if there is none. */
  arguments: usize;
  end: usize;
  /** Behind `{"return": `, where the command puts what it returns. */
  reply: Reply;
  /** 1: what is in the reply is an error. */
  failed: u32;
  /** 1: the byte FF goes in front of the reply. */
  delimited: u32;
  members: JsonMembers;
  /** The text of the argument that was looked at last, with a NUL. */
  text: usize;
  text_length: u32;
}

// @ts-ignore: decorator
@unmanaged export class Command extends ListHead {
  /** Literals: its name, and the names of its parameters with blanks around them. */
  name: usize;
  parameters: usize;
  /** 1: it answers only if it fails. */
  is_silent: u32;
  /** Puts into the reply what it returns, or fails. With the hot-plug lock, in task context. */
  run: (call: Call) => void;
}

/** Fails with `{"class": "GenericError", "desc": BEFORE NAME BEHIND}`; the middle is raw bytes. */
export function call_fail(call: Call, before: string, name: usize = 0, length: u32 = 0, behind: string = ''): void {
  fail_as(call, 'GenericError', before, name, length, behind);
}

export function fail_as(
  call: Call, error_class: string, before: string, name: usize, length: u32, behind: string,
): void {
  const reply = call.reply;
  call.failed = 1;
  reply.length = 1;
  reply_put(reply, '{"error": {"class": "%s", "desc": "%s', changetype<usize>(error_class), changetype<usize>(before));
  reply_escaped(reply, name, length);
  reply_put(reply, '%s"}', changetype<usize>(behind));
}

/** Fails with words in which a parameter's name, a literal, stands. */
function fail_of_parameter(call: Call, before: string, name: string, behind: string): void {
  call_fail(call, before);
  call.reply.length -= 2;
  reply_put(call.reply, '%s%s"}', changetype<usize>(name), changetype<usize>(behind));
}

/** Where the argument `name` lies; 0 if it is not given. */
function argument_at(call: Call, name: string): usize {
  if (call.arguments == 0) return 0;
  json_members(call.members, call.arguments, call.end);
  while (json_next(call.members)) if (json_is_named(call.members, name)) return call.members.value;
  return 0;
}

/** Whether the argument is there; a command that needs it has failed otherwise. */
export function call_has(call: Call, name: string): bool {
  return argument_at(call, name) != 0;
}

function required_at(call: Call, name: string): usize {
  const at = argument_at(call, name);
  if (at == 0) fail_of_parameter(call, "Parameter '", name, "' is missing");
  return at;
}

/** Has the text of an argument in `call.text`; false, and the command has failed, if there is none that is short enough. */
export function call_string(call: Call, name: string): bool {
  const at = required_at(call, name);
  if (at == 0) return false;
  const length = json_string(at, call.end, call.text, ARGUMENT_MAX - 1);
  if (length < 0) {
    fail_of_parameter(call, "Invalid parameter type for '", name, "', expected: string");
    return false;
  }
  call.text_length = <u32>length;
  store<u8>(call.text + length, 0);
  return true;
}

/** The argument, a whole number from 0 to `most`; -1, and the command has failed, if it is none. */
export function call_number(call: Call, name: string, most: i64): i64 {
  const at = required_at(call, name);
  if (at == 0) return -1;
  const value = json_is_integer(at, call.end) ? json_integer(at, call.end) : -1;
  if (value >= 0 && value <= most) return value;
  fail_of_parameter(call, "Invalid parameter type for '", name, "', expected: integer");
  return -1;
}

/** Returns the argument as it was given, if it is a whole number. */
export function call_return_integer(call: Call, name: string): void {
  const at = required_at(call, name);
  if (at == 0) return;
  if (json_is_integer(at, call.end)) reply_bytes(call.reply, at, <u32>(json_skip(at, call.end) - at));
  else fail_of_parameter(call, "Invalid parameter type for '", name, "', expected: integer");
}

/** Whether the argument that was looked at last is `text`. */
export function call_text_is(call: Call, text: string): bool {
  return bytes_equal(call.text, call.text_length, changetype<usize>(text));
}

/** Whether one of the names in `names`, a literal with blanks around each, is that of the member at hand. */
export function is_one_of(members: JsonMembers, names: usize): bool {
  const length = json_string(members.name, members.end, scratch(), ARGUMENT_MAX);
  const total = str_length(names);
  for (let i: u32 = 0; length > 0 && i + <u32>length + 1 < total; i++) {
    if (str_at(names, i) != 0x20 || str_at(names, i + 1 + <u32>length) != 0x20) continue;
    let same: u32 = 0;
    while (same < <u32>length && str_at(names, i + 1 + same) == <u32>load<u8>(scratch() + same)) same++;
    if (same == <u32>length) return true;
  }
  return false;
}

const scratch_bytes = memory.data(64, 8);
// @ts-ignore: decorator
@inline function scratch(): usize { return scratch_bytes; }

/** A call that is used for one request after the other. */
export function new_call(): Call {
  const call = changetype<Call>(kmalloc(offsetof<Call>()));
  call.reply = changetype<Reply>(kmalloc(offsetof<Reply>()));
  call.members = changetype<JsonMembers>(kmalloc(offsetof<JsonMembers>()));
  call.text = kmalloc(ARGUMENT_MAX);
  return call;
}
