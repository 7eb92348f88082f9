// SPDX-License-Identifier: Apache-2.0
// Peers and exchanges in numbers, from the words of keyexchange. Each replica has a channel, a breaker and
// exchanges of its own.
import type { PeerStatus } from '../../../proto/gen/bus.js';
import { breakerStates, type durations } from './bounds.js';
import type { Word } from './latest_reports.js';
import { atSeconds, counter, gauge, histogram, type Metric, type Row } from './metric.js';

const each = (read: (peer: PeerStatus) => readonly Row[]) => (word: Word) => word.stats.peers.flatMap(read);
const durationIn = (name: (typeof durations)[number]) => (word: Word) =>
  word.stats.histograms.find((histogram) => histogram.name === name);

export const keyExchangeMetrics: readonly Metric[] = [
  gauge(
    'psp_peer_connected',
    ['peer'],
    'Whether the channel to a peer is connected; it is kept so without traffic.',
    each(({ name, link }) => [[[name], link === 'connected' ? 1 : 0]]),
  ),
  gauge(
    'psp_peer_link_changed_timestamp_seconds',
    ['peer'],
    'Since when the channel to a peer is as it is.',
    each(({ name, linkSinceMs }) => atSeconds([name], linkSinceMs)),
  ),
  gauge(
    'psp_peer_breaker',
    ['peer', 'state'],
    'State of the circuit breaker of a peer: 1 for the state that it is in.',
    each(({ name, breaker }) => breakerStates.map((state) => [[name, state], state === breaker ? 1 : 0])),
  ),
  counter(
    'psp_peer_exchanges_begun_total',
    ['peer'],
    'Exchanges that we began with a peer.',
    each(({ name, exchanges }) => [[[name], exchanges]]),
  ),
  counter(
    'psp_peer_exchanges_total',
    ['peer', 'outcome'],
    'Exchanges that we began and that ended: answered, refused by the peer, or failed.',
    each(({ name, answered, refused, failed }) => [
      [[name, 'answered'], answered],
      [[name, 'refused'], refused],
      [[name, 'failed'], failed],
    ]),
  ),
  gauge(
    'psp_peer_last_answer_timestamp_seconds',
    ['peer'],
    'When a peer last answered an exchange; absent while it never did.',
    each(({ name, lastAnswerMs }) => atSeconds([name], lastAnswerMs)),
  ),
  histogram(
    'psp_exchange_duration_seconds',
    'Exchanges that we began, from the publication of the want to the installed key.',
    durationIn('exchange'),
  ),
  histogram(
    'psp_answer_duration_seconds',
    'Requests of peers, from their arrival to our answer.',
    durationIn('answer'),
  ),
];
