// SPDX-License-Identifier: Apache-2.0
// The certificate of the other end of an established connection, which is judged again while the connection lasts: it may
// expire, be revoked, or lose its authority, and the clock of the machine may be set.
import type { X509Certificate } from 'node:crypto';
import type { TLSSocket } from 'node:tls';
import type { Trust, TrustFault } from '../../shared/certificates/trust.js';
import { monotonicMs, unixMs } from '../../shared/process/clock.js';
import { toleranceMs } from '../core/renewal.js';

export class EstablishedCertificate {
  /** When the current fault was found, monotonic. */
  #faultMs: number | undefined;

  constructor(
    private readonly socket: TLSSocket,
    private readonly chain: readonly X509Certificate[],
  ) {}

  get isOpen(): boolean {
    return !this.socket.destroyed;
  }

  end(): void {
    this.socket.destroy();
  }

  /** @returns the fault for which the connection was ended; undefined if it lasts, or ended before. */
  judge(trust: Trust): TrustFault | undefined {
    if (!this.isOpen) return undefined;
    const fault = trust.faultOf(this.chain, unixMs());
    if (fault === undefined) {
      this.#faultMs = undefined;
      return undefined;
    }
    this.#faultMs ??= monotonicMs();
    if (monotonicMs() - this.#faultMs < toleranceMs(fault.kind)) return undefined;
    this.socket.destroy();
    return fault;
  }
}
