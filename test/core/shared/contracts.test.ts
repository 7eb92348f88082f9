// SPDX-License-Identifier: Apache-2.0
// Checks the contract table, and the permissions that are rendered from it before a server uses them.
import { describe, expect, it } from 'vitest';
import { renderAuditConfig, renderBusConfig, rightsOf } from '../../../services/shared/bus/nats_config.js';
import {
  type BusUser,
  busUsers,
  type Contract,
  contracts,
  everySubjectOf,
  inboxPrefixOf,
  services,
  subjectOf,
} from '../../../services/shared/contracts.js';

const rows: [string, Contract][] = Object.entries(contracts);

describe('the contract table', () => {
  it('names each subject once, and none within another', () => {
    const subjects = rows.map(([, row]) => row.subject);
    expect(new Set(subjects).size).toBe(subjects.length);
    for (const one of subjects) {
      expect(subjects.filter((other) => other.startsWith(`${one}.`))).toEqual([]);
    }
  });

  it.each(rows)('%s: its subject has the prefix of its kind', (_, row) => {
    expect(row.subject).toMatch(/^(evt|cmd|query|stats|sample|capture|audit)(\.[a-z]+)+$/);
    if (row.subject.startsWith('audit.')) expect(row.kind).toBe('audit');
    else expect(row.kind).toBe(/^(cmd|query|sample|capture)\./.test(row.subject) ? 'request' : 'event');
  });

  it.each(rows)('%s: has senders, and receivers other than the sender, except for counters', (_, row) => {
    expect(row.from.length).toBeGreaterThan(0);
    expect(row.to.length > 0).toBe(row.kind !== 'audit');
    // `psp up` and the commands are the operator.
    if (row === contracts.statsStats || row === contracts.nodeReload) return;
    expect(row.to.filter((user) => row.from.includes(user))).toEqual([]);
  });

  it.each(rows.filter(([, row]) => row.kind === 'request'))('%s: is answered by one service', (_, row) => {
    expect(row.to).toHaveLength(1);
    if (row !== contracts.nodeReload) expect(services).toContain(row.to[0]);
  });

  it('puts node and sender into subjects', () => {
    expect(subjectOf('a', contracts.flowMissed)).toBe('psp.v1.a.evt.flow.missed');
    expect(subjectOf('a', contracts.dataplaneStats, 'ID')).toBe('psp.v1.a.stats.dataplane.ID');
    expect(subjectOf('a', contracts.dataplaneStats)).toBe('psp.v1.a.stats.dataplane.*');
    expect(everySubjectOf('a')).toBe('psp.v1.a.>');
  });

  it('keeps inboxes apart', () => {
    for (const one of busUsers) {
      for (const other of busUsers) {
        if (one !== other)
          expect(`${inboxPrefixOf(one)}.`.startsWith(`${inboxPrefixOf(other)}.`)).toBe(false);
      }
    }
  });
});

describe('permissions', () => {
  it('let only its receiver and the operator receive a command', () => {
    for (const [name, row] of rows.filter(([, row]) => row.subject.startsWith('cmd.'))) {
      const subject = subjectOf('a', row);
      const hears = (user: BusUser) =>
        rightsOf('a', user, 'bus').subscribe.some((each) => each.split(' ')[0] === subject);
      expect(services.filter(hears), name).toEqual(row.to.filter((user) => user !== 'operator'));
    }
  });

  it('give services no wildcard but their inbox and the tokens at the end of a subject', () => {
    for (const service of services) {
      const bus = rightsOf('a', service, 'bus');
      const audit = rightsOf('a', service, 'audit');
      for (const { subscribe } of [bus, audit]) {
        expect(subscribe.filter((each) => each.includes('>'))).toEqual([`${inboxPrefixOf(service)}.>`]);
      }
      expect(bus.publish.filter((each) => /[*>]/.test(each))).toEqual([`psp.v1.a.stats.${service}.*`]);
      expect(audit.publish.filter((each) => /[*>]/.test(each))).toEqual([`psp.v1.a.audit.${service}.>`]);
    }
  });

  it('keep JetStream and audit off the server that carries commands, and commands off the other', () => {
    for (const user of busUsers) {
      const [bus, audit] = (['bus', 'audit'] as const).map((server) => {
        const { publish, subscribe } = rightsOf('a', user, server);
        return [...publish, ...subscribe];
      });
      expect(bus?.filter((each) => /^\$JS|\.audit\./.test(each))).toEqual([]);
      expect(audit?.filter((each) => !/^\$JS\.API\.|^psp\.v1\.a\.audit\.|^_INBOX_/.test(each))).toEqual([]);
    }
  });

  it('are rendered correctly with any password', () => {
    const password = '"}\\ $HOME #';
    const passwords = { dataplane: password, keyexchange: 'k', sampler: 's', stats: 't', operator: 'o' };
    const options = { node: 'a', listen: '127.0.0.1:4270', passwords };
    const bus = JSON.parse(renderBusConfig(options));
    const audit = JSON.parse(
      renderAuditConfig({ ...options, folder: '/state/jetstream', streamBytes: 1_000_000 }),
    );
    for (const config of [bus, audit]) {
      expect(config.authorization.users.map((each: { user: string }) => each.user)).toEqual(busUsers);
      expect(config.authorization.users[0].password).toBe(password);
    }
    const both = ['authorization', 'listen', 'max_payload', 'server_name'];
    expect(Object.keys(bus).sort()).toEqual(both);
    expect(Object.keys(audit).sort()).toEqual([...both, 'jetstream'].sort());
    expect(audit.jetstream.store_dir).toBe('/state/jetstream');
    expect(audit.jetstream.max_file_store).toBeGreaterThan(1_000_000);
  });
});
