// SPDX-License-Identifier: Apache-2.0
// Replaces the connected channel of a peer when core/renewal.ts says so: a second channel is connected, then used, and the
// first one finishes its calls. While that fails, the first one stays in use up to the age limit.
import { connectivityState } from '@grpc/grpc-js';
import type { PspError } from '../../shared/errors.js';
import { moment, monotonicMs } from '../../shared/process/clock.js';
import { isRenewalDue } from '../core/renewal.js';
import { longestAgeMs, type Peer, renewalRetryMs, serverGraceMs } from '../core/rules.js';
import type { CertificateFiles } from './certificate_files.js';
import { PeerChannel } from './peer_channel.js';

/** A replaced channel is closed after this time, when every call that was begun on it has reached its connection. */
const retireMs = 5000;

export class ChannelRenewal {
  #next: PeerChannel | undefined;
  #failedMs: number | undefined;
  #failure: PspError | undefined;
  #jitter = Math.random();
  #retired: { channel: PeerChannel; sinceMs: number; isClosed: boolean }[] = [];

  constructor(
    private readonly peer: Peer,
    private readonly files: CertificateFiles,
  ) {}

  /** The reason for which the latest renewal failed, if it is known. */
  get failure(): PspError | undefined {
    return this.#failure;
  }

  /** To be called once a second. @returns the channel to use from now on: `current`, or the one that replaces it. */
  tend(current: PeerChannel): PeerChannel {
    this.#tendRetired();
    current.credentials.judge();
    if (this.#next !== undefined) return this.#follow(current, this.#next);
    const { age } = current.credentials;
    if (age !== undefined && isRenewalDue(age, this.files.version, this.#jitter, this.#failedMs, moment())) {
      this.#next = new PeerChannel(this.peer, this.files);
      this.#next.requestState();
    }
    return current;
  }

  /** Whether the connection of a channel must end although there is no other one. */
  isTooOld({ credentials: { age } }: PeerChannel): boolean {
    return age !== undefined && monotonicMs() - age.sinceMs > longestAgeMs;
  }

  close(): void {
    this.#next?.close();
    for (const { channel } of this.#retired) {
      channel.close();
      channel.credentials.end();
    }
  }

  #follow(current: PeerChannel, next: PeerChannel): PeerChannel {
    const state = next.requestState();
    if (state === connectivityState.READY) {
      this.#next = undefined;
      this.#failedMs = undefined;
      this.#jitter = Math.random();
      this.#retired.push({ channel: current, sinceMs: monotonicMs(), isClosed: false });
      return next;
    }
    const isOverdue = monotonicMs() - next.sinceMs > renewalRetryMs;
    if (state === connectivityState.TRANSIENT_FAILURE || isOverdue) {
      this.#next = undefined;
      this.#failedMs = monotonicMs();
      this.#failure = next.credentials.failure;
      next.close();
    }
    return current;
  }

  /** A closed channel ends its connection after its last call; calls have the same grace as at the server. */
  #tendRetired(): void {
    for (const retired of this.#retired) {
      const { channel, sinceMs, isClosed } = retired;
      const ageMs = monotonicMs() - sinceMs;
      channel.credentials.judge();
      if (ageMs >= retireMs && !isClosed) channel.close();
      if (ageMs >= retireMs) retired.isClosed = true;
      if (ageMs >= retireMs + serverGraceMs) channel.credentials.end();
    }
    this.#retired = this.#retired.filter(({ channel, isClosed }) => !isClosed || channel.credentials.isOpen);
  }
}
