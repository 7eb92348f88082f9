// SPDX-License-Identifier: Apache-2.0
// Detects two gateways that use one identity. Each start of a dataplane has an epoch of its own, and a request lasts about
// a second, so two epochs that are both in use for longer belong to two gateways, not to two starts of one.

/** Longer than a request or an answer of an earlier start can be in transit. */
export const settleMs = 5000;
/** Epochs are random and never recur, so they may be kept for long. */
const forgetMs = 3_600_000;
const mostPerPeer = 8;

interface Seen {
  firstMs: number;
  lastMs: number;
  address: string;
}

export class EpochWatch {
  readonly #peers = new Map<string, Map<bigint, Seen>>();

  /** The peer was removed. */
  forget(peer: string): void {
    this.#peers.delete(peer);
  }

  /**
   * A peer used an epoch.
   * @param address of the peer. @param nowMs monotonic.
   * @returns the addresses of both gateways once there are certainly two.
   */
  seen(peer: string, epoch: bigint, address: string, nowMs: number): [string, string] | undefined {
    const epochs = this.#peers.get(peer) ?? new Map<bigint, Seen>();
    this.#peers.set(peer, epochs);
    for (const [old, { lastMs }] of epochs) if (nowMs - lastMs > forgetMs) epochs.delete(old);
    const own = epochs.get(epoch) ?? { firstMs: nowMs, lastMs: nowMs, address };
    epochs.delete(epoch);
    // The map is in the order of the latest use.
    if (epochs.size >= mostPerPeer) epochs.delete(epochs.keys().next().value as bigint);
    epochs.set(epoch, { ...own, lastMs: nowMs, address });
    for (const [other, { firstMs, lastMs, address: elsewhere }] of epochs) {
      const togetherMs = lastMs - Math.max(firstMs, own.firstMs);
      if (other !== epoch && togetherMs > settleMs) return [elsewhere, address];
    }
    return undefined;
  }
}
