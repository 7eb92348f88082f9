// SPDX-License-Identifier: Apache-2.0
// Seals of the bus, in which key bytes travel between dataplane and keyexchange (docs/contracts.md, "Seals"). Each start of
// a process derives a key of its own from the node's secret; everything in the message that is not a key is associated
// data. The dataplane's half is native/psp/bus_seal.h, byte for byte the same.
import { createCipheriv, createDecipheriv, hkdfSync, randomBytes } from 'node:crypto';
import type { Flow as FlowMessage, Offer, Seal } from '../../../proto/gen/bus.js';
import { mapped } from '../address.js';
import { PspError } from '../errors.js';
import { keyLengthOf } from '../protocols.js';

/** The purpose of the sealed keys. */
export type KeyRole = 'offer' | 'egress';
const roleOctet: Record<KeyRole, number> = { offer: 1, egress: 2 };

/** Everything in a message that a seal binds. */
export interface SealContext {
  /** Subject of the contract (its row's `subject`), followed by "/reply" in an answer. */
  contract: string;
  node: string;
  sender: 'dataplane' | 'keyexchange';
  epoch: bigint;
  /** The request that an answer belongs to; absent in events and requests, which are bound by their own seal. */
  request?: { start: Uint8Array; counter: bigint };
  role: KeyRole;
  peer: string;
  /** 0 where the message has none. */
  exchange: bigint;
  peerEpoch: bigint | undefined;
  flows: readonly FlowMessage[];
  /** The order of the keys in the seal. */
  offers: readonly Offer[];
}

const addressLength = 16;
const macLength = 6;
/** Version, SPI, number, cookie, mode, address, MAC address. */
const offerLength = 1 + 4 + 9 + 8 + 1 + addressLength + macLength;
const startLength = 32;
const tagLength = 16;
const replayWindow = 1024;
const startsRemembered = 64;

/**
 * The associated data: fields in the order below, texts preceded by a length octet, integers big-endian, addresses as 16
 * octets with IPv4 mapped.
 */
export function associatedData(context: SealContext, own: { start: Uint8Array; counter: bigint }): Buffer {
  const parts: Uint8Array[] = [];
  const octets = (...values: number[]) => parts.push(Uint8Array.from(values));
  const u64 = (value: bigint) => {
    const part = Buffer.alloc(8);
    part.writeBigUInt64BE(value);
    parts.push(part);
  };
  const text = (value: string) => {
    const part = Buffer.from(value);
    octets(part.length);
    parts.push(part);
  };
  const optional = (value: bigint | undefined) => {
    octets(value === undefined ? 0 : 1);
    u64(value ?? 0n);
  };
  text('psp bus seal v1');
  text(context.contract);
  text(context.node);
  text(context.sender);
  u64(context.epoch);
  parts.push((context.request ?? own).start);
  u64((context.request ?? own).counter);
  octets(roleOctet[context.role]);
  text(context.peer);
  u64(context.exchange);
  optional(context.peerEpoch);
  parts.push(flowsData(context.flows), offersData(context.offers));
  return Buffer.concat(parts);
}

function flowsData(flows: readonly FlowMessage[]): Buffer {
  const data = Buffer.alloc(4 + flows.length * 2 * addressLength);
  let at = data.writeUInt32BE(flows.length);
  for (const { source, destination } of flows) {
    data.set(mapped(source), at);
    data.set(mapped(destination), at + addressLength);
    at += 2 * addressLength;
  }
  return data;
}

function offersData(offers: readonly Offer[]): Buffer {
  const data = Buffer.alloc(4 + offers.length * offerLength);
  let at = data.writeUInt32BE(offers.length);
  for (const { version, spi, number, cookie, mode, address, mac } of offers) {
    at = data.writeUInt8(version, at);
    at = data.writeUInt32BE(spi, at);
    at = data.writeUInt8(number === undefined ? 0 : 1, at);
    at = data.writeBigUInt64BE(number ?? 0n, at);
    at = data.writeBigUInt64BE(cookie, at);
    at = data.writeUInt8(mode, at);
    data.set(mapped(address), at);
    data.set(mac, at + addressLength);
    at += addressLength + macLength;
  }
  return data;
}

function keyOf(secret: Uint8Array, start: Uint8Array, node: string, sender: string): Buffer {
  return Buffer.from(hkdfSync('sha256', secret, start, `psp bus seal v1|${node}|${sender}`, 32));
}

function nonceOf(counter: bigint): Buffer {
  const nonce = Buffer.alloc(12);
  nonce.writeBigUInt64BE(counter, 4);
  return nonce;
}

/** Makes seals. A process has one sealer for each secret that it has read; its counter only rises. */
export class Sealer {
  readonly #start = randomBytes(startLength);
  readonly #key: Buffer;
  #counter = 0n;

  constructor(secret: Uint8Array, node: string, sender: SealContext['sender']) {
    this.#key = keyOf(secret, this.#start, node, sender);
  }

  /** @param keys the key bytes of context.offers, in their order; they are wiped. */
  seal(context: SealContext, keys: readonly Uint8Array[]): Seal {
    this.#counter += 1n;
    const counter = this.#counter;
    const cipher = createCipheriv('aes-256-gcm', this.#key, nonceOf(counter));
    cipher.setAAD(associatedData(context, { start: this.#start, counter }));
    const plain = Buffer.concat(keys as Uint8Array[]);
    const box = Buffer.concat([cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    plain.fill(0);
    for (const key of keys) key.fill(0);
    return { start: this.#start, counter, box };
  }

  /** Wipes the key; nothing is sealed afterwards. */
  wipe(): void {
    this.#key.fill(0);
  }
}

interface Sender {
  secret: Buffer;
  key: Buffer;
  /** The secret was retired and the key wiped. */
  retired: boolean;
  highest: bigint;
  /** Bit i: counter highest - i was seen. */
  seen: bigint;
}

/** Opens seals, each once: a window of 1024 counters for each of the last 64 starts. */
export class Opener {
  readonly #starts = new Map<string, Sender>();
  /** Newest first. */
  readonly #secrets: Buffer[] = [];

  /** @param secret is copied. */
  constructor(
    secret: Uint8Array,
    private readonly node: string,
    private readonly sender: SealContext['sender'],
  ) {
    this.addSecret(secret);
  }

  /** Also opens seals that are made with this secret from now on. @param secret is copied. */
  addSecret(secret: Uint8Array): void {
    this.#secrets.unshift(Buffer.alloc(secret.length, secret));
  }

  /**
   * Wipes the oldest of several secrets and the keys that were derived from it. Their seals stay invalid even if the secret
   * is added again, so that no seal is ever opened twice.
   */
  retireSecret(): void {
    if (this.#secrets.length > 1) this.#forget(this.#secrets.pop() as Buffer);
  }

  /** Wipes everything; nothing is opened afterwards. */
  wipe(): void {
    for (const secret of this.#secrets.splice(0)) this.#forget(secret);
  }

  /**
   * @returns the keys of context.offers in their order; the caller wipes them.
   * @throws PspError SEAL_INVALID, or REPLAY for a seal that was opened before or is too old for the window.
   */
  open(context: SealContext, seal: Seal | undefined): Buffer[] {
    if (seal === undefined || seal.start.length !== startLength || seal.box.length < tagLength) {
      throw new PspError('SEAL_INVALID');
    }
    const id = Buffer.from(seal.start).toString('latin1');
    const known = this.#starts.get(id);
    const { sender, plain } =
      known === undefined
        ? this.#openFirst(context, seal)
        : { sender: known, plain: known.retired ? undefined : decrypt(known.key, context, seal) };
    if (sender === undefined || plain === undefined) throw new PspError('SEAL_INVALID');
    const offset = seal.counter - sender.highest;
    if (offset > 0n) {
      sender.seen = BigInt.asUintN(replayWindow, (offset < replayWindow ? sender.seen << offset : 0n) | 1n);
      sender.highest = seal.counter;
    } else {
      const bit = 1n << -offset;
      if (-offset >= replayWindow || (sender.seen & bit) !== 0n) {
        plain.fill(0);
        throw new PspError('REPLAY');
      }
      sender.seen |= bit;
    }
    this.#starts.delete(id);
    this.#starts.set(id, sender);
    if (this.#starts.size > startsRemembered) {
      const oldest = this.#starts.keys().next().value as string;
      this.#starts.get(oldest)?.key.fill(0);
      this.#starts.delete(oldest);
    }
    return split(plain, context.offers);
  }

  /** Opens the first seal of a start with the secret that it was made with. */
  #openFirst(context: SealContext, seal: Seal): { sender?: Sender; plain?: Buffer } {
    for (const secret of this.#secrets) {
      const key = keyOf(secret, seal.start, this.node, this.sender);
      const plain = decrypt(key, context, seal);
      if (plain !== undefined)
        return { sender: { secret, key, retired: false, highest: 0n, seen: 0n }, plain };
      key.fill(0);
    }
    return {};
  }

  #forget(secret: Buffer): void {
    for (const sender of this.#starts.values()) {
      if (sender.secret !== secret) continue;
      sender.key.fill(0);
      sender.retired = true;
    }
    secret.fill(0);
  }
}

/** @returns the keys; undefined if the tag is wrong or the message is malformed. */
function decrypt(key: Buffer, context: SealContext, seal: Seal): Buffer | undefined {
  try {
    const decipher = createDecipheriv('aes-256-gcm', key, nonceOf(seal.counter), {
      authTagLength: tagLength,
    });
    decipher.setAAD(associatedData(context, seal));
    decipher.setAuthTag(seal.box.subarray(-tagLength));
    return Buffer.concat([decipher.update(seal.box.subarray(0, -tagLength)), decipher.final()]);
  } catch {
    return undefined;
  }
}

function split(plain: Buffer, offers: readonly Offer[]): Buffer[] {
  const lengths = offers.map((offer) => keyLengthOf(offer.version));
  if (lengths.reduce((sum, length) => sum + length, 0) !== plain.length) {
    plain.fill(0);
    throw new PspError('SEAL_INVALID');
  }
  let offset = 0;
  const keys = lengths.map((length) => {
    const key = Buffer.alloc(length, plain.subarray(offset, offset + length));
    offset += length;
    return key;
  });
  plain.fill(0);
  return keys;
}
