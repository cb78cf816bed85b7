// The guest agent: a service that answers the host's requests on serial ports, in the protocol of QEMU's. One request at a time
// on each, in order: while a reply waits for room, nothing more is read, and so the host has to wait with what comes next. A
// host that does not know what is on its way says so (guest-sync), and takes no reply for its own before that is answered.
import { ferry_serial_open, ferry_serial_read, ferry_serial_write, have_ferry_serial } from '../drivers/tty/ferry_serial';
import { hotplug_lock } from '../kernel/hotplug';
import { param_is } from '../kernel/params';
import { pr_err, pr_info } from '../kernel/printk';
import { INIT_WORK, WorkStruct, schedule_work } from '../kernel/workqueue';
import { kmalloc } from '../mm/slab';
import { Call, new_call } from './command';
import { qga_commands_register } from './commands';
import { qga_commands_network_register } from './commands_network';
import { qga_commands_init, qga_respond } from './dispatch';
import { FRAME_NONE, Framing, REQUEST_MAX, framing_take } from './framing';
import { REPLY_MAX } from './reply';

/** For whoever connects to the host's socket, and for the VMM itself. */
const PORTS: u32 = 2;
const INPUT_BYTES: u32 = 512;

/** What serves one port. */
// @ts-ignore: decorator
@unmanaged class Agent {
  port: u32;
  work: WorkStruct;
  framing: Framing;
  call: Call;
  /** INPUT_BYTES bytes: what has come and was not looked at yet lies from `input_at` to `input_end`. */
  input: usize;
  input_at: u32;
  input_end: u32;
  /** What of the reply was sent. */
  reply_at: u32;
}

/** Sends what is left of the reply; false while there is no room for all of it. */
function qga_flush(agent: Agent): bool {
  const reply = agent.call.reply;
  while (agent.reply_at < reply.length) {
    const sent = ferry_serial_write(agent.port, reply.text + agent.reply_at, reply.length - agent.reply_at);
    if (sent == 0) return false;
    agent.reply_at += sent;
  }
  return true;
}

/** Looks at bytes up to the end of a request, or of what has come. */
function qga_take(agent: Agent): u32 {
  while (agent.input_at < agent.input_end) {
    const frame = framing_take(agent.framing, load<u8>(agent.input + agent.input_at++));
    if (frame != FRAME_NONE) return frame;
  }
  agent.input_at = 0;
  agent.input_end = ferry_serial_read(agent.port, agent.input, INPUT_BYTES);
  return FRAME_NONE;
}

/** One request, and others on this CPU have their turn. */
function qga_work_fn(work: WorkStruct): void {
  const agent = changetype<Agent>(work.data);
  if (!qga_flush(agent)) return;
  const frame = qga_take(agent);
  if (frame != FRAME_NONE) {
    agent.reply_at = qga_respond(agent.call, agent.framing, frame);
    qga_flush(agent);
  }
  if (frame != FRAME_NONE || agent.input_at < agent.input_end) schedule_work(work);
}

function qga_interrupt(data: usize): void {
  schedule_work(changetype<Agent>(data).work);
}

function new_agent(port: u32): Agent {
  const agent = changetype<Agent>(kmalloc(offsetof<Agent>()));
  agent.port = port;
  agent.work = changetype<WorkStruct>(kmalloc(offsetof<WorkStruct>()));
  agent.framing = changetype<Framing>(kmalloc(offsetof<Framing>()));
  agent.framing.text = kmalloc(REQUEST_MAX);
  agent.call = new_call();
  agent.call.reply.text = kmalloc(REPLY_MAX);
  agent.input = kmalloc(INPUT_BYTES);
  // Commands look at interfaces, and set them, while nobody takes them away.
  INIT_WORK(agent.work, qga_work_fn, changetype<usize>(agent), hotplug_lock());
  return agent;
}

/** Boot CPU, once the network is there. `agent=off` leaves the guest without. */
export function qga_init(): void {
  if (!have_ferry_serial() || param_is('agent', 'off')) return;
  qga_commands_init();
  qga_commands_register();
  qga_commands_network_register();
  for (let port: u32 = 0; port < PORTS; port++) {
    const agent = new_agent(port);
    if (!ferry_serial_open(port, qga_interrupt, changetype<usize>(agent))) {
      return pr_err('qga: no vector left for serial port %u', port);
    }
    // What came before there was anybody.
    schedule_work(agent.work);
  }
  pr_info('qga: guest agent on %u serial ports', PORTS);
}
