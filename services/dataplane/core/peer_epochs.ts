// SPDX-License-Identifier: Apache-2.0
// The epochs of peers. Each start of a peer's dataplane has a random epoch, and epochs have no order: an epoch other than
// the last one seen is a new one, and the peer then lacks every key of other epochs. The keys in use are renewed a second
// after the previous renewal at the earliest, because a late message of an earlier epoch makes the current one look new
// again. While epochs keep changing, as when two gateways use one identity, that time doubles up to 30 s.

const firstPauseMs = 1000;
const longestPauseMs = 30_000;
/** Greetings that name SPIs are considered at most this often for each peer, which sends at most one a second. */
const nameEveryMs = 500;

interface Peer {
  epoch: bigint;
  /** Another epoch was seen before. */
  restarted: boolean;
  /** When all flows were renewed last, and how long after that they may be again. */
  renewedMs: number;
  pauseMs: number;
}

export class PeerEpochs {
  readonly #peers = new Map<number, Peer>();
  /** The peers whose flows wait to be renewed. */
  readonly #waiting = new Set<number>();
  readonly #namedMs = new Map<number, number>();

  /** The epoch that was seen last; undefined when none was. */
  of(peer: number): bigint | undefined {
    return this.#peers.get(peer)?.epoch;
  }

  /** The peer was removed. */
  forget(peer: number): void {
    this.#peers.delete(peer);
    this.#waiting.delete(peer);
    this.#namedMs.delete(peer);
  }

  /** The peer used an epoch. */
  seen(peer: number, epoch: bigint): void {
    const known = this.#peers.get(peer);
    if (known?.epoch === epoch) return;
    this.#waiting.add(peer);
    if (known !== undefined) {
      known.epoch = epoch;
      known.restarted = true;
    } else
      this.#peers.set(peer, {
        epoch,
        restarted: false,
        renewedMs: Number.NEGATIVE_INFINITY,
        pauseMs: firstPauseMs,
      });
  }

  /**
   * The peers whose keys of other epochs than the last one seen are to be renewed now, and whether another epoch was seen
   * before.
   */
  due(nowMs: number): { peer: number; epoch: bigint; restarted: boolean }[] {
    const due: { peer: number; epoch: bigint; restarted: boolean }[] = [];
    for (const peer of this.#waiting) {
      const known = this.#peers.get(peer) as Peer;
      const sinceMs = nowMs - known.renewedMs;
      if (sinceMs < known.pauseMs) continue;
      const isRepeated = sinceMs < 2 * known.pauseMs;
      known.pauseMs = isRepeated ? Math.min(longestPauseMs, 2 * known.pauseMs) : firstPauseMs;
      known.renewedMs = nowMs;
      this.#waiting.delete(peer);
      due.push({ peer, epoch: known.epoch, restarted: known.restarted });
    }
    return due;
  }

  /** Whether the SPIs that a peer names now are considered. */
  mayName(peer: number, nowMs: number): boolean {
    if (nowMs < (this.#namedMs.get(peer) ?? Number.NEGATIVE_INFINITY) + nameEveryMs) return false;
    this.#namedMs.set(peer, nowMs);
    return true;
  }
}
