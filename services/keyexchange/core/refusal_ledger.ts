// SPDX-License-Identifier: Apache-2.0
// Which refusals that we give to peers are worth an auditor's eye, and how many of them. A refusal that says "not
// yours" makes a stranger of whoever asked; one that says "not here" or "not like this" refuses a tunnel. What
// only says "not now" is neither. Each peer and code has a purse of 32 events that refills by one every ten
// seconds: what finds it empty is joined into one event with its count, so that an attacker cannot fill the audit.
import type { ErrorCode } from '../../shared/errors.js';

/** A refusal that was given. */
export interface Refusal {
  code: ErrorCode;
  /** undefined: nobody whom we know. */
  peer: string | undefined;
  /** What the peer was told. */
  detail: string;
}

/** One event: a refusal, or several of one peer and code. */
export interface Told extends Refusal {
  type: 'peer.stranger' | 'tunnel.refused';
  count: number;
  /** Unix milliseconds. */
  firstMs: number;
  lastMs: number;
}

const types: Partial<Record<ErrorCode, Told['type']>> = {
  PEER_UNKNOWN: 'peer.stranger',
  VIP_NOT_PEERS: 'peer.stranger',
  UNDERLAY_NOT_ALLOWED: 'peer.stranger',
  ROTATION_NOT_ALLOWED: 'peer.stranger',
  VIP_NOT_OURS: 'tunnel.refused',
  VERSION_NOT_SPOKEN: 'tunnel.refused',
  MODE_MISMATCH: 'tunnel.refused',
  REQUEST_INVALID: 'tunnel.refused',
};

export const purseSize = 32;
export const refillMs = 10_000;

interface Purse {
  left: number;
  filledMs: number;
  joined: Told | undefined;
}

export class RefusalLedger {
  readonly #purses = new Map<string, Purse>();

  /** @param nowMs monotonic. @param unixMs the same instant for people. @returns what is to be told now. */
  refused(refusal: Refusal, nowMs: number, unixMs: number): Told[] {
    const type = types[refusal.code];
    if (type === undefined) return [];
    const id = `${refusal.peer ?? ''}|${refusal.code}`;
    const purse = this.#purses.get(id) ?? { left: purseSize, filledMs: nowMs, joined: undefined };
    this.#purses.set(id, purse);
    const told = { ...refusal, type, count: 1, firstMs: unixMs, lastMs: unixMs };
    if (purse.joined === undefined && spent(purse, nowMs)) return [told];
    const { count, firstMs } = purse.joined ?? { count: 0, firstMs: unixMs };
    purse.joined = { ...told, count: count + 1, firstMs };
    return [];
  }

  /** Time passed. @returns what was joined and may be told now. @param all whatever its purse holds. */
  tick(nowMs: number, all = false): Told[] {
    const told: Told[] = [];
    for (const purse of this.#purses.values()) {
      if (purse.joined === undefined || !(spent(purse, nowMs) || all)) continue;
      told.push(purse.joined);
      purse.joined = undefined;
    }
    return told;
  }
}

/** Takes one out of a purse, if it has any by now. */
function spent(purse: Purse, nowMs: number): boolean {
  const refills = Math.floor((nowMs - purse.filledMs) / refillMs);
  purse.left = Math.min(purseSize, purse.left + refills);
  purse.filledMs += refills * refillMs;
  if (purse.left === 0) return false;
  purse.left--;
  return true;
}
