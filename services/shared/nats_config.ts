// SPDX-License-Identifier: Apache-2.0
// nats-server's configuration, rendered from the contract table at each start. Every user gets exactly the
// subjects of its rows: senders may publish them, receivers may subscribe to them, as a queue group only where
// the row says so, and nobody may hear another's inbox. The operator is the node's administrator: it may hear
// everything and ask, but never take a message from a service by joining its queue. Of the audit stream a service
// may ask for single messages, which is how it finds what it has to publish; the operator may make, widen and
// read it; nobody may delete or purge anything in it. Written as JSON, which nats-server reads as it is.
import {
  auditStream,
  type BusUser,
  busUsers,
  contracts,
  everySubjectOf,
  inboxPrefixOf,
  queueOf,
  services,
  subjectOf,
} from './contracts.js';

/** What one user may do, in nats-server's words: a subject, or "subject queue" for queue groups only. */
export interface Rights {
  publish: string[];
  subscribe: string[];
  denySubscribe: string[];
  /** May answer each message that it hears, once. */
  responds: boolean;
}

/** Largest message; a page of 1000 flows takes about 100 kB. */
const maxPayload = 1024 * 1024;

const isService = (user: BusUser): boolean => (services as readonly BusUser[]).includes(user);

/** What the services protocol asks of a service by name; the shortest form is asked of all. */
const serviceVerbs = ['PING', 'INFO', 'STATS'] as const;

/** How a single message of the audit stream is asked for. */
const auditMessage = `$JS.API.STREAM.MSG.GET.${auditStream}`;
/** Making the audit stream, and reading it in order through a consumer that the server forgets by itself. */
const auditDesk = [
  ...['CREATE', 'UPDATE', 'INFO'].map((verb) => `$JS.API.STREAM.${verb}.${auditStream}`),
  ...['CREATE', 'INFO', 'DELETE', 'MSG.NEXT'].map((verb) => `$JS.API.CONSUMER.${verb}.${auditStream}.>`),
];

export function rightsOf(node: string, user: BusUser): Rights {
  const publish = new Set<string>();
  const subscribe = new Set<string>([`${inboxPrefixOf(user)}.>`]);
  for (const row of Object.values(contracts)) {
    const subject = subjectOf(node, row);
    if ((row.from as readonly BusUser[]).includes(user)) publish.add(subject);
    if ((row.to as readonly BusUser[]).includes(user)) {
      subscribe.add(row.queue ? `${subject} ${queueOf(user)}` : subject);
    }
  }
  publish.add(auditMessage);
  if (isService(user)) {
    for (const verb of serviceVerbs) {
      subscribe.add(`$SRV.${verb}`).add(`$SRV.${verb}.${user}`).add(`$SRV.${verb}.${user}.*`);
    }
    return { publish: [...publish], subscribe: [...subscribe], denySubscribe: [], responds: true };
  }
  for (const subject of ['$SRV.>', ...auditDesk]) publish.add(subject);
  return {
    publish: [...publish],
    subscribe: [`${inboxPrefixOf(user)}.>`, everySubjectOf(node)],
    denySubscribe: [`${everySubjectOf(node)} >`],
    responds: false,
  };
}

export interface NatsConfigOptions {
  node: string;
  /** host:port, as in the node file. */
  listen: string;
  passwords: Readonly<Record<BusUser, string>>;
  jetStream: {
    /** Folder that belongs to nats-server alone. */
    folder: string;
    /** What the audit stream may keep. */
    streamBytes: number;
  };
}

/** For the server's own notes beside the stream. */
const fileMarginBytes = 64 * 1024 * 1024;
/** Readers' consumers live in memory. */
const memoryBytes = 16 * 1024 * 1024;

/** The text of nats.conf. It holds the passwords: only nats-server may read it. Logs go to stderr by default. */
export function renderNatsConfig({ node, listen, passwords, jetStream }: NatsConfigOptions): string {
  const users = busUsers.map((user) => {
    const { publish, subscribe, denySubscribe, responds } = rightsOf(node, user);
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
  const config = {
    server_name: `psp-${node}`,
    listen,
    max_payload: maxPayload,
    jetstream: {
      store_dir: jetStream.folder,
      max_file_store: jetStream.streamBytes + fileMarginBytes,
      max_memory_store: memoryBytes,
    },
    authorization: { users },
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}
