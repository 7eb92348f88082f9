// SPDX-License-Identifier: Apache-2.0
// The contracts of a node: its services, and what may travel between them on the bus. The table of services has one row
// for each; what all services have alike follows from it (accounts, bus users and their rights, status, stats, audit). The
// table of contracts has subjects, kinds, senders, receivers and payloads. Nothing else names a subject, and the rights
// that nats-server grants each user are rendered from here. Two servers carry the messages: audit has one of its own, so
// that the bus keeps nothing on disk and no disk that is full or hangs can delay a key.
import {
  ConfigReload,
  ConfigReloaded,
  DataplaneStarted,
  DataplaneStatus,
  FlowAccept,
  FlowAccepted,
  FlowInstall,
  FlowInstalled,
  FlowRefuse,
  FlowRefused,
  FlowRemove,
  FlowRemoved,
  FlowsPage,
  FlowsQuery,
  FlowTrace,
  FlowWanted,
  KeyExchangeStatus,
  KeysRotate,
  KeysRotated,
  NodeReload,
  NodeReloaded,
  PeerGreet,
  PeerGreeted,
  PeerGreetedReply,
  PeerRotation,
  SampleBatch,
  SamplesTaken,
  SamplingSet,
  SamplingState,
  ServiceStats,
  ServiceStatus,
  StatusQuery,
  TraceQuery,
} from '../../proto/gen/bus.js';

/** The functions of a ts-proto message that the bus needs. */
export interface Codec<T> {
  encode(message: T): { finish(): Uint8Array };
  decode(octets: Uint8Array): T;
  /** With enums by their names. */
  toJSON?(message: T): unknown;
}

/** One service of a node. */
export interface ServiceRow {
  /** As the NATS services protocol shows it. */
  description: string;
  /** User and group that its process runs as; no other process may have it (process/privileges.ts). */
  uid: number;
  /** Whether it may read the node's bus secret, so that it can open seals. */
  readsBusSecret: boolean;
  /** Whether a node may have several of it; the dataplane owns ports and keys. */
  hasReplicas: boolean;
  /** Whether its standard output is that of `psp up`. */
  ownsStdout?: true;
  /** Its counters that may fall again; others only rise. */
  gauges: readonly string[];
  /** What it answers to `query.<service>.status`: at least the fields of ServiceStatus. */
  status: Codec<unknown>;
}

/** The services of a node, in the order of their start. */
const serviceTable = {
  dataplane: {
    description: 'Moves packets and arbitrates flows and keys',
    uid: 70_001,
    readsBusSecret: true,
    hasReplicas: false,
    gauges: [
      'held',
      'wanted',
      'keyed',
      'inboundFlows',
      'receiveSpis',
      'fragmentsWaiting',
      'neighbours',
      'neighbourQueued',
      'missesWaiting',
      'unlockedBytes',
      'wants',
      'heldDownFlows',
      'exchangesRemembered',
      'unansweredFlows',
    ],
    status: DataplaneStatus,
  },
  keyexchange: {
    description: 'Exchanges keys with other gateways',
    uid: 70_002,
    readsBusSecret: true,
    hasReplicas: true,
    gauges: [],
    status: KeyExchangeStatus,
  },
  sampler: {
    description: 'Writes sampled packets as lines and files',
    uid: 70_003,
    readsBusSecret: false,
    hasReplicas: true,
    ownsStdout: true,
    gauges: ['linesWaitingBytes', 'packetsWaitingBytes'],
    status: ServiceStatus,
  },
  stats: {
    description: 'Serves counters and health to monitoring',
    uid: 70_004,
    readsBusSecret: false,
    hasReplicas: true,
    gauges: ['replicas'],
    status: ServiceStatus,
  },
} as const satisfies Record<string, ServiceRow>;

export type Service = keyof typeof serviceTable;
export const services = Object.keys(serviceTable) as Service[];
export const serviceRow = (service: Service): ServiceRow => serviceTable[service];
/** Gauges that every service has. */
const commonGauges: readonly string[] = ['auditBacklog'];
/** Whether a counter of a service may fall again. */
export const isGauge = (service: Service, name: string): boolean =>
  serviceRow(service).gauges.includes(name) || commonGauges.includes(name);
/** What a service answers to a query of its status. */
export type StatusOf<S extends Service> =
  (typeof serviceTable)[S]['status'] extends Codec<infer Status> ? Status : never;

/** The servers of a node, each a nats-server: `bus` has no disk; `audit` has JetStream and nothing else. */
export const busServers = ['bus', 'audit'] as const;
export type BusServer = (typeof busServers)[number];

/** Who has an account on the bus: every service, and the operator's tools. */
export type BusUser = Service | 'operator';
export const busUsers: readonly BusUser[] = [...services, 'operator'];

interface Row<Service extends BusUser> {
  /** Below `psp.v1.<node>.`; with `perSender` one token, the sender's id, follows. Audit: see AuditContract. */
  subject: string;
  from: readonly BusUser[];
  to: readonly Service[];
  /** Replicas of the receiver share the messages; otherwise each receives all of them. */
  queue: boolean;
  perSender?: true;
}

/** A report of something that happened; it is not answered. */
export interface EventContract<T> extends Row<BusUser> {
  kind: 'event';
  payload: Codec<T>;
}

/** A request; the receiver answers. */
export interface RequestContract<T, R> extends Row<BusUser> {
  kind: 'request';
  payload: Codec<T>;
  reply: Codec<R>;
}

/**
 * An audit event; nats-server stores it in the stream and acknowledges it. The sender's incarnation and the tokens of the
 * event's type follow the subject.
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

const event = <T>(row: Omit<EventContract<T>, 'kind'>): EventContract<T> => ({ kind: 'event', ...row });
const request = <T, R>(row: Omit<RequestContract<T, R>, 'kind'>): RequestContract<T, R> => ({
  kind: 'request',
  ...row,
});

const perService = <Rows>(rowOf: (service: Service) => Contract): Rows =>
  Object.fromEntries(services.map((service) => [service, rowOf(service)])) as Rows;

/** The rows that every service has, by service. */
export const statusContracts = perService<{ [S in Service]: RequestContract<StatusQuery, StatusOf<S>> }>(
  (service) =>
    request({
      subject: `query.${service}.status`,
      from: ['operator'],
      to: [service],
      queue: !serviceRow(service).hasReplicas,
      payload: StatusQuery,
      reply: serviceRow(service).status,
    }),
);
export const statsContracts = perService<Record<Service, EventContract<ServiceStats>>>((service) =>
  event({
    subject: `stats.${service}`,
    from: [service],
    to: ['stats'],
    queue: false,
    perSender: true,
    payload: ServiceStats,
  }),
);
export const reloadContracts = perService<Record<Service, RequestContract<ConfigReload, ConfigReloaded>>>(
  (service) =>
    request({
      subject: `cmd.config.reload.${service}`,
      from: ['operator'],
      to: [service],
      queue: !serviceRow(service).hasReplicas,
      payload: ConfigReload,
      reply: ConfigReloaded,
    }),
);
export const auditContracts = perService<Record<Service, AuditContract>>((service) => ({
  kind: 'audit',
  subject: `audit.${service}`,
  from: [service],
  to: [],
  queue: false,
  payload: cloudEvent,
}));

const named = <Rows>(rows: Record<Service, Contract>, what: string): Rows =>
  Object.fromEntries(services.map((service) => [`${service}${what}`, rows[service]])) as Rows;

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
  flowRemove: request({
    subject: 'cmd.flow.remove',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: FlowRemove,
    reply: FlowRemoved,
  }),
  peerGreet: event({
    subject: 'evt.peer.greet',
    from: ['dataplane'],
    to: ['keyexchange'],
    queue: true,
    payload: PeerGreet,
  }),
  peerGreeted: request({
    subject: 'cmd.peer.greeted',
    from: ['keyexchange'],
    to: ['dataplane'],
    queue: true,
    payload: PeerGreeted,
    reply: PeerGreetedReply,
  }),
  keysRotate: request({
    subject: 'cmd.keys.rotate',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: KeysRotate,
    reply: KeysRotated,
  }),
  peerRotation: request({
    subject: 'cmd.peer.rotation',
    from: ['keyexchange'],
    to: ['dataplane'],
    queue: true,
    payload: PeerRotation,
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
  /** Answered by `psp up`, which supervises the node. */
  nodeReload: request({
    subject: 'cmd.node.reload',
    from: ['operator'],
    to: ['operator'],
    queue: false,
    payload: NodeReload,
    reply: NodeReloaded,
  }),
  /** A request, so that the dataplane can count the samples that no sampler accepted. */
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
  /** Copies of packets that could not be sealed or opened; answered as samples are. */
  captureFailed: request({
    subject: 'capture.failed',
    from: ['dataplane'],
    to: ['sampler'],
    queue: true,
    payload: SampleBatch,
    reply: SamplesTaken,
  }),
  dataplaneFlows: request({
    subject: 'query.dataplane.flows',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: FlowsQuery,
    reply: FlowsPage,
  }),
  dataplaneTrace: request({
    subject: 'query.dataplane.trace',
    from: ['operator'],
    to: ['dataplane'],
    queue: true,
    payload: TraceQuery,
    reply: FlowTrace,
  }),
  /** Each replica answers for its own exchanges. */
  keyexchangeTrace: request({
    subject: 'query.keyexchange.trace',
    from: ['operator'],
    to: ['keyexchange'],
    queue: false,
    payload: TraceQuery,
    reply: FlowTrace,
  }),
  ...named<{ [S in Service as `${S}Status`]: (typeof statusContracts)[S] }>(statusContracts, 'Status'),
  ...named<{ [S in Service as `${S}Reload`]: (typeof reloadContracts)[S] }>(reloadContracts, 'Reload'),
  ...named<{ [S in Service as `${S}Stats`]: EventContract<ServiceStats> }>(statsContracts, 'Stats'),
  ...named<{ [S in Service as `${S}Audit`]: AuditContract }>(auditContracts, 'Audit'),
} as const;

/** The server that carries a row. */
export const serverOf = ({ kind }: Contract): BusServer => (kind === 'audit' ? 'audit' : 'bus');

/** Matches every name of a node. Stored events keep the name under which they were published. */
export const anyNode = '*';

/** The stream that stores everything below `audit`, of all senders. */
export const auditStream = 'PSP_AUDIT';
export const auditSubjectsOf = (node: string): string => `psp.v1.${node}.audit.>`;

// biome-ignore lint/suspicious/noExplicitAny: rows of every payload type
export type Contract = EventContract<any> | RequestContract<any, any> | AuditContract;

/**
 * The subject of a contract's messages on one node. @param tail the last tokens in rows that are `perSender` or audit; by
 * default the wildcard for all of them.
 */
export function subjectOf(node: string, contract: Contract, tail?: string): string {
  const subject = `psp.v1.${node}.${contract.subject}`;
  if (contract.kind === 'audit') return `${subject}.${tail ?? '>'}`;
  return contract.perSender ? `${subject}.${tail ?? '*'}` : subject;
}

/** The subject of every message on one node's bus. */
export const everySubjectOf = (node: string): string => `psp.v1.${node}.>`;

/** The full subject for a name below `psp.v1.<node>.`, wildcards allowed. */
export const subjectBelow = (node: string, name: string): string => everySubjectOf(node).slice(0, -1) + name;

/** The inverse: the name below `psp.v1.<node>.`. */
export const nameBelow = (node: string, subject: string): string =>
  subject.slice(everySubjectOf(node).length - 1);

/** The row of messages with this name below `psp.v1.<node>.`. */
export const contractNamed = (name: string): Contract | undefined =>
  Object.values<Contract>(contracts).find(({ kind, subject, perSender }) => {
    if (kind === 'audit') return name.startsWith(`${subject}.`);
    return perSender ? name.slice(0, name.lastIndexOf('.')) === subject : name === subject;
  });

/** Queue group of a service's replicas. */
export const queueOf = (service: BusUser): string => service;

/** Prefix of the inbox that only this user may subscribe to. */
export const inboxPrefixOf = (user: BusUser): string => `_INBOX_${user}`;
