// SPDX-License-Identifier: Apache-2.0
// What each counter and gauge of a service counts, by the name under which it is reported: the tables of
// docs/operations.md are generated from here. The engine's are in native/engine/values.h, those of the PSP specification in
// spec_counters.ts, and the gauges are listed in contracts.ts. Texts are Markdown.

/** What every service reports. */
export const commonCounters = {
  busUnsent: 'Messages that found no connection to the bus or exceeded 1 MiB.',
  busOverrun: 'Messages rejected because too much work was in progress.',
  busMalformed: 'Messages that could not be decoded.',
  auditRecorded: 'Audit events synced to disk.',
  auditPublished: 'Audit events that the stream acknowledged.',
  auditLost: 'Audit events that were numbered, but not stored.',
  auditBacklog: 'Audit events that are synced, and not yet in the stream.',
  logDropped: 'Log lines that nobody read in time.',
} as const;

/** What a service reports besides, in the order of the documentation. */
export const ownCounters = {
  dataplane: {
    wants: 'Flows to request from peers.',
    heldDownFlows: 'Flows in hold-down.',
    exchangesRemembered: 'Exchanges whose late answers still count.',
    unansweredFlows: 'Inbound flows whose peer has not answered the last rotation.',
    exchanges: 'Exchanges that this gateway started.',
    offersFailed: 'Exchanges for which the engine could not make offers.',
    answered: 'Exchanges that ended with a key.',
    late: 'Installs whose exchange was over.',
    superseded: 'Installs of an offer older than the one in place.',
    accepted: 'Exchanges that peers started.',
    refused: 'Exchanges that peers refused.',
    unanswered: 'Exchanges that timed out.',
    reoffered: 'Offers repeated for rotations.',
    renewed: 'Exchanges that replace an egress key while it stays in use.',
    keyRotations: 'Rotations of the master key.',
    staleEvents: 'Flows that a rotation cut, because their peer still used the wiped key.',
    greetingsSent: 'Greetings to peers.',
    greetingsReceived: 'Greetings of peers.',
    peerRestarts: 'Times that a peer used a new epoch while there were keys of another.',
    unknownSpisReported: 'Unknown SPIs that our greetings named.',
    removed: 'Tunnels that were removed by command.',
    unknownSpisRenewed:
      'Egress keys in use that a greeting of their peer named as unknown, and that are renewed.',
    samplesDelivered: 'Samples that a sampler accepted.',
    samplesDropped: 'Samples dropped because there was no bus, no sampler, or a sampler that was too slow.',
    samplesUnanswered: 'Samples sent to a sampler that did not answer in time.',
    capturesDelivered: 'Captured packets that a sampler accepted.',
    capturesDropped: 'Captured packets dropped for the reasons of `samplesDropped`.',
    capturesUnanswered: 'Captured packets sent to a sampler that did not answer in time.',
  },
  keyexchange: {
    wants: 'Wants received from the dataplane.',
    wantsExpired: 'Wants dropped because of their age.',
    wantsReplayed: 'Wants dropped as duplicates.',
    wantsDeferred:
      'Wants that were not sent, or not carried out, because their peer limits the rate of our requests.',
    tunnelsInstalled: 'Tunnels whose egress key the dataplane installed.',
    tunnelsNotInFlight: 'Tunnels whose key came too late: the exchange was over.',
    tunnelsSuperseded: 'Tunnels whose key was older than the one in place.',
    tunnelsTableFull: 'Tunnels whose key found the flow table full.',
    requests: 'Requests of peers.',
    requestsAnswered: 'Requests of peers answered with offers.',
    requestsResent: 'Requests sent to the dataplane again after `STALE`.',
    greetings: 'Greetings to peers.',
    greetingsAnswered: 'Greetings that their peer answered.',
    greetingsUnsupported: 'Greetings to peers whose application does not know them.',
    greetingsFailed: 'Greetings without an answer; the dataplane repeats them while they are needed.',
    greetingsReceived: 'Greetings of peers.',
    rotationRequests: 'Rotations of our master key that peers requested, refused ones included.',
    requestsCut: 'Requests that did not arrive as a whole within 10 s; their connection was closed.',
    handshakesEvicted:
      'Connections closed before the end of their TLS handshake: the oldest of more than 32 of one address, or of 1024 in all.',
    connectionsEvicted:
      'Connections closed because their peer had more than `keyExchange.limits.connections`; clients without a configured identity share one such limit.',
  },
  sampler: {
    samplesTaken: 'Samples accepted.',
    linesWritten: 'Lines written to standard output.',
    linesDropped: 'Lines dropped because the buffer was full or the reader gone.',
    linesWaitingBytes: 'Octets of lines that wait to be written.',
    packetsWritten: 'Packets written to files.',
    packetsDropped: 'Packets dropped because the buffer was full.',
    packetsWaitingBytes: 'Octets of packets that wait to be written.',
    filesOpened: 'Files opened.',
    filesRemoved: 'Files removed because there were too many.',
    filesVanished: 'Own files that another process removed.',
    writesFailed: 'Failed write attempts on either output.',
    batchesMalformed: 'Batches rejected because a sample in them was malformed.',
  },
  stats: {
    replicas: 'Replicas of services that it has reports of.',
    reportsAccepted: 'Reports accepted.',
    reportsRejected: 'Reports rejected because they name another service or an invalid id.',
    replicasRefused: 'Reports of a 17th replica of a service.',
    rowsLeftOut: 'Rows of reports that exceed the limits, are duplicates, or name unknown peers.',
    pagesServed: 'Pages served.',
    pagesRefused:
      'Requests refused: for another page, with a method other than GET and HEAD, or pipelined on one connection.',
    requestsMalformed: 'Input that was no request, had more than 8 KiB of headers, or took longer than 5 s.',
    connectionsRefused: 'Connections beyond 64.',
    connectionsOverdue: 'Connections closed because the client had not read its page after 15 s.',
  },
} as const;

/** The counters of a service that are its own. */
export type OwnCounters<S extends keyof typeof ownCounters> = Record<
  keyof (typeof ownCounters)[S],
  number | bigint
>;
