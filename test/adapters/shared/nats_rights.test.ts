// SPDX-License-Identifier: Apache-2.0
// Tries every permission and every forbidden action of every user on a real nats-server. The expectation is derived
// here from the contract table, not from the code that renders the configuration.
import { readFileSync, writeFileSync } from 'node:fs';
import { connect, createInbox, Events, type NatsConnection, type NatsError } from 'nats';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type BusServer,
  type BusUser,
  busServers,
  busUsers,
  contracts,
  serverOf,
  subjectOf,
} from '../../../services/shared/contracts.js';
import { AuditServer, NatsServer } from './nats_server.js';

let server: NatsServer;
let audit: AuditServer;
beforeAll(async () => {
  server = await NatsServer.start('a');
  audit = await AuditServer.start('a');
});
afterAll(() => Promise.all([server.remove(), audit.remove()]));

const raw = (user: BusUser, which: BusServer = 'bus'): Promise<NatsConnection> =>
  connect({
    servers: (which === 'bus' ? server : audit).listen,
    user,
    pass: server.passwords[user],
    inboxPrefix: `_INBOX_${user}`,
    reconnect: false,
  });

/** Performs the actions and returns those that the server forbade. */
async function forbidden(
  user: BusUser,
  work: (connection: NatsConnection) => void,
  which: BusServer = 'bus',
): Promise<Set<string>> {
  const connection = await raw(user, which);
  const refused = new Set<string>();
  void (async () => {
    for await (const status of connection.status()) {
      if (status.type !== Events.Error) continue;
      const context: { operation: string; subject: string; queue?: string } | undefined =
        status.permissionContext;
      if (context === undefined) continue;
      const { operation, subject, queue } = context;
      refused.add(`${operation} ${subject}${queue ? ` ${queue}` : ''}`);
    }
  })();
  work(connection);
  await connection.flush();
  await connection.flush();
  await connection.close();
  return refused;
}

const rows = Object.values(contracts).map((row) => ({
  row,
  subject: subjectOf('a', row, row.kind === 'audit' ? 'id1.service.started' : 'id1'),
  at: serverOf(row),
  from: row.from as readonly BusUser[],
  to: row.to as readonly BusUser[],
}));
const foreign = [
  'psp.v1.b.cmd.keys.rotate',
  'psp.v1.a',
  'psp.v1.a.evt.other',
  '$SYS.REQ.SERVER.PING',
  '$JS.API.INFO',
  'x',
];
/** Creating and reading the audit stream. */
const streamWork = [
  ...['CREATE', 'UPDATE', 'INFO'].map((verb) => `$JS.API.STREAM.${verb}.PSP_AUDIT`),
  ...['CREATE', 'INFO', 'DELETE', 'MSG.NEXT'].map((verb) => `$JS.API.CONSUMER.${verb}.PSP_AUDIT.reader`),
];
/** Actions that would remove something from it, or access another stream. */
const streamHarm = [
  ...['DELETE', 'PURGE', 'MSG.DELETE', 'SNAPSHOT', 'RESTORE'].map(
    (verb) => `$JS.API.STREAM.${verb}.PSP_AUDIT`,
  ),
  ...['CREATE', 'UPDATE', 'DELETE', 'PURGE', 'INFO', 'MSG.GET'].map((verb) => `$JS.API.STREAM.${verb}.OTHER`),
  '$JS.API.STREAM.NAMES',
  '$JS.API.STREAM.LIST',
  '$JS.API.CONSUMER.DURABLE.CREATE.PSP_AUDIT.reader',
  '$JS.ACK.PSP_AUDIT.x',
  'psp.v1.a.audit',
  'psp.v1.a.audit.operator.id1.service.started',
  'psp.v1.b.audit.dataplane.id1.service.started',
];
const verbs = ['PING', 'INFO', 'STATS'];
const isService = (user: BusUser) => user !== 'operator';

const everywhere = busServers.flatMap((which) => busUsers.map((user) => ({ which, user })));

describe.each(everywhere)('user $user of the $which server', ({ which, user }) => {
  it('may publish what it sends according to the table and nothing else', async () => {
    const allowed = new Map<string, boolean>();
    for (const { subject, from, at } of rows) allowed.set(subject, at === which && from.includes(user));
    for (const subject of foreign) allowed.set(subject, false);
    for (const subject of streamWork) allowed.set(subject, which === 'audit' && user === 'operator');
    for (const subject of streamHarm) allowed.set(subject, false);
    allowed.set('$JS.API.STREAM.MSG.GET.PSP_AUDIT', which === 'audit');
    for (const other of busUsers) allowed.set(`_INBOX_${other}.x`, false);
    for (const verb of verbs) {
      for (const subject of [`$SRV.${verb}`, `$SRV.${verb}.dataplane`, `$SRV.${verb}.dataplane.id`]) {
        allowed.set(subject, which === 'bus' && user === 'operator');
      }
    }
    const publish = (connection: NatsConnection) => {
      for (const subject of allowed.keys()) connection.publish(subject);
    };
    const refused = await forbidden(user, publish, which);
    const expected = [...allowed].filter(([, may]) => !may).map(([subject]) => `publish ${subject}`);
    expect([...refused].sort()).toEqual(expected.sort());
  });

  it('may subscribe to what it receives according to the table and nothing else', async () => {
    const allowed = new Map<string, boolean>();
    const put = (subject: string, queue: string, may: boolean) =>
      allowed.set(`${subject} ${queue}`.trim(), may);
    for (const { subject, to, row, at } of rows) {
      const receives = which === at && to.includes(user);
      const hears = user === 'operator' && (which === 'bus' || at === 'audit');
      for (const queue of ['', 'other', ...busUsers]) {
        const asReceiver = receives && (row.queue ? queue === user : true);
        put(subject, queue, user === 'operator' ? hears && queue === '' : asReceiver);
      }
    }
    const wide = [
      'psp.v1.a.>',
      'psp.v1.a.cmd.>',
      'psp.v1.a.cmd.flow.*',
      'psp.v1.a.*.*.*',
      'psp.v1.a.evt.flow.*',
    ];
    for (const subject of wide) {
      put(subject, '', which === 'bus' && user === 'operator');
      for (const queue of ['other', ...busUsers]) put(subject, queue, false);
    }
    for (const subject of [
      '>',
      '*',
      'psp.>',
      'psp.v1.*.>',
      'psp.v1.*.cmd.keys.rotate',
      '_INBOX_*.x',
      '$SRV.>',
      ...foreign,
    ]) {
      put(subject, '', subject === 'psp.v1.a.evt.other' && which === 'bus' && user === 'operator');
      put(subject, user, false);
    }
    for (const other of busUsers) {
      put(`_INBOX_${other}.>`, '', other === user);
      put(`_INBOX_${other}.x.y`, '', other === user);
      for (const verb of verbs) {
        put(`$SRV.${verb}.${other}`, '', which === 'bus' && other === user && isService(user));
        put(`$SRV.${verb}.${other}.id`, '', which === 'bus' && other === user && isService(user));
      }
    }
    for (const verb of verbs) put(`$SRV.${verb}`, '', which === 'bus' && isService(user));
    const subscribe = (connection: NatsConnection) => {
      for (const key of allowed.keys()) {
        const [subject = '', queue] = key.split(' ');
        connection.subscribe(subject, { ...(queue ? { queue } : {}), callback: () => undefined });
      }
    };
    const refused = await forbidden(user, subscribe, which);
    const expected = [...allowed].filter(([, may]) => !may).map(([key]) => `subscription ${key}`);
    expect([...refused].sort()).toEqual(expected.sort());
  });
});

describe('sampler and stats', () => {
  it.each(['sampler', 'stats'] as const)(
    '%s may neither send nor receive any command or flow',
    async (user) => {
      const kept = rows
        .map(({ subject }) => subject)
        .filter((subject) => /\.(cmd|evt\.flow)\./.test(subject));
      expect(kept.length).toBeGreaterThan(5);
      const refused = await forbidden(user, (connection) => {
        for (const subject of kept) {
          connection.publish(subject);
          connection.subscribe(subject, { callback: () => undefined });
          for (const queue of ['dataplane', 'keyexchange', user]) {
            connection.subscribe(subject, { queue, callback: () => undefined });
          }
        }
      });
      const expected = kept.flatMap((subject) => [
        `publish ${subject}`,
        `subscription ${subject}`,
        ...['dataplane', 'keyexchange', user].map((queue) => `subscription ${subject} ${queue}`),
      ]);
      expect([...refused].sort()).toEqual(expected.sort());
    },
  );
});

describe('a service', () => {
  it('may answer a message that it receives once, and may not write to an inbox without a request', async () => {
    const dataplane = await raw('dataplane');
    const operator = await raw('operator');
    const heard: string[] = [];
    operator.subscribe('_INBOX_operator.mine', { callback: (_, message) => heard.push(message.string()) });
    const subject = subjectOf('a', contracts.dataplaneStatus);
    dataplane.subscribe(subject, {
      queue: 'dataplane',
      callback: (_, message) => {
        message.respond('first');
        message.respond('second');
      },
    });
    await Promise.all([dataplane.flush(), operator.flush()]);
    operator.publish(subject, '', { reply: '_INBOX_operator.mine' });
    await expect.poll(() => heard).toEqual(['first']);
    dataplane.publish('_INBOX_operator.mine', 'unasked');
    await dataplane.flush();
    await operator.flush();
    expect(heard).toEqual(['first']);
    await Promise.all([dataplane.close(), operator.close()]);
  });
});

describe.each(busServers)('the %s server', (which) => {
  const at = () => (which === 'bus' ? server : audit);
  const refusal = async (login: { user?: string; pass?: string }): Promise<string | undefined> => {
    try {
      const connection = await connect({ servers: at().listen, ...login, reconnect: false });
      await connection.close();
      return undefined;
    } catch (error) {
      return (error as NatsError).code;
    }
  };

  it('accepts no client without the password of a user', async () => {
    expect(await refusal({})).toBe('AUTHORIZATION_VIOLATION');
    expect(await refusal({ user: 'operator', pass: 'wrong' })).toBe('AUTHORIZATION_VIOLATION');
    expect(await refusal({ user: 'sampler', pass: server.passwords.operator })).toBe(
      'AUTHORIZATION_VIOLATION',
    );
    expect(await refusal({ user: 'operator', pass: server.passwords.operator })).toBeUndefined();
  });

  it('limits the size of a message and offers no monitoring', async () => {
    const connection = await raw('operator', which);
    expect(connection.info?.max_payload).toBe(1024 * 1024);
    expect(connection.info?.jetstream ?? false).toBe(which === 'audit');
    expect(connection.info?.auth_required).toBe(true);
    await connection.close();
  });
});

describe('the servers', () => {
  it('deliver the messages between services to the operator', async () => {
    const operator = await raw('operator');
    const keyexchange = await raw('keyexchange');
    const subjects: string[] = [];
    operator.subscribe('psp.v1.a.>', { callback: (_, message) => subjects.push(message.subject) });
    await operator.flush();
    keyexchange.publish(subjectOf('a', contracts.flowInstall), 'sealed', {
      reply: createInbox('_INBOX_keyexchange'),
    });
    await expect.poll(() => subjects).toEqual([subjectOf('a', contracts.flowInstall)]);
    await Promise.all([operator.close(), keyexchange.close()]);
  });

  it('let no user remove anything from the audit stream, including a user with all permissions on the bus', async () => {
    const own = await raw('dataplane', 'audit');
    const subject = subjectOf('a', contracts.dataplaneAudit, 'id1.service.started');
    await own.jetstream().publish(subject, '{}');
    await own.close();
    const config = JSON.parse(readFileSync(audit.configFile, 'utf8'));
    config.authorization.users.push({ user: 'root', password: 'r' });
    await audit.stop();
    writeFileSync(audit.configFile, JSON.stringify(config));
    await audit.start();
    const root = await connect({ servers: audit.listen, user: 'root', pass: 'r', reconnect: false });
    const { streams } = await root.jetstreamManager();
    const { messages } = (await streams.info('PSP_AUDIT')).state;
    expect(messages).toBeGreaterThan(0);
    await expect(streams.purge('PSP_AUDIT')).rejects.toThrow(/permitted|denied/i);
    await expect(streams.deleteMessage('PSP_AUDIT', 1)).rejects.toThrow(/permitted|denied/i);
    expect((await streams.info('PSP_AUDIT')).state.messages).toBe(messages);
    await root.close();
  });
});
