// SPDX-License-Identifier: Apache-2.0
// What auditors are told: the one table of event types and what each carries, and its envelope, CloudEvents 1.0 in
// JSON. A producer is one start of a service: its incarnation is random, its events are numbered from 1 without
// gaps, and `<incarnation>-<sequence>` names each for ever. No key byte has a place here.
import { CloudEvent } from 'cloudevents';
import type { Service } from '../contracts.js';

/** One direction of a tunnel as an operator writes it: our VIP and the peer's. */
interface Tunnel {
  local: string;
  remote: string;
  peer: string;
}

/** Who brought something about: this gateway, a peer, the operator's command. */
export type Cause = 'us' | 'peer' | 'operator';

/** Everything between the first and the last of what was joined into one event, unix time in ISO 8601. */
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
  /** What the process runs by, until it ends. */
  'config.loaded': {
    /** Of the node file, in hex. */
    sha256: string;
    vips: readonly string[];
    peers: readonly string[];
    /** Beyond the lists above, which are cut. */
    vipCount: number;
    peerCount: number;
    tunnels: number;
    trustDomain: string;
    versions: readonly number[];
    /** One of 2^n packets is sampled; null: none. */
    samplingEgressLog2: number | null;
    /** Traffic with them is authenticated and not encrypted. */
    authOnlyPeers: readonly string[];
    /** What we send to them stays readable up to an offset. */
    cryptOffsetPeers: readonly string[];
    ingressAcl: boolean;
    /** Entries. */
    bypass: number;
    /** Plaintext of hosts is stored when it is sampled. */
    samplingPlain: boolean;
    /** Plaintext of hosts is stored when it cannot be sealed. */
    captureEgress: boolean;
  };
  /** A flow got its first egress key. */
  'tunnel.up': Tunnel & { spi: string; version: number; asked: Cause };
  /** egress: we cannot seal for it any more; ingress: the peer's packets will not open any more. */
  'tunnel.down': Tunnel & { direction: 'egress' | 'ingress'; reason: 'tableFull' | 'rotationForced' };
  /** by peer: it refused us, one event for each flow; by us: what we answered, joined when there are many. */
  'tunnel.refused':
    | (Tunnel & { by: 'peer'; code: string })
    | ({ by: 'us'; peer: string; code: string; detail: string } & Joined);
  /** The link to a peer was established; changes: how often it came and went since the last such event. */
  'peer.up': { peer: string; endpoint: string; changes: number };
  /** The link to a peer failed, or could not be established at first. */
  'peer.down': { peer: string; endpoint: string; code: string; detail: string; changes: number };
  /** Somebody presented a bad certificate, or asked with a good one for what is not his. */
  'peer.stranger': { code: string; peer: string | null; detail: string } & Joined;
  'keys.rotated': { generation: number; by: Cause; reofferedFlows: number; cutFlows: number };
  /** One of 2^n packets is sampled; null: none. */
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
  /** These numbers were never stored. */
  'audit.lost': {
    first: number;
    last: number;
    count: number;
    reason: 'spoolFull' | 'spoolGone' | 'streamRolledBack';
  };
}

export type AuditType = keyof AuditData;

/** Every type, for those who must know them all. */
export const auditTypes = [
  'service.started',
  'service.stopped',
  'config.loaded',
  'tunnel.up',
  'tunnel.down',
  'tunnel.refused',
  'peer.up',
  'peer.down',
  'peer.stranger',
  'keys.rotated',
  'sampling.changed',
  'bypass.configured',
  'acl.disabled',
  'link.changed',
  'audit.lost',
] as const satisfies readonly AuditType[];

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

export const sourceOf = ({ node, service }: Producer): string => `psp:/${node}/${service}`;
export const idOf = (incarnation: string, sequence: number): string => `${incarnation}-${sequence}`;

/**
 * One event as JSON. `sequence` is a string, as the extension of that name wants it, and `sequencetype` says that
 * it counts from 1. @param isChecked holds it against the schema of CloudEvents, which takes as long as all else;
 * the types keep to it anyway. @throws Error when it does not.
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

/** The tail of the subject that an event travels on. */
export const tailOf = ({ incarnation, type }: Pick<AuditEvent, 'incarnation' | 'type'>): string =>
  `${incarnation}.${type}`;

/** Reads an event. @returns undefined where the octets hold none of ours. `type` is without its prefix. */
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
