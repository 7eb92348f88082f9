// SPDX-License-Identifier: Apache-2.0
// Who records each type of audit event, when, and with which data: the table of docs/contracts.md is generated from here. It
// is apart from event.ts because no service needs it at run time. Texts are Markdown.
import type { AuditType } from './event.js';

export interface AuditHelp {
  /** The services that record it. */
  from: string;
  when: string;
  data: string;
}

/** A type has a row for each service that records it with other data. */
export const auditHelp: Readonly<Record<AuditType, readonly AuditHelp[]>> = {
  'service.started': [
    {
      from: 'all',
      when: 'a service has started',
      data: 'version; for the dataplane also its epoch',
    },
  ],
  'service.stopped': [
    {
      from: 'all',
      when: 'a service stops in order, or the engine stopped by itself',
      data: 'reason',
    },
  ],
  'config.loaded': [
    {
      from: 'all',
      when: 'at start',
      data: 'SHA-256 of the node file; VIPs and peers (64 of each at most) and their number; tunnels; trust domain; versions; sampling; peers with `insecureReferenceInterop`, peers with `authOnly`, peers with a crypt offset; whether the ingress ACL is enabled; number of entries of bypass; whether plaintext is sampled or captured',
    },
  ],
  'tunnel.up': [
    {
      from: 'dataplane',
      when: 'a flow gets its first egress key',
      data: 'local, remote, peer, SPI, version, which side started the exchange',
    },
  ],
  'tunnel.down': [
    {
      from: 'dataplane',
      when: "there is no space for its key (`tableFull`); a forced rotation ended the peer's key (`rotationForced`); its key has sealed as many packets as one key may (`keyWorn`); an operator removed it (`removed`)",
      data: 'local, remote, peer, direction, reason',
    },
  ],
  'tunnel.refused': [
    {
      from: 'dataplane',
      when: 'a peer refuses a flow that was requested alone; only the first of consecutive refusals',
      data: 'local, remote, peer, code, count, first and last time',
    },
    {
      from: 'keyexchange',
      when: 'this gateway refuses a peer: `VIP_NOT_OURS`, `VERSION_NOT_SPOKEN`, `MODE_MISMATCH`, `REQUEST_INVALID`, `RATE_LIMITED`',
      data: 'peer, code, detail, count, first and last time',
    },
  ],
  'peer.up': [
    {
      from: 'keyexchange',
      when: 'the link to a peer is established',
      data: 'peer, endpoint, number of changes of the link since the last event about it',
    },
  ],
  'peer.down': [
    {
      from: 'keyexchange',
      when: 'the link to a peer fails, or cannot be established after the start',
      data: 'peer, endpoint, code, detail, number of changes of the link since the last event about it',
    },
  ],
  'peer.restarted': [
    {
      from: 'dataplane',
      when: 'a peer states another epoch than before, because its dataplane has started anew, while there are keys of that peer',
      data: 'peer, epoch, number of flows whose keys are renewed',
    },
  ],
  'peer.unauthorized': [
    {
      from: 'keyexchange',
      when: 'a client presents an invalid certificate (`PEER_CERTIFICATE_INVALID`), requests with a valid one what it is not authorized for (`PEER_UNKNOWN`, `VIP_NOT_PEERS`, `UNDERLAY_NOT_ALLOWED`, `ROTATION_NOT_ALLOWED`), connects without TLS from an address of no such peer (`SOURCE_NOT_ALLOWED`), or two gateways use one identity (`IDENTITY_SHARED`)',
      data: 'peer if known, code, detail, count, first and last time',
    },
  ],
  'keys.rotated': [
    {
      from: 'dataplane',
      when: 'the master key is rotated',
      data: 'generation, initiator (`operator`, `peer`, `us`), why (`command`, `request`, `schedule`, `spis`: few SPIs were left), the peer that requested it (null: none), number of flows with new offers, number of flows cut',
    },
  ],
  'config.reloaded': [
    {
      from: 'all',
      when: 'a service applied a changed node file',
      data: 'initiator, SHA-256 of the node file, keys that were applied, keys that take a restart (64 of each at most)',
    },
  ],
  'config.refused': [
    { from: 'all', when: 'a node file was not applied, and nothing changed', data: 'initiator, code' },
  ],
  'sampling.changed': [
    {
      from: 'dataplane',
      when: 'a command changes the sampling rate',
      data: 'from, to, peer (null: all), initiator',
    },
  ],
  'bypass.configured': [
    {
      from: 'dataplane',
      when: 'at start, one for each entry of `bypass`',
      data: 'the rule: prefix, protocol, port',
    },
  ],
  'acl.disabled': [
    {
      from: 'dataplane',
      when: 'at start, if `ingressAcl` is false',
      data: '',
    },
  ],
  'link.changed': [
    {
      from: 'dataplane',
      when: "a port's link goes down, comes up or is removed (`state`); its interface gets another MTU (`mtu`) or MAC address (`mac`)",
      data: 'port, interface, what, from, to',
    },
  ],
  'certificates.reloaded': [
    {
      from: 'keyexchange',
      when: 'changed files in `tls` are in use from now on',
      data: 'SHA-256 fingerprint and end of our certificate, fingerprints of the authorities, number of revoked serial numbers and of refused fingerprints',
    },
  ],
  'certificate.expiring': [
    {
      from: 'keyexchange',
      when: 'our certificate, or that of an authority in `tls/ca.crt`, expires within 30, 7 or 1 days; after each start again',
      data: 'kind (`node`, `intermediate`, `authority`), subject, SHA-256 fingerprint, end, days',
    },
  ],
  'busSecret.replaced': [
    {
      from: 'dataplane, keyexchange',
      when: 'a changed `bus.secret` is in use from now on',
      data: 'none',
    },
  ],
  'audit.lost': [
    {
      from: 'all',
      when: 'events were numbered but never stored',
      data: 'first, last, count; `spoolFull` (no space on disk, or no disk), `spoolGone` (the disk was lost with them) or `streamRolledBack`',
    },
  ],
};
