// SPDX-License-Identifier: Apache-2.0
// Metrics of packets from the report of the dataplane: pipes, drops, ports, peers, keys and sampling.
import { nameOfMode } from '../../shared/modes.js';
import { atSeconds, counter, gauge, type Metric } from './metric.js';

const ratioOf = (log2: number | undefined): number => (log2 === undefined ? 0 : 2 ** -log2);

export const dataplaneMetrics: readonly Metric[] = [
  counter(
    'psp_pipe_packets_total',
    ['pipe', 'outcome'],
    'Packets by pipe; the outcome is hit or miss.',
    (report) =>
      report.stats.pipes.flatMap(({ pipe, hit, miss }) => [
        [[pipe, 'hit'], hit],
        [[pipe, 'miss'], miss],
      ]),
  ),
  counter(
    'psp_dropped_packets_total',
    ['direction', 'reason'],
    'Packets dropped, by direction and reason.',
    (report) => report.stats.drops.map(({ direction, reason, packets }) => [[direction, reason], packets]),
  ),
  counter('psp_port_received_packets_total', ['port'], 'Frames received by a port.', (report) =>
    report.stats.ports.map(({ role, rxPackets }) => [[role], rxPackets]),
  ),
  counter('psp_port_received_bytes_total', ['port'], 'Octets received by a port.', (report) =>
    report.stats.ports.map(({ role, rxBytes }) => [[role], rxBytes]),
  ),
  counter('psp_port_sent_packets_total', ['port'], 'Frames sent by a port.', (report) =>
    report.stats.ports.map(({ role, txPackets }) => [[role], txPackets]),
  ),
  counter('psp_port_sent_bytes_total', ['port'], 'Octets sent by a port.', (report) =>
    report.stats.ports.map(({ role, txBytes }) => [[role], txBytes]),
  ),
  gauge('psp_port_mtu_bytes', ['port'], 'MTU in use at a port.', (report) =>
    report.stats.ports.map(({ role, mtu }) => [[role], mtu]),
  ),
  gauge('psp_port_up', ['port'], '1 if the link of a port is up, else 0.', (report) =>
    report.stats.ports.map(({ role, up }) => [[role], up ? 1 : 0]),
  ),
  counter('psp_peer_packets_total', ['peer', 'direction'], 'Packets to (egress) and from a peer.', (report) =>
    report.stats.traffic.flatMap(({ name, egressPackets, ingressPackets }) => [
      [[name, 'egress'], egressPackets],
      [[name, 'ingress'], ingressPackets],
    ]),
  ),
  counter('psp_peer_bytes_total', ['peer', 'direction'], 'Octets to (egress) and from a peer.', (report) =>
    report.stats.traffic.flatMap(({ name, egressBytes, ingressBytes }) => [
      [[name, 'egress'], egressBytes],
      [[name, 'ingress'], ingressBytes],
    ]),
  ),
  gauge(
    'psp_peer_last_packet_timestamp_seconds',
    ['peer', 'direction'],
    'Time of the last packet to (egress) or from a peer; absent if there was none.',
    (report) =>
      report.stats.traffic.flatMap(({ name, lastEgressMs, lastIngressMs }) => [
        ...atSeconds([name, 'egress'], lastEgressMs),
        ...atSeconds([name, 'ingress'], lastIngressMs),
      ]),
  ),
  gauge(
    'psp_peer_flows',
    ['peer', 'direction'],
    'Flows with a key (egress) and flows that the peer may send (ingress).',
    (report) =>
      report.stats.traffic.flatMap(({ name, keyedFlows, inboundFlows }) => [
        [[name, 'egress'], keyedFlows],
        [[name, 'ingress'], inboundFlows],
      ]),
  ),
  gauge(
    'psp_peer_last_key_timestamp_seconds',
    ['peer'],
    'Install time of the newest egress key of a peer; absent if there was none.',
    (report) => report.stats.traffic.flatMap(({ name, lastKeyMs }) => atSeconds([name], lastKeyMs)),
  ),
  gauge(
    'psp_peer_greeted',
    ['peer'],
    '1: the peer has answered the greeting of the running dataplane, else 0; absent if its application does not know greetings.',
    (report) =>
      report.stats.traffic.flatMap(({ name, greeting }) =>
        greeting === 'unsupported' || greeting === '' ? [] : [[[name], Number(greeting === 'answered')]],
      ),
  ),
  gauge(
    'psp_peer_info',
    ['peer', 'mode', 'auth_only', 'cookie'],
    'Always 1; how packets to and from a peer are encapsulated. auth_only true: they are NOT ENCRYPTED.',
    (report) =>
      report.stats.terms.map(({ name, mode, authOnly, cookie }) => [
        [name, nameOfMode(mode) ?? '', String(authOnly), String(cookie)],
        1,
      ]),
  ),
  gauge(
    'psp_peer_crypt_offset_bytes',
    ['peer'],
    'Readable octets after the IV in packets to a peer; 0: none.',
    (report) => report.stats.terms.map(({ name, cryptOffset }) => [[name], 4 * cryptOffset]),
  ),
  gauge(
    'psp_peer_sampling_ratio',
    ['peer'],
    'Share of the packets to a peer that is sampled; 0: none.',
    (report) => report.stats.terms.map(({ name, samplingLog2 }) => [[name], ratioOf(samplingLog2)]),
  ),
  counter(
    'psp_lcore_packets_total',
    ['lcore', 'direction'],
    'Packets that the queues of an lcore received (rx) and sent (tx), both ports together.',
    (report) =>
      report.stats.lcores.flatMap(({ rxPackets, txPackets }, lcore) => [
        [[String(lcore), 'rx'], rxPackets],
        [[String(lcore), 'tx'], txPackets],
      ]),
  ),
  counter(
    'psp_bypass_packets_total',
    ['rule', 'direction'],
    'Packets that passed unencrypted, by entry of bypass.',
    (report) =>
      report.stats.bypass.flatMap(({ rule, egressPackets, ingressPackets }) => [
        [[rule, 'egress'], egressPackets],
        [[rule, 'ingress'], ingressPackets],
      ]),
  ),
  gauge(
    'psp_ingress_acl_enabled',
    [],
    '1: a packet is admitted only on the flow that its SPI was offered for; 0: every packet that authenticates is admitted.',
    ({ stats }) => (stats.ingressAcl === undefined ? [] : [[[], Number(stats.ingressAcl)]]),
  ),
  gauge('psp_master_key_generation', [], 'Generation of the active master key.', (report) => [
    [[], report.stats.generation],
  ]),
  gauge('psp_master_key_created_timestamp_seconds', [], 'Creation time of the active master key.', (report) =>
    atSeconds([], report.stats.generationMs),
  ),
  gauge(
    'psp_master_key_next_rotation_timestamp_seconds',
    [],
    'Time of the next rotation of the master key on schedule; absent if keys.rotateEvery is off.',
    (report) => atSeconds([], report.stats.nextRotationMs),
  ),
  gauge(
    'psp_master_key_spis_left',
    [],
    'SPIs of the active master key that are left; absent until the first offer under it.',
    ({ stats }) => (stats.spisLeft === undefined ? [] : [[[], stats.spisLeft]]),
  ),
  gauge(
    'psp_peer_unanswered_flows',
    ['peer'],
    'Inbound flows for which a peer has not answered the last rotation, so that it may still use the older master key.',
    (report) => report.stats.traffic.map(({ name, unansweredFlows }) => [[name], unansweredFlows]),
  ),
  gauge(
    'psp_peer_tunnels_left',
    ['peer'],
    'How many more tunnels a peer can be offered before its software must be restarted; absent without peers.X.maxTunnels.',
    (report) =>
      report.stats.traffic.flatMap(({ name, tunnelsLeft }) =>
        tunnelsLeft === undefined ? [] : [[[name], tunnelsLeft]],
      ),
  ),
  gauge(
    'psp_rotation_flows_to_cut',
    [],
    'Inbound flows that a rotation would cut now if it did not wait.',
    (report) => [[[], report.stats.flowsToCut]],
  ),
  gauge(
    'psp_sampling_ratio',
    [],
    'Share of the packets that leave that is sampled, for peers without their own rate; 0: none.',
    (report) => [[[], ratioOf(report.stats.samplingLog2)]],
  ),
  gauge('psp_engine_info', ['crypto'], 'Always 1; the cryptographic library of the engine.', (report) => [
    [[report.stats.crypto], 1],
  ]),
];
