// SPDX-License-Identifier: Apache-2.0
// Reports of services for the tests of the stats service: small, and each with every kind of row.
import { Mode, ServiceStats } from '../../../proto/gen/bus.js';
import type { Service } from '../../../services/shared/contracts.js';

/** As bypassRule writes it. */
export const bypassedRule = '198.51.100.0/24 udp port 53';

export const dataplaneReport = (change: Partial<ServiceStats> = {}): ServiceStats =>
  ServiceStats.fromPartial({
    service: 'dataplane',
    id: 'DP1',
    startedMs: 1_700_000_000_000n,
    version: '0.1.0',
    counters: [
      { name: 'held', value: 3n },
      { name: 'heldTotal', value: 2n ** 60n },
      ...[
        'rxPackets',
        'rxBytes',
        'rxAuthFail',
        'rxError',
        'rxBad',
        'txPackets',
        'txBytes',
        'txError',
        'keyRotations',
        'staleEvents',
      ].map((name, i) => ({ name, value: BigInt(100 + i) })),
    ],
    pipes: [
      { pipe: 'egress_acl', hit: 70n, miss: 2n },
      { pipe: 'ingress_acl', hit: 60n, miss: 0n },
    ],
    drops: [
      { reason: 'no_peer', direction: 'egress', packets: 5n },
      { reason: 'icv_failure', direction: 'ingress', packets: 1n },
    ],
    ports: [
      {
        role: 'secured',
        name: 'eth1',
        mtu: 1500,
        up: true,
        rxPackets: 1n,
        rxBytes: 2n,
        txPackets: 3n,
        txBytes: 4n,
      },
      {
        role: 'unsecured',
        name: 'eth0',
        mtu: 1400,
        up: false,
        rxPackets: 5n,
        rxBytes: 6n,
        txPackets: 7n,
        txBytes: 8n,
      },
    ],
    traffic: [
      {
        name: 'b',
        egressPackets: 70n,
        egressBytes: 7000n,
        ingressPackets: 60n,
        ingressBytes: 6000n,
        lastEgressMs: 1_700_000_100_500n,
        lastIngressMs: 0n,
        keyedFlows: 2,
        inboundFlows: 3,
        lastKeyMs: 1_700_000_050_000n,
        greeting: 'answered',
        epoch: 5n,
        tunnelsLeft: 40,
      },
    ],
    lcores: [
      { rxPackets: 31n, txPackets: 32n },
      { rxPackets: 33n, txPackets: 34n },
    ],
    bypass: [{ rule: bypassedRule, egressPackets: 17n, ingressPackets: 18n }],
    terms: [
      {
        name: 'b',
        mode: Mode.MODE_TRANSPORT,
        authOnly: true,
        cookie: false,
        cryptOffset: 0,
        mtu: 0,
        samplingLog2: 3,
      },
    ],
    ingressAcl: false,
    generation: 4,
    generationMs: 1_700_000_000_250n,
    samplingLog2: 10,
    crypto: 'libcrypto',
    ...change,
  });

export const keyExchangeReport = (change: Partial<ServiceStats> = {}): ServiceStats =>
  ServiceStats.fromPartial({
    service: 'keyexchange',
    id: 'KX1',
    startedMs: 1_700_000_000_000n,
    version: '0.1.0',
    counters: [{ name: 'wants', value: 9n }],
    peers: [
      {
        name: 'b',
        breaker: 'closed',
        link: 'connected',
        linkSinceMs: 1_700_000_001_000n,
        exchanges: 6n,
        answered: 3n,
        refused: 2n,
        failed: 1n,
        lastAnswerMs: 1_700_000_002_000n,
        certificate: { kind: 'node', fingerprint: 'cd'.repeat(32), notAfterMs: 1_800_000_001_000n },
      },
    ],
    certificates: [
      { kind: 'node', fingerprint: 'ab'.repeat(32), notAfterMs: 1_800_000_000_000n },
      { kind: 'authority', fingerprint: 'ef'.repeat(32), notAfterMs: 1_900_000_000_000n },
    ],
    histograms: [
      { name: 'exchange', upperBounds: [0.001, 0.01], counts: [1n, 3n, 4n], sum: 0.5 },
      { name: 'answer', upperBounds: [0.001, 0.01], counts: [0n, 0n, 0n], sum: 0 },
    ],
    ...change,
  });

export const plainReport = (service: Service, id = 'X1', change: Partial<ServiceStats> = {}): ServiceStats =>
  ServiceStats.fromPartial({ service, id, startedMs: 1n, version: '0.1.0', ...change });
