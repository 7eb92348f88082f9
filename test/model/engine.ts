// SPDX-License-Identifier: Apache-2.0
// What the software engine does with keys, SPIs and packets, without packets' bytes: it holds packets of flows without a
// key, seals with ascending IVs, opens only under SPIs that it admits, and retires SPIs (native/engine/software/tables).
// It checks two invariants itself: no key is ever used twice with one IV, and no flow has more than 8 SPIs.
import type { FlowKey } from '../../services/shared/address.js';
import { startMs, type World } from './world.js';

export const spisPerFlow = 8;
const retireMs = 1000;
const unansweredMs = 1000;
const heldPerFlow = 64;
/** IVs of a key start at so many for each millisecond of the clock. */
const ivsPerMs = 4096;
/** Unknown SPIs are reported so long after the first one, at most once a second, and at most so many. */
const gatherMs = 50;
const reportEveryMs = 1000;
const spisPerReport = 64;

/** A key of a flow, identified by the object itself, however it is carried. */
export interface Key {
  readonly spi: number;
  readonly generation: number;
  readonly flow: FlowKey;
  /** Of the offer; counts up within an engine. */
  readonly number: bigint;
  /** The highest IV that was used with it, by any sender. */
  highestIv: number;
}

export interface Packet {
  readonly flow: FlowKey;
  readonly sentMs: number;
  deliveredMs: number | undefined;
  /** Why it was dropped. */
  dropped: string | undefined;
  onDelivery: (() => void) | undefined;
}

export interface Sealed {
  readonly packet: Packet;
  readonly spi: number;
  readonly key: Key;
}

export class Violation extends Error {}

interface EgressFlow {
  /** Of the last packet, if IVs restart with each install. */
  iv: number;
  state: 'wanted' | 'refused' | 'keyed';
  key: Key | undefined;
  held: Packet[];
  untilMs: number;
}

interface ReceiveSpi {
  key: Key;
  seen: boolean;
  supersededMs: number | undefined;
  lastSeenMs: number;
}

const nameOf = ({ spi, generation, flow }: Key): string =>
  `SPI 0x${spi.toString(16)} (generation ${generation}, from .${Number.parseInt(flow.slice(30, 32), 16)})`;

export interface EngineEvents {
  missed(flow: FlowKey): void;
  seen(inbound: FlowKey, spi: number): void;
  unknownSpis(spis: readonly number[]): void;
  send(sealed: Sealed): void;
}

export class ModelEngine {
  generation = 1;
  readonly #egress = new Map<FlowKey, EgressFlow>();
  readonly #spis = new Map<number, ReceiveSpi>();
  /** Oldest first. */
  readonly #inbound = new Map<FlowKey, ReceiveSpi[]>();
  /** SPIs of packets that are not admitted here, not reported yet. */
  readonly #unknown = new Set<number>();
  #reportedMs = Number.NEGATIVE_INFINITY;
  #iv: number;
  #nextSpi: number;
  #lastOffer = 0n;

  /** @param unixMs the machine's clock, which may be wrong. */
  constructor(
    private readonly name: string,
    private readonly world: World,
    private readonly events: EngineEvents,
    private readonly unixMs: () => number,
    private readonly holdMs: number,
    /** As in hardware, IVs start at 0 with each install, so the core must never install a key twice. */
    private readonly restartsIvs: boolean,
  ) {
    this.#iv = 0;
    this.#nextSpi = world.below(0x7fff_0000);
  }

  /** A packet of a host. */
  send(packet: Packet): void {
    const { nowMs } = this.world;
    const flow = this.#egress.get(packet.flow);
    if (flow?.state === 'keyed') {
      this.#seal(flow, packet);
      return;
    }
    if (flow?.state === 'refused' && nowMs < flow.untilMs) {
      packet.dropped = 'hold-down';
      return;
    }
    if (flow?.state === 'wanted') {
      this.#hold(flow, packet);
      return;
    }
    const wanted: EgressFlow = {
      iv: 0,
      state: 'wanted',
      key: undefined,
      held: [packet],
      untilMs: nowMs + this.holdMs,
    };
    this.#egress.set(packet.flow, wanted);
    this.events.missed(packet.flow);
  }

  #hold(flow: EgressFlow, packet: Packet): void {
    flow.held.push(packet);
    const oldest = flow.held.length > heldPerFlow ? flow.held.shift() : undefined;
    if (oldest) oldest.dropped = 'held per flow';
  }

  #seal(flow: EgressFlow, packet: Packet): void {
    const key = flow.key as Key;
    const iv = this.restartsIvs ? ++flow.iv : ++this.#iv;
    if (iv <= key.highestIv) throw new Violation(`IV ${iv} of SPI ${key.spi} was used before`);
    key.highestIv = iv;
    this.events.send({ packet, spi: key.spi, key });
  }

  /** A packet from the wire. */
  receive({ packet, spi, key }: Sealed): void {
    const entry = this.#spis.get(spi);
    if (entry === undefined) {
      packet.dropped = 'unknown SPI';
      this.#trace(
        () => `a packet sent at ${(packet.sentMs - startMs).toFixed(1)} under the unknown ${nameOf(key)}`,
      );
      this.#foundUnknown(spi);
      return;
    }
    if (entry.key !== key) {
      packet.dropped = 'ICV failure';
      return;
    }
    if (key.flow !== packet.flow) {
      packet.dropped = 'ingress ACL';
      return;
    }
    entry.lastSeenMs = this.world.nowMs;
    if (!entry.seen) {
      entry.seen = true;
      for (const older of this.#inbound.get(key.flow) ?? []) {
        if (older === entry) break;
        older.supersededMs ??= this.world.nowMs;
      }
      this.events.seen(key.flow, spi);
    }
    if (packet.deliveredMs !== undefined) return;
    packet.deliveredMs = this.world.nowMs;
    packet.onDelivery?.();
  }

  #trace(what: () => string): void {
    this.world.trace(() => `${this.name}: ${what()}`);
  }

  #foundUnknown(spi: number): void {
    if (this.#unknown.size === 0) {
      const { nowMs } = this.world;
      this.world.after(Math.max(gatherMs, this.#reportedMs + reportEveryMs - nowMs), () => {
        this.#reportedMs = this.world.nowMs;
        this.events.unknownSpis([...this.#unknown]);
        this.#unknown.clear();
      });
    }
    if (this.#unknown.size < spisPerReport) this.#unknown.add(spi);
  }

  offer(inbound: readonly FlowKey[]): Key[] {
    const { generation } = this;
    return inbound.map((flow) => {
      this.#nextSpi = (this.#nextSpi + 1) & 0x7fff_ffff || 1;
      const spi = ((generation & 1 ? 0 : 0x8000_0000) | this.#nextSpi) >>> 0;
      const key = { spi, generation, flow, number: ++this.#lastOffer, highestIv: 0 };
      this.#admit(key);
      this.#trace(() => `offers ${nameOf(key)}`);
      return key;
    });
  }

  #admit(key: Key): void {
    const { nowMs } = this.world;
    const old = this.#inbound.get(key.flow) ?? [];
    if (old.length >= spisPerFlow) {
      const kept = old.findLast(({ seen, lastSeenMs }) => seen && nowMs < lastSeenMs + retireMs);
      this.#end((old[0] === kept ? old[1] : old[0]) as ReceiveSpi);
    }
    const entry = { key, seen: false, supersededMs: undefined, lastSeenMs: 0 };
    const spis = [...(this.#inbound.get(key.flow) ?? []), entry];
    if (spis.length > spisPerFlow) throw new Violation(`${spis.length} SPIs of one flow`);
    this.#inbound.set(key.flow, spis);
    this.#spis.set(key.spi, entry);
  }

  #end({ key }: ReceiveSpi): void {
    this.#trace(() => `ends ${nameOf(key)}`);
    this.#spis.delete(key.spi);
    const left = (this.#inbound.get(key.flow) ?? []).filter((entry) => entry.key !== key);
    if (left.length > 0) this.#inbound.set(key.flow, left);
    else this.#inbound.delete(key.flow);
  }

  withdraw(spi: number): void {
    const entry = this.#spis.get(spi);
    if (entry) this.#end(entry);
  }

  install(name: FlowKey, key: Key): void {
    const flow = this.#egress.get(name) ?? { iv: 0, state: 'wanted', key: undefined, held: [], untilMs: 0 };
    this.#egress.set(name, flow);
    if (this.restartsIvs) flow.iv = 0;
    // IVs never go down within the life of an engine, whatever the clock says.
    else if (flow.key !== key) this.#iv = Math.max(this.#iv, this.unixMs() * ivsPerMs);
    flow.state = 'keyed';
    flow.key = key;
    this.#trace(() => `installs ${nameOf(key)}`);
    for (const packet of flow.held.splice(0)) this.#seal(flow, packet);
  }

  refuse(name: FlowKey, holdDownMs: number): void {
    const flow = this.#egress.get(name);
    if (flow === undefined || flow.state === 'keyed') return;
    this.#drop(flow, 'refused', holdDownMs);
  }

  /** Removes both directions of a flow. */
  remove(name: FlowKey, inbound: FlowKey): void {
    const flow = this.#egress.get(name);
    for (const packet of flow?.held ?? []) packet.dropped = 'removed';
    this.#egress.delete(name);
    for (const entry of [...(this.#inbound.get(inbound) ?? [])]) this.#end(entry);
  }

  rotate(): number {
    this.generation++;
    this.#trace(() => `generation ${this.generation}`);
    for (const entry of [...this.#spis.values()]) {
      if (entry.key.generation < this.generation - 1) this.#end(entry);
    }
    return this.generation;
  }

  /** What the engine does by time. */
  tick(): void {
    const { nowMs } = this.world;
    for (const flow of this.#egress.values()) {
      if (flow.state === 'wanted' && nowMs >= flow.untilMs) this.#drop(flow, 'no answer', unansweredMs);
    }
    for (const entry of [...this.#spis.values()]) {
      const { supersededMs, seen, lastSeenMs } = entry;
      if (supersededMs === undefined || nowMs - supersededMs < retireMs) continue;
      if (!seen || nowMs >= lastSeenMs + retireMs) this.#end(entry);
    }
  }

  #drop(flow: EgressFlow, why: string, holdDownMs: number): void {
    for (const packet of flow.held.splice(0)) packet.dropped = why;
    flow.state = 'refused';
    flow.untilMs = this.world.nowMs + holdDownMs;
  }

  /** Packets that wait for a key. */
  get held(): Packet[] {
    return [...this.#egress.values()].flatMap(({ held }) => held);
  }
}
