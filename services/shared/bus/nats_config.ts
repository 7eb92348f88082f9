// SPDX-License-Identifier: Apache-2.0
// The configurations of a node's two nats-servers, rendered from the contract table at each start. Every user gets
// exactly the subjects of its rows: senders may publish them, receivers may subscribe to them, as a queue group only
// where the row says so, and no user may receive another's inbox. The operator is the node's administrator: it may receive
// everything and send requests, but never take a message from a service by joining its queue. A service may get single
// messages of the audit stream, which is how it finds what it has to publish; the operator may create, widen and read the
// stream; no user may delete or purge anything in it. JetStream publishes its answers itself, to any subject that a
// request names, so its server carries no message that a service acts upon. The configurations are JSON, which nats-server
// reads, too.
import {
  auditStream,
  auditSubjectsOf,
  type BusServer,
  type BusUser,
  busUsers,
  contracts,
  everySubjectOf,
  inboxPrefixOf,
  queueOf,
  serverOf,
  services,
  subjectOf,
} from '../contracts.js';

/** The rights of one user, as nats-server writes them: a subject, or "subject queue" for queue groups only. */
export interface Rights {
  publish: string[];
  subscribe: string[];
  denySubscribe: string[];
  /** May answer each message that it receives, once. */
  responds: boolean;
}

/** Largest message; a page of 1000 flows takes about 100 kB. */
const maxPayload = 1024 * 1024;

const isService = (user: BusUser): boolean => (services as readonly BusUser[]).includes(user);

/** Requests of the NATS services protocol to a service by name; the shortest form goes to all services. */
const serviceVerbs = ['PING', 'INFO', 'STATS'] as const;

/** The request for a single message of the audit stream. */
const auditMessage = `$JS.API.STREAM.MSG.GET.${auditStream}`;
/** Requests that create the audit stream, and read it in order through a consumer that the server removes by itself. */
const auditRequests = [
  ...['CREATE', 'UPDATE', 'INFO'].map((verb) => `$JS.API.STREAM.${verb}.${auditStream}`),
  ...['CREATE', 'INFO', 'DELETE', 'MSG.NEXT'].map((verb) => `$JS.API.CONSUMER.${verb}.${auditStream}.>`),
];

/** The rights of a user on one of the servers. */
export function rightsOf(node: string, user: BusUser, server: BusServer): Rights {
  const publish = new Set<string>();
  const subscribe = new Set<string>([`${inboxPrefixOf(user)}.>`]);
  for (const row of Object.values(contracts).filter((each) => serverOf(each) === server)) {
    const subject = subjectOf(node, row);
    if ((row.from as readonly BusUser[]).includes(user)) publish.add(subject);
    if ((row.to as readonly BusUser[]).includes(user)) {
      subscribe.add(row.queue ? `${subject} ${queueOf(user)}` : subject);
    }
  }
  if (server === 'audit') publish.add(auditMessage);
  if (!isService(user)) return operatorRights(node, server, publish);
  if (server === 'bus') {
    for (const verb of serviceVerbs) {
      subscribe.add(`$SRV.${verb}`).add(`$SRV.${verb}.${user}`).add(`$SRV.${verb}.${user}.*`);
    }
  }
  return { publish: [...publish], subscribe: [...subscribe], denySubscribe: [], responds: server === 'bus' };
}

function operatorRights(node: string, server: BusServer, publish: ReadonlySet<string>): Rights {
  const every = server === 'bus' ? everySubjectOf(node) : auditSubjectsOf(node);
  const requests = server === 'bus' ? ['$SRV.>'] : auditRequests;
  return {
    publish: [...publish, ...requests],
    subscribe: [`${inboxPrefixOf('operator')}.>`, every],
    denySubscribe: [`${every} >`],
    // `psp up` answers cmd.node.reload.
    responds: server === 'bus',
  };
}

export interface NatsConfigOptions {
  node: string;
  /** host:port, as in the node file. */
  listen: string;
  passwords: Readonly<Record<BusUser, string>>;
}

export interface AuditConfigOptions extends NatsConfigOptions {
  /** Folder that belongs to nats-server alone. */
  folder: string;
  /** What the audit stream may keep. */
  streamBytes: number;
}

/** For the server's own files beside the stream. */
const fileMarginBytes = 64 * 1024 * 1024;
/** Consumers of readers are in memory. */
const memoryBytes = 16 * 1024 * 1024;

/** The configuration of the bus server. It contains passwords: only nats-server may read it. */
export const renderBusConfig = (options: NatsConfigOptions): string => textOf(commonOf(options, 'bus'));

/** The configuration of the audit server. It contains passwords, too. */
export const renderAuditConfig = ({ folder, streamBytes, ...options }: AuditConfigOptions): string =>
  textOf({
    ...commonOf(options, 'audit'),
    jetstream: {
      store_dir: folder,
      max_file_store: streamBytes + fileMarginBytes,
      max_memory_store: memoryBytes,
    },
  });

const textOf = (config: object): string => `${JSON.stringify(config, undefined, 2)}\n`;

/** The name of one of the servers of a node. */
export const serverName = (node: string, server: BusServer): string => `psp-${node}-${server}`;

/** Logs go to stderr by default. */
function commonOf({ node, listen, passwords }: NatsConfigOptions, server: BusServer) {
  const users = busUsers.map((user) => {
    const { publish, subscribe, denySubscribe, responds } = rightsOf(node, user, server);
    return {
      user,
      password: passwords[user],
      permissions: {
        publish: publish.length > 0 ? { allow: publish } : { deny: ['>'] },
        subscribe: { allow: subscribe, ...(denySubscribe.length > 0 ? { deny: denySubscribe } : {}) },
        ...(responds ? { allow_responses: true } : {}),
      },
    };
  });
  return { server_name: serverName(node, server), listen, max_payload: maxPayload, authorization: { users } };
}
