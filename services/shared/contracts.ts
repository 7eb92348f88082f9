// SPDX-License-Identifier: Apache-2.0
// What may travel on a node's bus: the one table of subjects, kinds, senders, receivers and payloads. Nothing
// else names a subject, and the rights that nats-server grants each user are rendered from here. A row is
// built when something consumes it. Two servers carry it: audit has one of its own, so that the one with everything
// else keeps nothing on disk and no disk that is full or hangs can hold up a key.
import {
  DataplaneStarted,
  DataplaneStatus,
  FlowAccept,
  FlowAccepted,
  FlowInstall,
  FlowInstalled,
  FlowRefuse,
  FlowRefused,
  FlowsPage,
  FlowsQuery,
  FlowWanted,
  KeyExchangeStatus,
  KeysRotate,
  KeysRotated,
  SampleBatch,
  SamplesTaken,
  SamplingSet,
  SamplingState,
  ServiceStats,
  ServiceStatus,
  StatusQuery,
} from '../../proto/gen/bus.js';

/** The services of a node. */
export const services = ['dataplane', 'keyexchange', 'sampler', 'stats'] as const;
export type Service = (typeof services)[number];

/** The servers of a node, each a nats-server: `bus` has no disk; `audit` has JetStream and nothing else. */
export const busServers = ['bus', 'audit'] as const;
export type BusServer = (typeof busServers)[number];

/** Who has an account on the bus: every service, and the operator's tools. */
export const busUsers = [...services, 'operator'] as const;
export type BusUser = (typeof busUsers)[number];

/** The half of a ts-proto message that the bus needs. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(octets: Uint8Array): T;
  /** With enums by their names. */
  toJSON?(message: T): unknown;
}

interface Row<Service extends BusUser> {
  /** Below `psp.v1.<node>.`; with `perSender` one token, the sender's id, follows. Audit: see AuditContract. */
  subject: string;
  from: readonly BusUser[];
  to: readonly Service[];
  /** Replicas of the receiver share the messages; otherwise each hears all of them. */
  queue: boolean;
  perSender?: true;
}

/** Something that happened; nobody answers. */
export interface EventContract<T> extends Row<BusUser> {
  kind: 'event';
  payload: Codec<T>;
}

/** Something asked for; the receiver answers. */
export interface RequestContract<T, R> extends Row<BusUser> {
  kind: 'request';
  payload: Codec<T>;
  reply: Codec<R>;
}

/**
 * What a service tells the auditors; nats-server keeps it in the stream and acknowledges it. The sender's
 * incarnation and the tokens of the event's type follow the subject.
 */
export interface AuditContract extends Row<BusUser> {
  kind: 'audit';
  payload: Codec<unknown>;
}

/** A CloudEvent: JSON, because auditors' tools read JSON. */
const cloudEvent: Codec<unknown> = {
  encode: (message) => ({ finish: () => Buffer.from(JSON.stringify(message)) }),
  decode: (octets) => JSON.parse(Buffer.from(octets).toString()) as unknown,
};

const audit = (service: Service): AuditContract => ({
  kind: 'audit',
  subject: `audit.${service}`,
  from: [service],
  to: [],
  queue: false,
  payload: cloudEvent,
});
const event = <T>(row: Omit<EventContract<T>, 'kind'>): EventContract<T> => ({ kind: 'event', ...row });
const request = <T, R>(row: Omit<RequestContract<T, R>, 'kind'>): RequestContract<T, R> => ({
  kind: 'request',
  ...row,
});

export const contracts = {
  flowMissed: event({
    subject: 'evt.flow.missed',
    from: ['dataplane'],
    to: ['keyexchange'],
    queue: true,
    payload: FlowWanted,
  }),
  flowStale: event({
    subject: 'evt.flow.stale',
    from: ['dataplane'],
    to: ['keyexchange'],
    queue: true,
    payload: FlowWanted,
  }),
  flowAccept: request({
    subject: 'cmd.flow.accept',
    from: ['keyexchange'],
    to: ['dataplane'],
    queue: true,
    payload: FlowAccept,
    reply: FlowAccepted,
  }),
  flowInstall: request({
    subject: 'cmd.flow.install',
    from: ['keyexchange'],
    to: ['dataplane'],
    queue: true,
    payload: FlowInstall,
    reply: FlowInstalled,
  }),
  flowRefuse: request({
    subject: 'cmd.flow.refuse',
    from: ['keyexchange'],
    to: ['dataplane'],
    queue: true,
    payload: FlowRefuse,
    reply: FlowRefused,
  }),
  keysRotate: request({
    subject: 'cmd.keys.rotate',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: KeysRotate,
    reply: KeysRotated,
  }),
  dataplaneStarted: event({
    subject: 'evt.dataplane.started',
    from: ['dataplane'],
    to: ['keyexchange'],
    queue: false,
    payload: DataplaneStarted,
  }),
  samplingSet: request({
    subject: 'cmd.sampling.set',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: SamplingSet,
    reply: SamplingState,
  }),
  /** Answered, so that the dataplane knows how many samples nobody takes. */
  sampleEgress: request({
    subject: 'sample.egress',
    from: ['dataplane'],
    to: ['sampler'],
    queue: true,
    payload: SampleBatch,
    reply: SamplesTaken,
  }),
  sampleIngress: request({
    subject: 'sample.ingress',
    from: ['dataplane'],
    to: ['sampler'],
    queue: true,
    payload: SampleBatch,
    reply: SamplesTaken,
  }),
  /** Copies of packets that could not be sealed or did not open; answered as samples are. */
  captureFailed: request({
    subject: 'capture.failed',
    from: ['dataplane'],
    to: ['sampler'],
    queue: true,
    payload: SampleBatch,
    reply: SamplesTaken,
  }),
  dataplaneStatus: request({
    subject: 'query.dataplane.status',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: StatusQuery,
    reply: DataplaneStatus,
  }),
  dataplaneFlows: request({
    subject: 'query.dataplane.flows',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: FlowsQuery,
    reply: FlowsPage,
  }),
  keyExchangeStatus: request({
    subject: 'query.keyexchange.status',
    from: ['operator'],
    to: ['keyexchange'],
    queue: false,
    payload: StatusQuery,
    reply: KeyExchangeStatus,
  }),
  samplerStatus: request({
    subject: 'query.sampler.status',
    from: ['operator'],
    to: ['sampler'],
    queue: false,
    payload: StatusQuery,
    reply: ServiceStatus,
  }),
  statsStatus: request({
    subject: 'query.stats.status',
    from: ['operator'],
    to: ['stats'],
    queue: false,
    payload: StatusQuery,
    reply: ServiceStatus,
  }),
  dataplaneStats: event({
    subject: 'stats.dataplane',
    from: ['dataplane'],
    to: ['stats'],
    queue: false,
    perSender: true,
    payload: ServiceStats,
  }),
  keyExchangeStats: event({
    subject: 'stats.keyexchange',
    from: ['keyexchange'],
    to: ['stats'],
    queue: false,
    perSender: true,
    payload: ServiceStats,
  }),
  samplerStats: event({
    subject: 'stats.sampler',
    from: ['sampler'],
    to: ['stats'],
    queue: false,
    perSender: true,
    payload: ServiceStats,
  }),
  statsStats: event({
    subject: 'stats.stats',
    from: ['stats'],
    to: ['stats'],
    queue: false,
    perSender: true,
    payload: ServiceStats,
  }),
  dataplaneAudit: audit('dataplane'),
  keyExchangeAudit: audit('keyexchange'),
  samplerAudit: audit('sampler'),
  statsAudit: audit('stats'),
} as const;

/** The row under which a service tells the auditors. */
export const auditContractOf = {
  dataplane: contracts.dataplaneAudit,
  keyexchange: contracts.keyExchangeAudit,
  sampler: contracts.samplerAudit,
  stats: contracts.statsAudit,
} as const satisfies Record<Service, AuditContract>;

/** The server that carries a row. */
export const serverOf = ({ kind }: Contract): BusServer => (kind === 'audit' ? 'audit' : 'bus');

/** In place of a node's name: whatever a node was called. Events that are stored keep the name that they came under. */
export const anyNode = '*';

/** The stream that keeps what is below `audit`, whoever sent it. */
export const auditStream = 'PSP_AUDIT';
export const auditSubjectsOf = (node: string): string => `psp.v1.${node}.audit.>`;

// biome-ignore lint/suspicious/noExplicitAny: rows of every payload type
export type Contract = EventContract<any> | RequestContract<any, any> | AuditContract;

/**
 * Where a contract's messages travel on one node. @param tail what follows in rows that are `perSender` or audit;
 * by default the wildcard that hears all.
 */
export function subjectOf(node: string, contract: Contract, tail?: string): string {
  const subject = `psp.v1.${node}.${contract.subject}`;
  if (contract.kind === 'audit') return `${subject}.${tail ?? '>'}`;
  return contract.perSender ? `${subject}.${tail ?? '*'}` : subject;
}

/** Everything that travels on one node's bus. */
export const everySubjectOf = (node: string): string => `psp.v1.${node}.>`;

/** What the operator names below `psp.v1.<node>.`, wildcards allowed, as the bus knows it. */
export const subjectBelow = (node: string, name: string): string => everySubjectOf(node).slice(0, -1) + name;

/** The inverse: what stands below `psp.v1.<node>.`. */
export const nameBelow = (node: string, subject: string): string =>
  subject.slice(everySubjectOf(node).length - 1);

/** The row of messages that travel below `psp.v1.<node>.` under this name. */
export const contractNamed = (name: string): Contract | undefined =>
  Object.values<Contract>(contracts).find(({ kind, subject, perSender }) => {
    if (kind === 'audit') return name.startsWith(`${subject}.`);
    return perSender ? name.slice(0, name.lastIndexOf('.')) === subject : name === subject;
  });

/** Queue group of a service's replicas. */
export const queueOf = (service: BusUser): string => service;

/** Prefix of the inbox that only this user may subscribe to. */
export const inboxPrefixOf = (user: BusUser): string => `_INBOX_${user}`;
