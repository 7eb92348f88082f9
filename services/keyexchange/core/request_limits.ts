// SPDX-License-Identifier: Apache-2.0
// How much each peer may request: a token bucket for its requests and one for the tunnels in them, each of which holds
// ten seconds of its rate. An honest gateway stays below both. Its dataplane keeps at most 4096 open wants for one peer
// and joins those that wait into batches, and after a restart it requests its flows once, in batches. Clients whose
// identity is unknown share one bucket, because each of them is refused anyway. Each replica counts alone: a replica has
// an address and a share of the machine of its own, so the limit grows with the capacity, and needs no state on the bus.
import { PspError } from '../../shared/errors.js';
import { TokenBucket } from '../../shared/rate/token_bucket.js';
import type { IdentityLimits } from './rules.js';

/** A bucket holds so many seconds of its rate. */
export const burstSeconds = 10;

const bucketOf = (perSecond: number, nowMs: number): TokenBucket =>
  new TokenBucket(nowMs, { size: perSecond * burstSeconds, refillMs: 1000 / perSecond });

interface Buckets {
  requests: TokenBucket;
  tunnels: TokenBucket;
}

export class RequestLimits {
  readonly #buckets = new Map<string, Buckets>();

  constructor(private limits: IdentityLimits) {}

  /** New limits apply; every peer has full buckets then, as after a start. */
  replace(limits: IdentityLimits): void {
    this.limits = limits;
    this.#buckets.clear();
  }

  /** The peer was removed. */
  forget(peer: string): void {
    this.#buckets.delete(peer);
  }

  /**
   * Admits a request. A refused one takes no tokens.
   * @param peer a configured peer; undefined: any other client. @param tunnels in the request.
   * @throws PspError RATE_LIMITED with `ms`, the time after which the same request would be admitted.
   */
  admit(peer: string | undefined, tunnels: number, nowMs: number): void {
    const { requestsPerSecond, tunnelsPerSecond } = this.limits;
    const { requests, tunnels: ofTunnels } = this.#of(peer ?? '', nowMs);
    const requestMs = requests.waitMs(nowMs);
    const tunnelMs = ofTunnels.waitMs(nowMs, tunnels);
    if (requestMs > 0 || tunnelMs > 0) {
      const limit = requestMs > tunnelMs ? 'requestsPerSecond' : 'tunnelsPerSecond';
      throw new PspError('RATE_LIMITED', {
        peer: peer ?? 'without an identity',
        limit: `${limit} ${limit === 'requestsPerSecond' ? requestsPerSecond : tunnelsPerSecond}`,
        ms: Math.max(requestMs, tunnelMs),
      });
    }
    requests.take(nowMs);
    ofTunnels.take(nowMs, tunnels);
  }

  #of(peer: string, nowMs: number): Buckets {
    const { requestsPerSecond, tunnelsPerSecond } = this.limits;
    const buckets = this.#buckets.get(peer) ?? {
      requests: bucketOf(requestsPerSecond, nowMs),
      tunnels: bucketOf(tunnelsPerSecond, nowMs),
    };
    this.#buckets.set(peer, buckets);
    return buckets;
  }
}
