// Memory-mapped I/O. Device registers lie above RAM and are reached by these alone, never by a load or a store.
import { ferry_mmio_read, ferry_mmio_write } from './ferry';

// @ts-ignore: decorator
@inline export function readb(addr: usize): u8 { return <u8>ferry_mmio_read(<u32>addr, 1); }
// @ts-ignore: decorator
@inline export function readw(addr: usize): u16 { return <u16>ferry_mmio_read(<u32>addr, 2); }
// @ts-ignore: decorator
@inline export function readl(addr: usize): u32 { return ferry_mmio_read(<u32>addr, 4); }
// @ts-ignore: decorator
@inline export function writeb(value: u8, addr: usize): void { ferry_mmio_write(<u32>addr, 1, value); }
// @ts-ignore: decorator
@inline export function writew(value: u16, addr: usize): void { ferry_mmio_write(<u32>addr, 2, value); }
// @ts-ignore: decorator
@inline export function writel(value: u32, addr: usize): void { ferry_mmio_write(<u32>addr, 4, value); }
