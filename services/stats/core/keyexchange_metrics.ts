// SPDX-License-Identifier: Apache-2.0
// Metrics of peers and exchanges, from the reports of keyexchange. Each replica has its own channel to a peer, circuit
// breaker and exchanges.
import type { PeerStatus } from '../../../proto/gen/bus.js';
import { breakerStates, type durations } from './bounds.js';
import type { ReplicaReport } from './latest_reports.js';
import { atSeconds, counter, gauge, histogram, type Metric, type Row } from './metric.js';

const each = (read: (peer: PeerStatus) => readonly Row[]) => (report: ReplicaReport) =>
  report.stats.peers.flatMap(read);
const durationIn = (name: (typeof durations)[number]) => (report: ReplicaReport) =>
  report.stats.histograms.find((histogram) => histogram.name === name);

export const keyExchangeMetrics: readonly Metric[] = [
  gauge(
    'psp_peer_connected',
    ['peer'],
    '1 if the channel to a peer is connected; it stays connected without traffic.',
    each(({ name, link }) => [[[name], link === 'connected' ? 1 : 0]]),
  ),
  gauge(
    'psp_peer_link_changed_timestamp_seconds',
    ['peer'],
    'Time of the last state change of the channel to a peer.',
    each(({ name, linkSinceMs }) => atSeconds([name], linkSinceMs)),
  ),
  gauge(
    'psp_peer_breaker',
    ['peer', 'state'],
    'State of the circuit breaker of a peer: 1 for the current state.',
    each(({ name, breaker }) => breakerStates.map((state) => [[name, state], state === breaker ? 1 : 0])),
  ),
  counter(
    'psp_peer_exchanges_begun_total',
    ['peer'],
    'Exchanges that this gateway started with a peer.',
    each(({ name, exchanges }) => [[[name], exchanges]]),
  ),
  counter(
    'psp_peer_exchanges_total',
    ['peer', 'outcome'],
    'Completed exchanges that this gateway started: answered, refused by the peer, or failed.',
    each(({ name, answered, refused, failed }) => [
      [[name, 'answered'], answered],
      [[name, 'refused'], refused],
      [[name, 'failed'], failed],
    ]),
  ),
  counter(
    'psp_peer_wants_deferred_total',
    ['peer'],
    'Wants that were not sent because the peer limits the rate of our requests.',
    each(({ name, deferred }) => [[[name], deferred]]),
  ),
  counter(
    'psp_peer_requests_limited_total',
    ['peer'],
    'Requests of a peer that exceeded keyExchange.limits.',
    each(({ name, limited }) => [[[name], limited]]),
  ),
  gauge(
    'psp_peer_connections',
    ['peer'],
    'Open connections of a peer to this gateway.',
    each(({ name, connections }) => [[[name], connections]]),
  ),
  gauge(
    'psp_peer_insecure_reference_interop',
    ['peer'],
    '1 for a peer with insecureReferenceInterop: keys are exchanged with it in PLAINTEXT.',
    each(({ name, insecure }) => [[[name], insecure ? 1 : 0]]),
  ),
  gauge(
    'psp_peer_last_answer_timestamp_seconds',
    ['peer'],
    "Time of a peer's last answer to an exchange; absent if there was none.",
    each(({ name, lastAnswerMs }) => atSeconds([name], lastAnswerMs)),
  ),
  gauge(
    'psp_certificate_expiry_timestamp_seconds',
    ['kind', 'fingerprint'],
    'End of a certificate in use: the node, an intermediate authority in node.crt, an authority in ca.crt.',
    ({ stats }) =>
      stats.certificates.flatMap(({ kind, fingerprint, notAfterMs }) =>
        atSeconds([kind, fingerprint], notAfterMs),
      ),
  ),
  gauge(
    'psp_peer_certificate_expiry_timestamp_seconds',
    ['peer'],
    'End of the certificate that a peer presented last; absent before its first handshake.',
    each(({ name, certificate }) => atSeconds([name], certificate?.notAfterMs ?? 0n)),
  ),
  histogram(
    'psp_exchange_duration_seconds',
    'Duration of exchanges that this gateway started, from the publication of the want to the installed key.',
    durationIn('exchange'),
  ),
  histogram(
    'psp_answer_duration_seconds',
    "Duration of peers' requests, from their arrival to the answer.",
    durationIn('answer'),
  ),
];
