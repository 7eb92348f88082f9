// SPDX-License-Identifier: Apache-2.0
// The one table of audit event types and their data, and their envelope, CloudEvents 1.0 in JSON. A producer is one start
// of a service: its incarnation is random, its events are numbered from 1 without gaps, and `<incarnation>-<sequence>`
// identifies each of them. No event contains a key byte.
import { CloudEvent } from 'cloudevents';
import type { Service } from '../contracts.js';

/** One direction of a tunnel in an operator's terms: our VIP and the peer's. */
interface Tunnel {
  local: string;
  remote: string;
  peer: string;
}

/** Who caused an event: this gateway, a peer, or the operator by a command. */
export type Cause = 'us' | 'peer' | 'operator';

/** Occurrences that were joined into one event, between the first and the last; unix time in ISO 8601. */
interface Joined {
  count: number;
  firstTime: string;
  lastTime: string;
}

/** The data of each type of event. */
export interface AuditData {
  'service.started': { version: string; epoch?: string };
  /** failed: the engine stopped by itself. */
  'service.stopped': { reason: 'asked' | 'failed' };
  /** The configuration of the process until it ends. */
  'config.loaded': {
    /** Of the node file, in hex. */
    sha256: string;
    vips: readonly string[];
    peers: readonly string[];
    /** Totals, because the lists above are cut. */
    vipCount: number;
    peerCount: number;
    tunnels: number;
    trustDomain: string;
    versions: readonly number[];
    /** One of 2^n packets is sampled; null: none. */
    samplingEgressLog2: number | null;
    /** Peers with which keys are exchanged in plaintext (insecureReferenceInterop). */
    insecurePeers: readonly string[];
    /** Peers whose traffic is authenticated and not encrypted. */
    authOnlyPeers: readonly string[];
    /** Peers to which packets leave with plaintext up to an offset. */
    cryptOffsetPeers: readonly string[];
    ingressAcl: boolean;
    /** Entries. */
    bypass: number;
    /** Whether sampled packets of hosts are stored in plaintext. */
    samplingPlain: boolean;
    /** Whether packets of hosts that cannot be sealed are stored in plaintext. */
    captureEgress: boolean;
  };
  /** A flow got its first egress key. */
  'tunnel.up': Tunnel & { spi: string; version: number; asked: Cause };
  /** egress: packets can no longer be sealed for it; ingress: the peer's packets can no longer be opened. */
  'tunnel.down': Tunnel & {
    direction: 'egress' | 'ingress';
    reason: 'tableFull' | 'rotationForced' | 'keyWorn' | 'removed';
  };
  /** by peer: it refused us, the tunnel is the latest one; by us: our refusals. Both are joined when there are many. */
  'tunnel.refused':
    | (Tunnel & { by: 'peer'; code: string } & Joined)
    | ({ by: 'us'; peer: string; code: string; detail: string } & Joined);
  /** The link to a peer was established; changes: how often it changed since the last such event. */
  'peer.up': { peer: string; endpoint: string; changes: number };
  /** The link to a peer failed, or could not be established at first. */
  'peer.down': { peer: string; endpoint: string; code: string; detail: string; changes: number };
  /** A peer uses an epoch other than before, so its dataplane started anew; the keys of so many flows are renewed. */
  'peer.restarted': { peer: string; epoch: string; flows: number };
  /** An invalid certificate was presented, or a valid one was used for a request that its owner may not make. */
  'peer.unauthorized': { code: string; peer: string | null; detail: string } & Joined;
  'keys.rotated': {
    generation: number;
    by: Cause;
    /** command of an operator, request of a peer, schedule, or few SPIs left. */
    why: 'command' | 'request' | 'schedule' | 'spis';
    /** The peer that requested it; null: none did. */
    peer: string | null;
    reofferedFlows: number;
    cutFlows: number;
  };
  /** One of 2^n packets is sampled; null: none. */
  /** The service applied a changed node file. */
  'config.reloaded': {
    /** Who requested it: `operator` or `SIGHUP`. */
    by: string;
    /** SHA-256 of the node file, in hex. */
    sha256: string;
    /** Keys that were applied, and keys that take a restart (64 of each at most). */
    applied: readonly string[];
    restartKeys: readonly string[];
  };
  /** A node file could not be applied; nothing changed. */
  'config.refused': { by: string; code: string };
  'sampling.changed': {
    from: number | null;
    to: number | null;
    /** null: towards all. */
    peer: string | null;
    by: Cause;
  };
  /** One entry of `bypass` in the node file, in force from the start on. */
  'bypass.configured': { rule: string };
  /** The node file says `ingressAcl: false`. */
  'acl.disabled': Record<string, never>;
  /** The link of a port changed while the dataplane ran: up, down or removed; the interface's MTU; its MAC address. */
  'link.changed': {
    port: 'unsecured' | 'secured';
    interface: string;
    what: 'state' | 'mtu' | 'mac';
    from: string | number;
    to: string | number;
  };
  /** Changed TLS files are in use from now on; fingerprints are SHA-256 in hex. */
  'certificates.reloaded': {
    fingerprint: string;
    validUntil: string;
    authorities: readonly string[];
    /** Serial numbers in revocation lists, and refused fingerprints. */
    revoked: number;
    refused: number;
  };
  /** A certificate of this node, or of an authority that it trusts, expires within so many days. */
  'certificate.expiring': {
    kind: string;
    subject: string;
    fingerprint: string;
    validUntil: string;
    days: number;
  };
  /** A changed bus secret is in use from now on. */
  'busSecret.replaced': Record<string, never>;
  /** Events with these numbers were never stored. */
  'audit.lost': {
    first: number;
    last: number;
    count: number;
    reason: 'spoolFull' | 'spoolGone' | 'streamRolledBack';
  };
}

export type AuditType = keyof AuditData;

/** One start of a service. */
export interface Producer {
  node: string;
  service: Service;
  /** 16 hex digits. */
  incarnation: string;
}

/** An event as auditors read it. */
export interface AuditEvent {
  id: string;
  source: string;
  type: string;
  time: string;
  incarnation: string;
  sequence: number;
  data: Readonly<Record<string, unknown>>;
}

const prefix = 'psp.';

const sourceOf = ({ node, service }: Producer): string => `psp:/${node}/${service}`;
export const idOf = (incarnation: string, sequence: number): string => `${incarnation}-${sequence}`;

/**
 * One event as JSON. `sequence` is a string, as the extension of that name wants it, and `sequencetype` says that
 * it counts from 1. @param isChecked validates the event against the schema of CloudEvents, which takes as long as
 * everything else here; the types comply with it anyway. @throws Error when it is invalid.
 */
export function envelopeOf<T extends AuditType>(
  producer: Producer,
  sequence: number,
  type: T,
  data: AuditData[T],
  timeMs: number,
  isChecked = false,
): string {
  const { incarnation } = producer;
  const event = new CloudEvent(
    {
      id: idOf(incarnation, sequence),
      source: sourceOf(producer),
      type: `${prefix}${type}`,
      time: new Date(timeMs).toISOString(),
      datacontenttype: 'application/json',
      incarnation,
      sequence: String(sequence),
      sequencetype: 'Integer',
      data,
    },
    isChecked,
  );
  return JSON.stringify(event);
}

/** The tokens that end the subject of an event. */
export const tailOf = ({ incarnation, type }: Pick<AuditEvent, 'incarnation' | 'type'>): string =>
  `${incarnation}.${type}`;

/** Reads an event. @returns undefined for octets that are no event of a gateway. `type` is without its prefix. */
export function readEvent(octets: Uint8Array): AuditEvent | undefined {
  let event: unknown;
  try {
    event = JSON.parse(Buffer.from(octets.buffer, octets.byteOffset, octets.length).toString());
  } catch {
    return undefined;
  }
  if (typeof event !== 'object' || event === null) return undefined;
  const { id, source, type, time, incarnation, sequence, data } = event as Record<string, unknown>;
  const number = Number(sequence);
  if (![id, source, type, time, incarnation].every((each) => typeof each === 'string')) return undefined;
  if (!Number.isSafeInteger(number) || number < 1 || !(type as string).startsWith(prefix)) return undefined;
  return {
    id: id as string,
    source: source as string,
    type: (type as string).slice(prefix.length),
    time: time as string,
    incarnation: incarnation as string,
    sequence: number,
    data: typeof data === 'object' && data !== null ? { ...data } : {},
  };
}
