/** What a guest says whose device goes by the attention button and comes again at the destination. */
import type { ConsoleLine } from '../../lab/move/check.js';

const said = (side: ConsoleLine['side'], ...texts: readonly string[]): readonly ConsoleLine[] =>
  texts.map((text) => ({ side, text }));

export const PLUGGED: readonly ConsoleLine[] = [
  ...said(
    'source',
    '[    0.110092] pci 0000:01:00.0: [8086:10ed] type 00 class 0x020000 PCIe Endpoint',
    '[    0.120187] pci 0000:01:00.0: BAR 0 [mem 0xf0000000-0xf0003fff 64bit pref]',
    '[    0.155039] ixgbevf 0000:01:00.0: Intel(R) 82599 Virtual Function',
    '[    0.172076] IP-Config: Complete:',
    '[    0.204890] ixgbevf 0000:01:00.0 eth0: NIC Link is Up 10 Gbps',
    '[    4.000000] pcieport 0000:00:01.0: pciehp: Slot(1): Button press: will power off in 5 sec',
    '[    4.500000] ledger: 2000 transactions/s, epoch 1, clean',
    '[    9.000000] pci 0000:01:00.0: removed',
  ),
  ...said(
    'destination',
    '[   10.000000] pcieport 0000:00:01.0: pciehp: Slot(1): Button press: will power on in 5 sec',
    '[   10.010000] pcieport 0000:00:01.0: pciehp: Slot(1): Card present',
    '[   10.140000] pci 0000:01:00.0: [8086:10ed] type 00 class 0x020000 PCIe Endpoint',
    '[   10.141000] pci 0000:01:00.0: BAR 0 [mem 0xf0000000-0xf0003fff 64bit pref]',
    '[   10.142000] pci 0000:01:00.0: BAR 3 [mem 0xf0004000-0xf0007fff 64bit pref]',
    '[   10.162000] ixgbevf 0000:01:00.0: Intel(R) 82599 Virtual Function',
    '[   10.165000] ledger: 2000 transactions/s, epoch 2, clean',
    '[   10.172000] IP-Config: Complete:',
    '[   10.182000] ixgbevf 0000:01:00.0 eth0: NIC Link is Up 10 Gbps',
  ),
];
