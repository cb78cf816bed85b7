import { boot_params } from '../asm/setup';
import { param_flag, param_is, param_u64 } from '../kernel/params';
import { INIT_LIST_HEAD, ListHead, list_add, list_add_tail, list_del_init, list_empty } from '../lib/list';
import { random_below } from '../lib/random';
import { bytes_equal, str } from '../lib/string';
import { scnprintf } from '../lib/vsprintf';
import { expect } from './test';

const buffer = memory.data(64, 16);
const nodes = memory.data(4 * 16, 16);

function formats(text: string, format: string, a: u64 = 0, b: u64 = 0, c: u64 = 0): bool {
  return bytes_equal(buffer, scnprintf(buffer, 64, format, a, b, c), str(text));
}

function test_vsprintf(): void {
  expect(formats('a 5 b', 'a %u b', 5), 'scnprintf: plain numbers');
  expect(formats('-7', '%d', <u64>-7), 'scnprintf: negative numbers');
  expect(formats('-9223372036854775808', '%d', 1 << 63), 'scnprintf: the smallest number');
  expect(formats('18446744073709551615', '%u', u64.MAX_VALUE), 'scnprintf: the largest number');
  expect(formats('[    5.000042]', '[%5u.%06u]', 5, 42), 'scnprintf: width, padded with blanks and zeros');
  expect(formats('-0042|42    |', '%05d|%-6u|', <u64>-42, 42), 'scnprintf: sign before zeros, left-aligned');
  expect(formats('0xdead BEEF 0', '0x%x %X %x', 0xdead, 0xbeef, 0), 'scnprintf: hexadecimal');
  expect(formats('100% of x!', '100%% of %s%c', str('x'), 0x21), 'scnprintf: strings, characters, percent');
  expect(scnprintf(buffer, 4, 'abcdef') == 4, 'scnprintf: stops at the end of the buffer');
}

// @ts-ignore: decorator
@inline function node(index: u32): ListHead { return changetype<ListHead>(nodes + index * 16); }

function test_list(): void {
  const head = node(0);
  INIT_LIST_HEAD(head);
  expect(list_empty(head), 'list: new lists are empty');
  list_add_tail(node(1), head);
  list_add_tail(node(2), head);
  list_add(node(3), head);
  expect(head.next == node(3) && node(3).next == node(1) && head.prev == node(2), 'list: order of insertion');
  list_del_init(node(1));
  expect(node(3).next == node(2) && node(2).prev == node(3) && list_empty(node(1)), 'list: removal');
}

/** The command line of the test: `workload=kunit size=3M count=17 flag text=first text=second address=10.10.0.2 =odd`. */
function test_params(): void {
  expect(param_u64('size', 1) == 3 << 20 && param_u64('count', 1) == 17, 'params: numbers with and without suffix');
  expect(param_u64('coun', 5) == 5 && param_u64('counts', 6) == 6, 'params: names match as a whole');
  expect(param_flag('flag') && !param_flag('fla') && !param_flag('missing'), 'params: flags');
  expect(param_is('text', 'second') && !param_is('text', 'first'), 'params: the last of equal names counts');
  expect(!param_is('text', 'secon') && !param_is('text', 'seconds'), 'params: values match as a whole');
  expect(load<u8>(boot_params().command_line + boot_params().command_line_bytes) == 0, 'params: the line ends with NUL');
}

function test_random(): void {
  const state = buffer;
  store<u64>(state, 42);
  let below = true;
  let low: u32 = 0;
  for (let i = 0; i < 10000; i++) {
    const value = random_below(state, 10);
    if (value >= 10) below = false;
    if (value < 5) low++;
  }
  expect(below && low > 4700 && low < 5300, 'random: in range and without bias');
}

export function test_lib(): void {
  test_vsprintf();
  test_list();
  test_params();
  test_random();
}
