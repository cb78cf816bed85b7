/**
 * From a requester to its tables: root, context and PASID structures, with the context cache and the PASID cache
 * (VT-d 3.4, 3.9, 6.2.2, 6.2.3). Both hold only present, valid entries (CAP.CM is 0) and both go stale.
 *
 * In front of them stands the answer for requests without PASID, by source id: not a cache of its own but a shortcut
 * through both, dropped whenever either loses an entry.
 */
import {
  breaksReserved,
  CONTEXT_ENTRY_BYTES,
  contextEntry,
  PASID_DIRECTORY_ENTRY_BYTES,
  PASID_ENTRY_BYTES,
  PASIDS_PER_TABLE,
  PGTT_FIRST_STAGE,
  PGTT_NESTED,
  PGTT_PASS_THROUGH,
  PGTT_SECOND_STAGE,
  pasidDirectoryEntry,
  pasidEntry,
  ROOT_ENTRY_BYTES,
  reservedWords,
  rootEntry,
  SCALABLE_CONTEXT_BYTES,
  scalableContext,
  TT_PASS_THROUGH,
  TT_UNTRANSLATED,
  TT_WITH_DEVICE_TLB,
} from './entries.js';
import { FAULT } from './fault-reasons.js';
import type { HostMemory } from './host-memory.js';
import { entryKey, entrySeed, KIND_FIRST, KIND_SECOND, NO_PASID, sourceTag } from './iotlb.js';
import type { VtdFeatures } from './registers.js';

/** How a context translates. */
export const STAGE_SECOND = 0;
export const STAGE_FIRST = 1;
export const STAGE_NESTED = 2;
export const STAGE_NONE = 3;

/** Everything a translation needs to know about one requester (and PASID), as it was when it was fetched. */
export interface TranslationContext {
  readonly source: number;
  readonly domain: number;
  /** The PASID that tags cached translations; NO_PASID in legacy mode. */
  readonly pasid: number;
  readonly legacy: boolean;
  readonly stage: number;
  readonly secondRoot: number;
  readonly secondLevels: number;
  readonly firstRoot: number;
  readonly firstLevels: number;
  /** SSADE: second-stage accessed and dirty bits are kept. */
  readonly trackSecond: boolean;
  /** PWSNP: page walks are snooped, without which no entry can be updated. */
  readonly snooped: boolean;
  readonly writeProtect: boolean;
  readonly noExecute: boolean;
  readonly extendedAccessed: boolean;
  readonly supervisorAllowed: boolean;
  readonly executeAllowed: boolean;
  readonly faultsDisabled: boolean;
  /** Tags of its IOTLB entries: its own translations, and those of its second stage while nested. */
  readonly tag: number;
  readonly key: number;
  readonly seed: number;
  readonly secondKey: number;
  readonly secondSeed: number;
}

/** A scalable-mode context entry, cached by source id. */
interface ScalableContext {
  readonly directory: number;
  readonly directoryEntries: number;
  readonly ridPasid: number;
  readonly pasidEnabled: boolean;
  readonly faultsDisabled: boolean;
}

/** Translation table modes of RTADDR. */
export const MODE_LEGACY = 0;
export const MODE_SCALABLE = 1;
export const MODE_ABORT = 3;

const FRONT_SLOTS = 256;
const PASID_CACHE_MAX = 4096;

const levelsOf = (widthCode: number): number => (widthCode >= 1 && widthCode <= 3 ? widthCode + 2 : 0);

export class Contexts {
  /** Root table and mode as latched by the set-root-pointer command. */
  root = 0;
  mode = MODE_LEGACY;
  /** Why `resolve` failed, and whether fault processing is disabled for it. */
  reason = 0;
  faultsDisabled = false;

  private readonly memory: HostMemory;
  private readonly features: VtdFeatures;
  private readonly words = new Uint32Array(16);
  private readonly reserved;
  private readonly front = new Array<TranslationContext | undefined>(FRONT_SLOTS).fill(undefined);
  private readonly legacyCache = new Map<number, TranslationContext>();
  private readonly contextCache = new Map<number, ScalableContext>();
  private readonly pasidCache = new Map<number, Map<number, TranslationContext>>();
  private pasidsCached = 0;

  constructor(memory: HostMemory, features: VtdFeatures) {
    this.memory = memory;
    this.features = features;
    const width = features.hostAddressWidth;
    this.reserved = {
      legacyRoot: reservedWords(rootEntry, 4, width),
      scalableRoot: reservedWords(rootEntry, 2, width),
      legacyContext: reservedWords(contextEntry, 4, width),
      scalableContext: reservedWords(scalableContext, 8, width),
      directory: reservedWords(pasidDirectoryEntry, 2, width),
      pasid: reservedWords(pasidEntry, 16, width),
    };
  }

  /**
   * The context of a request; `pasid` is negative for a request without one. Undefined if it is blocked, with the
   * fault in `reason` (0: blocked without a record) and `faultsDisabled`.
   */
  resolve(source: number, pasid: number): TranslationContext | undefined {
    if (pasid < 0) {
      const known = this.front[source & (FRONT_SLOTS - 1)];
      if (known !== undefined && known.source === source) return known;
    }
    return this.lookUp(source, pasid);
  }

  /** Context-cache invalidation (VT-d 6.5.2.1); `mask` is the function mask of a device-selective one. */
  invalidateAllContexts(): void {
    this.front.fill(undefined);
    this.legacyCache.clear();
    this.contextCache.clear();
  }

  invalidateDomainContexts(domain: number): void {
    this.front.fill(undefined);
    for (const [source, context] of this.legacyCache) {
      if (context.domain === domain) this.legacyCache.delete(source);
    }
    // Scalable-mode context entries name no domain.
    this.contextCache.clear();
  }

  invalidateDeviceContexts(source: number, functionMask: number, domain: number): void {
    this.front.fill(undefined);
    const kept = ~functionMaskBits(functionMask);
    for (const [cached, context] of this.legacyCache) {
      if (((cached ^ source) & kept) === 0 && context.domain === domain) this.legacyCache.delete(cached);
    }
    for (const cached of this.contextCache.keys()) {
      if (((cached ^ source) & kept) === 0) this.contextCache.delete(cached);
    }
  }

  /** PASID-cache invalidation (VT-d 6.5.2.2). */
  invalidateAllPasids(): void {
    this.front.fill(undefined);
    this.pasidCache.clear();
    this.pasidsCached = 0;
  }

  /** Entries of a domain: of one PASID, or of all of them if `pasid` is negative. */
  invalidatePasids(domain: number, pasid: number): void {
    this.front.fill(undefined);
    for (const entries of this.pasidCache.values()) {
      for (const [cached, context] of entries) {
        if (context.domain !== domain || (pasid >= 0 && cached !== pasid)) continue;
        entries.delete(cached);
        this.pasidsCached--;
      }
    }
  }

  private fail(reason: number, faultsDisabled = false): undefined {
    this.reason = reason;
    this.faultsDisabled = faultsDisabled;
    return undefined;
  }

  private lookUp(source: number, pasid: number): TranslationContext | undefined {
    let context: TranslationContext | undefined;
    if (this.mode === MODE_LEGACY) {
      if (pasid >= 0) return this.fail(FAULT.SM_PASID_IN_LEGACY_MODE);
      context = this.legacyCache.get(source) ?? this.fetchLegacy(source);
    } else if (this.mode === MODE_SCALABLE && this.features.scalableMode) {
      context = this.lookUpScalable(source, pasid);
    } else {
      return this.fail(this.mode === MODE_ABORT ? 0 : FAULT.SM_ROOT_ADDRESS_INVALID);
    }
    if (context !== undefined && pasid < 0) this.front[source & (FRONT_SLOTS - 1)] = context;
    return context;
  }

  private fetchLegacy(source: number): TranslationContext | undefined {
    const { words, memory, reserved } = this;
    if (!memory.load(this.root + (source >>> 8) * ROOT_ENTRY_BYTES, words, 4))
      return this.fail(FAULT.ROOT_ACCESS);
    if (rootEntry.P.read(words, 0) === 0) return this.fail(FAULT.ROOT_NOT_PRESENT);
    if (breaksReserved(words, reserved.legacyRoot)) return this.fail(FAULT.ROOT_RESERVED);
    const table = rootEntry.CTP.readInPlace(words, 0);
    if (!memory.load(table + (source & 0xff) * CONTEXT_ENTRY_BYTES, words, 4))
      return this.fail(FAULT.CONTEXT_ACCESS);
    const entry = contextEntry;
    const disabled = entry.FPD.read(words, 0) === 1;
    if (entry.P.read(words, 0) === 0) return this.fail(FAULT.CONTEXT_NOT_PRESENT, disabled);
    const domain = entry.DID.read(words, 0);
    if (breaksReserved(words, reserved.legacyContext) || this.isBeyondDomains(domain)) {
      return this.fail(FAULT.CONTEXT_RESERVED, disabled);
    }
    const type = entry.TT.read(words, 0);
    const levels = levelsOf(entry.AW.read(words, 0));
    const known =
      type === TT_UNTRANSLATED ||
      type === TT_PASS_THROUGH ||
      (type === TT_WITH_DEVICE_TLB && this.features.deviceTlb);
    if (!known || levels === 0) return this.fail(FAULT.CONTEXT_INVALID, disabled);
    const tag = sourceTag(source, domain);
    const key = entryKey(NO_PASID, KIND_SECOND);
    const seed = entrySeed(tag, key);
    const context: TranslationContext = {
      source,
      domain,
      pasid: NO_PASID,
      legacy: true,
      stage: type === TT_PASS_THROUGH ? STAGE_NONE : STAGE_SECOND,
      secondRoot: entry.SSPTPTR.readInPlace(words, 0),
      secondLevels: levels,
      firstRoot: 0,
      firstLevels: 0,
      trackSecond: false,
      snooped: true,
      writeProtect: false,
      noExecute: false,
      extendedAccessed: false,
      supervisorAllowed: true,
      executeAllowed: true,
      faultsDisabled: disabled,
      tag,
      key,
      seed,
      secondKey: key,
      secondSeed: seed,
    };
    this.legacyCache.set(source, context);
    return context;
  }

  private lookUpScalable(source: number, pasid: number): TranslationContext | undefined {
    const context = this.contextCache.get(source) ?? this.fetchScalable(source);
    if (context === undefined) return undefined;
    if (pasid >= 0 && !context.pasidEnabled)
      return this.fail(FAULT.SM_PASID_DISABLED, context.faultsDisabled);
    const effective = pasid < 0 ? context.ridPasid : pasid;
    if (effective >= context.directoryEntries * PASIDS_PER_TABLE) {
      return this.fail(pasid < 0 ? FAULT.SM_RID_PASID : FAULT.SM_PASID_TOO_LARGE, context.faultsDisabled);
    }
    return this.pasidCache.get(source)?.get(effective) ?? this.fetchPasid(source, context, effective);
  }

  private fetchScalable(source: number): ScalableContext | undefined {
    const { words, memory, reserved } = this;
    const devfn = source & 0xff;
    const half = devfn >= 0x80 ? ROOT_ENTRY_BYTES / 2 : 0;
    if (!memory.load(this.root + (source >>> 8) * ROOT_ENTRY_BYTES + half, words, 2)) {
      return this.fail(FAULT.SM_ROOT_ACCESS);
    }
    if (rootEntry.P.read(words, 0) === 0) return this.fail(FAULT.SM_ROOT_NOT_PRESENT);
    if (breaksReserved(words, reserved.scalableRoot)) return this.fail(FAULT.SM_ROOT_RESERVED);
    const table = rootEntry.CTP.readInPlace(words, 0);
    if (!memory.load(table + (devfn & 0x7f) * SCALABLE_CONTEXT_BYTES, words, 8)) {
      return this.fail(FAULT.SM_CONTEXT_ACCESS);
    }
    const entry = scalableContext;
    const disabled = entry.FPD.read(words, 0) === 1;
    if (entry.P.read(words, 0) === 0) return this.fail(FAULT.SM_CONTEXT_NOT_PRESENT, disabled);
    const wantsDevice = entry.DTE.read(words, 0) === 1 || entry.PRE.read(words, 0) === 1;
    if (breaksReserved(words, reserved.scalableContext) || (wantsDevice && !this.features.deviceTlb)) {
      return this.fail(FAULT.SM_CONTEXT_RESERVED, disabled);
    }
    const context = {
      directory: entry.PASIDDIRPTR.readInPlace(words, 0),
      directoryEntries: 2 ** (entry.PDTS.read(words, 0) + 7),
      ridPasid: entry.RID_PASID.read(words, 0),
      pasidEnabled: entry.PASIDE.read(words, 0) === 1,
      faultsDisabled: disabled,
    };
    this.contextCache.set(source, context);
    return context;
  }

  private fetchPasid(source: number, owner: ScalableContext, pasid: number): TranslationContext | undefined {
    const { words, memory, reserved } = this;
    const directoryIndex = Math.floor(pasid / PASIDS_PER_TABLE);
    let disabled = owner.faultsDisabled;
    if (!memory.load(owner.directory + directoryIndex * PASID_DIRECTORY_ENTRY_BYTES, words, 2)) {
      return this.fail(FAULT.PASID_DIRECTORY_ACCESS, disabled);
    }
    disabled ||= pasidDirectoryEntry.FPD.read(words, 0) === 1;
    if (pasidDirectoryEntry.P.read(words, 0) === 0)
      return this.fail(FAULT.PASID_DIRECTORY_NOT_PRESENT, disabled);
    if (breaksReserved(words, reserved.directory)) return this.fail(FAULT.PASID_DIRECTORY_RESERVED, disabled);
    const table = pasidDirectoryEntry.SMPTBLPTR.readInPlace(words, 0);
    if (!memory.load(table + (pasid % PASIDS_PER_TABLE) * PASID_ENTRY_BYTES, words, 16)) {
      return this.fail(FAULT.PASID_ENTRY_ACCESS, disabled);
    }
    disabled ||= pasidEntry.FPD.read(words, 0) === 1;
    if (pasidEntry.P.read(words, 0) === 0) return this.fail(FAULT.PASID_ENTRY_NOT_PRESENT, disabled);
    const context = this.judgePasid(source, pasid, disabled);
    if (context !== undefined) this.keepPasid(context);
    return context;
  }

  /** Checks the PASID entry in `words`, which was read once, and turns it into a context. */
  private judgePasid(source: number, pasid: number, disabled: boolean): TranslationContext | undefined {
    const { words, features } = this;
    const flag = (field: (typeof pasidEntry)['P']): boolean => field.read(words, 0) === 1;
    const domain = pasidEntry.DID.read(words, 0);
    const trackSecond = flag(pasidEntry.SSADE);
    if (
      breaksReserved(words, this.reserved.pasid) ||
      this.isBeyondDomains(domain) ||
      (trackSecond && !features.secondStageDirty)
    ) {
      return this.fail(FAULT.PASID_ENTRY_RESERVED, disabled);
    }
    const type = pasidEntry.PGTT.read(words, 0);
    const first = type === PGTT_FIRST_STAGE || type === PGTT_NESTED;
    const second = type === PGTT_SECOND_STAGE || type === PGTT_NESTED;
    const secondLevels = levelsOf(pasidEntry.AW.read(words, 0));
    const firstMode = pasidEntry.FSPM.read(words, 0);
    if (
      !(first || second || type === PGTT_PASS_THROUGH) ||
      (second && secondLevels === 0) ||
      (first && firstMode > 1)
    ) {
      return this.fail(FAULT.PASID_ENTRY_INVALID, disabled);
    }
    const tag = sourceTag(source, domain);
    const secondKey = entryKey(pasid, KIND_SECOND);
    const key = first ? entryKey(pasid, KIND_FIRST) : secondKey;
    return {
      source,
      domain,
      pasid,
      legacy: false,
      stage: first ? (second ? STAGE_NESTED : STAGE_FIRST) : second ? STAGE_SECOND : STAGE_NONE,
      secondRoot: pasidEntry.SSPTPTR.readInPlace(words, 0),
      secondLevels,
      firstRoot: pasidEntry.FSPTPTR.readInPlace(words, 0),
      firstLevels: firstMode + 4,
      trackSecond: trackSecond && second,
      snooped: flag(pasidEntry.PWSNP),
      writeProtect: flag(pasidEntry.WPE),
      noExecute: flag(pasidEntry.NXE),
      extendedAccessed: flag(pasidEntry.EAFE),
      supervisorAllowed: flag(pasidEntry.SRE),
      executeAllowed: flag(pasidEntry.ERE),
      faultsDisabled: disabled,
      tag,
      key,
      seed: entrySeed(tag, key),
      secondKey,
      secondSeed: entrySeed(tag, secondKey),
    };
  }

  private keepPasid(context: TranslationContext): void {
    if (this.pasidsCached >= PASID_CACHE_MAX) {
      // A device that walks through all PASIDs displaces entries, as in any cache; it never grows this one.
      this.pasidCache.clear();
      this.pasidsCached = 0;
    }
    let entries = this.pasidCache.get(context.source);
    if (entries === undefined) {
      entries = new Map();
      this.pasidCache.set(context.source, entries);
    }
    entries.set(context.pasid, context);
    this.pasidsCached++;
  }

  private isBeyondDomains(domain: number): boolean {
    return domain >= 2 ** this.features.domainIdBits;
  }
}

/** Source-id bits that a function mask leaves out of the comparison (VT-d 6.5.2.1). */
function functionMaskBits(mask: number): number {
  return [0, 0b100, 0b110, 0b111][mask & 3]!;
}
