/**
 * An independent, slow translation: BigInt arithmetic on the bytes of the tables, written from the specification and
 * sharing nothing with the unit. It knows no caches. It says what a request must yield, and which bits it must set.
 */

export interface OracleRequest {
  readonly source: number;
  readonly pasid: number | undefined;
  readonly address: bigint;
  readonly read: boolean;
  readonly write: boolean;
}

export type OracleAnswer =
  | { readonly kind: 'host'; readonly address: bigint }
  | { readonly kind: 'interrupt' }
  | { readonly kind: 'fault'; readonly reason: number; readonly recorded: boolean }
  | { readonly kind: 'blocked' };

interface Stage {
  readonly levels: number;
  readonly root: bigint;
}

interface Domain {
  readonly legacy: boolean;
  readonly first: Stage | undefined;
  readonly second: Stage | undefined;
  readonly track: boolean;
  readonly snooped: boolean;
  readonly noExecute: boolean;
  readonly writeProtect: boolean;
  readonly faultsDisabled: boolean;
}

class Blocked {
  readonly reason: number;
  readonly disabled: boolean;
  constructor(reason: number, disabled = false) {
    this.reason = reason;
    this.disabled = disabled;
  }
}

const field = (value: bigint, high: number, low: number): bigint =>
  (value >> BigInt(low)) & ((1n << BigInt(high - low + 1)) - 1n);

/** Reasons recorded whatever FPD says. */
const ALWAYS = [0x01, 0x08, 0x09, 0x0a, 0x30, 0x31, 0x38, 0x39, 0x3a, 0x40, 0x50, 0x58];

export class Oracle {
  private readonly view: DataView;
  private readonly base: bigint;
  private readonly width: number;

  constructor(buffer: SharedArrayBuffer, base: number, width: number) {
    this.view = new DataView(buffer);
    this.base = BigInt(base);
    this.width = width;
  }

  /** Carries the request out on the tables as they are, setting accessed and dirty bits. */
  translate(root: bigint, scalable: boolean, request: OracleRequest): OracleAnswer {
    const { address, pasid, read, write } = request;
    if (pasid === undefined && address >= 0xfee0_0000n && address <= 0xfeef_ffffn) {
      return write && !read ? { kind: 'interrupt' } : { kind: 'blocked' };
    }
    let disabled = false;
    try {
      const domain = scalable ? this.scalable(root, request) : this.legacy(root, request);
      disabled = domain.faultsDisabled;
      return { kind: 'host', address: this.through(domain, request) };
    } catch (error) {
      if (!(error instanceof Blocked)) throw error;
      const silent = (error.disabled || disabled) && !ALWAYS.includes(error.reason);
      return { kind: 'fault', reason: error.reason, recorded: !silent };
    }
  }

  private quad(address: bigint, otherwise: Blocked): bigint {
    const at = address - this.base;
    if (at < 0n || at + 8n > BigInt(this.view.byteLength)) throw otherwise;
    return this.view.getBigUint64(Number(at), true);
  }

  private beyond(value: bigint): boolean {
    return this.width < 52 && field(value, 51, this.width) !== 0n;
  }

  private pointerBeyond(value: bigint): boolean {
    return value >> BigInt(this.width) !== 0n;
  }

  private legacy(root: bigint, { source, pasid }: OracleRequest): Domain {
    if (pasid !== undefined) throw new Blocked(0x31);
    const rootAt = root + BigInt(source >> 8) * 16n;
    const low = this.quad(rootAt, new Blocked(0x08));
    const rootHigh = this.quad(rootAt + 8n, new Blocked(0x08));
    if (!(low & 1n)) throw new Blocked(0x01);
    if (field(low, 11, 1) !== 0n || rootHigh !== 0n || this.pointerBeyond(low)) throw new Blocked(0x0a);
    const at = (low & ~0xfffn) + BigInt(source & 0xff) * 16n;
    const context = this.quad(at, new Blocked(0x09));
    const high = this.quad(at + 8n, new Blocked(0x09));
    const disabled = (context & 2n) !== 0n;
    if (!(context & 1n)) throw new Blocked(0x02, disabled);
    if (
      field(context, 11, 4) !== 0n ||
      field(high, 7, 7) !== 0n ||
      high >> 24n !== 0n ||
      this.pointerBeyond(context)
    ) {
      throw new Blocked(0x0b, disabled);
    }
    const type = field(context, 3, 2);
    const width = field(high, 2, 0);
    if ((type !== 0n && type !== 2n) || width < 1n || width > 3n) throw new Blocked(0x03, disabled);
    const second = { levels: Number(width) + 2, root: context & ~0xfffn };
    return {
      legacy: true,
      first: undefined,
      second: type === 2n ? undefined : second,
      track: false,
      snooped: true,
      noExecute: false,
      writeProtect: false,
      faultsDisabled: disabled,
    };
  }

  private scalable(root: bigint, { source, pasid }: OracleRequest): Domain {
    const devfn = source & 0xff;
    const low = this.quad(root + BigInt(source >> 8) * 16n + (devfn >= 128 ? 8n : 0n), new Blocked(0x38));
    if (!(low & 1n)) throw new Blocked(0x39);
    if (field(low, 11, 1) !== 0n || this.pointerBeyond(low)) throw new Blocked(0x3a);
    const at = (low & ~0xfffn) + BigInt(devfn % 128) * 32n;
    const context = [0n, 8n, 16n, 24n].map((offset) => this.quad(at + offset, new Blocked(0x40)));
    const [c0, c1] = [context[0]!, context[1]!];
    let disabled = (c0 & 2n) !== 0n;
    if (!(c0 & 1n)) throw new Blocked(0x41, disabled);
    const reserved =
      field(c0, 8, 5) !== 0n ||
      c1 >> 20n !== 0n ||
      context[2] !== 0n ||
      context[3] !== 0n ||
      this.pointerBeyond(c0);
    // No device TLB, no page requests on this unit.
    if (reserved || c0 & 0x14n) throw new Blocked(0x42, disabled);
    if (pasid !== undefined && !(c0 & 8n)) throw new Blocked(0x45, disabled);
    const effective = BigInt(pasid ?? Number(c1 & 0xf_ffffn));
    if (effective >= 1n << (field(c0, 11, 9) + 13n))
      throw new Blocked(pasid === undefined ? 0x48 : 0x46, disabled);
    const slot = this.quad((c0 & ~0xfffn) + (effective >> 6n) * 8n, new Blocked(0x50, disabled));
    disabled ||= (slot & 2n) !== 0n;
    if (!(slot & 1n)) throw new Blocked(0x51, disabled);
    if (field(slot, 11, 2) !== 0n || this.pointerBeyond(slot)) throw new Blocked(0x52, disabled);
    const entryAt = (slot & ~0xfffn) + (effective & 63n) * 64n;
    const e = Array.from({ length: 8 }, (_, i) =>
      this.quad(entryAt + BigInt(8 * i), new Blocked(0x58, disabled)),
    );
    const [e0, e1, e2] = [e[0]!, e[1]!, e[2]!];
    disabled ||= (e0 & 2n) !== 0n;
    if (!(e0 & 1n)) throw new Blocked(0x59, disabled);
    const reservedEntry =
      field(e0, 5, 5) !== 0n ||
      field(e0, 11, 10) !== 0n ||
      field(e1, 22, 16) !== 0n ||
      field(e2, 11, 8) !== 0n ||
      e.slice(3).some((quad) => quad !== 0n) ||
      this.pointerBeyond(e0) ||
      this.pointerBeyond(e2);
    if (reservedEntry) throw new Blocked(0x5a, disabled);
    const type = Number(field(e0, 8, 6));
    const width = Number(field(e0, 4, 2));
    const mode = Number(field(e2, 3, 2));
    const usesFirst = type === 1 || type === 3;
    const usesSecond = type === 2 || type === 3;
    const invalid =
      type < 1 || type > 4 || (usesSecond && (width < 1 || width > 3)) || (usesFirst && mode > 1);
    if (invalid) throw new Blocked(0x5b, disabled);
    return {
      legacy: false,
      first: usesFirst ? { levels: mode + 4, root: e2 & ~0xfffn } : undefined,
      second: usesSecond ? { levels: width + 2, root: e0 & ~0xfffn } : undefined,
      track: usesSecond && (e0 & 0x200n) !== 0n,
      snooped: field(e1, 23, 23) === 1n,
      noExecute: field(e2, 5, 5) === 1n,
      writeProtect: field(e2, 4, 4) === 1n,
      faultsDisabled: disabled,
    };
  }

  private through(domain: Domain, request: OracleRequest): bigint {
    const { address } = request;
    let host: bigint;
    if (domain.first !== undefined) host = this.firstStage(domain, domain.first, request);
    else if (domain.second !== undefined) host = this.secondStage(domain, domain.second, address, request);
    else {
      if (address >> BigInt(this.width) !== 0n) throw new Blocked(domain.legacy ? 0x04 : 0x84);
      host = address;
    }
    if (host >= 0xfee0_0000n && host <= 0xfeef_ffffn) throw new Blocked(domain.legacy ? 0x0e : 0x87);
    return host;
  }

  private secondStage(
    domain: Domain,
    stage: Stage,
    address: bigint,
    access: { read: boolean; write: boolean },
  ): bigint {
    const { legacy } = domain;
    if (address >> BigInt(12 + 9 * stage.levels) !== 0n) throw new Blocked(legacy ? 0x04 : 0x84);
    const used: bigint[] = [];
    let table = stage.root;
    for (let level = stage.levels; ; level--) {
      const shift = BigInt(12 + 9 * (level - 1));
      const at = table + ((address >> shift) & 0x1ffn) * 8n;
      const top = level === stage.levels;
      const entry = this.quad(at, new Blocked(legacy ? (top ? 0x03 : 0x07) : top ? 0x7b : 0x78));
      const missingWrite = access.write && !(entry & 2n);
      const missingRead = access.read && !(entry & 1n);
      const nothing = !access.read && !access.write && !(entry & 3n);
      if (missingWrite || missingRead || nothing) {
        throw new Blocked(!legacy ? 0x79 : missingWrite ? 0x05 : 0x06);
      }
      const leaf = level === 1 || (level <= 3 && (entry & 0x80n) !== 0n);
      const low = leaf
        ? field(entry, Number(shift) - 1, 12) !== 0n && level > 1
        : (entry & 0x800n) !== 0n || (level > 3 && (entry & 0x80n) !== 0n);
      if (low || this.beyond(entry)) throw new Blocked(legacy ? 0x0c : 0x7a);
      used.push(at);
      const target = entry & 0xf_ffff_ffff_f000n;
      if (!leaf) {
        table = target;
        continue;
      }
      if (domain.track) this.mark(used, 0x100n, access.write ? 0x200n : 0n, domain.snooped, 0x7c);
      return target | (address & ((1n << shift) - 1n));
    }
  }

  private firstStage(domain: Domain, stage: Stage, request: OracleRequest): bigint {
    const { address, write } = request;
    const bits = BigInt(12 + 9 * stage.levels);
    const sign = address >> (bits - 1n);
    if (sign !== 0n && sign !== (1n << (64n - bits + 1n)) - 1n) throw new Blocked(0x80);
    const used: { at: bigint; entry: bigint }[] = [];
    let table = stage.root;
    for (let level = stage.levels; ; level--) {
      const top = level === stage.levels;
      const shift = BigInt(12 + 9 * (level - 1));
      const at = table + ((address >> shift) & 0x1ffn) * 8n;
      const hostAt = this.nested(domain, at, { read: true, write: false }, top ? 0x75 : 0x76);
      const entry = this.quad(hostAt, new Blocked(top ? 0x73 : 0x70));
      if (!(entry & 1n)) throw new Blocked(0x71);
      if (!(entry & 4n)) throw new Blocked(0x81);
      if (write && !(entry & 2n)) throw new Blocked(0x85);
      const leaf = level === 1 || (level <= 3 && (entry & 0x80n) !== 0n);
      const misaligned = leaf && level > 1 && field(entry, Number(shift) - 1, 13) !== 0n;
      const largeAbove = !leaf && level > 3 && (entry & 0x80n) !== 0n;
      const execute = !domain.noExecute && entry >> 63n !== 0n;
      if (misaligned || largeAbove || execute || this.beyond(entry)) throw new Blocked(0x72);
      used.push({ at, entry });
      let target = entry & 0xf_ffff_ffff_f000n;
      if (!leaf) {
        table = target;
        continue;
      }
      if (level > 1) target &= ~0x1000n;
      // Each entry that has to change is written through the second stage, before any of them is.
      const places = used.map((step, i) => {
        const want = 0x20n | (i === used.length - 1 && write ? 0x40n : 0n);
        if ((step.entry & want) === want) return undefined;
        return this.nested(domain, step.at, { read: true, write: true }, 0x77);
      });
      places.forEach((place, i) => {
        if (place === undefined) return;
        this.mark([place], 0x20n, i === used.length - 1 && write ? 0x40n : 0n, domain.snooped, 0x90);
      });
      const guest = target | (address & ((1n << shift) - 1n));
      return this.nested(domain, guest, request, 0x79);
    }
  }

  private nested(
    domain: Domain,
    guest: bigint,
    access: { read: boolean; write: boolean },
    permission: number,
  ): bigint {
    if (domain.second === undefined) return guest;
    try {
      return this.secondStage(domain, domain.second, guest, access);
    } catch (error) {
      if (error instanceof Blocked && error.reason === 0x79) throw new Blocked(permission);
      if (error instanceof Blocked && error.reason === 0x84) throw new Blocked(0x74);
      throw error;
    }
  }

  private mark(entries: bigint[], accessed: bigint, dirty: bigint, snooped: boolean, reason: number): void {
    entries.forEach((at, i) => {
      const want = accessed | (i === entries.length - 1 ? dirty : 0n);
      const entry = this.quad(at, new Blocked(0x91));
      if ((entry & want) === want) return;
      if (!snooped) throw new Blocked(reason);
      this.view.setBigUint64(Number(at - this.base), entry | want, true);
    });
  }
}
