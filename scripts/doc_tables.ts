// SPDX-License-Identifier: Apache-2.0
// The tables of the documentation that are generated from the tables of the code. A document marks the place of each with
// two comments; the text between them is generated. docs.ts writes them, and a house test fails when one is out of date.
import { status } from '@grpc/grpc-js';
import type { z } from 'zod';
import type { EngineCounters } from '../native/addon/engine.js';
import { loadAddon } from '../native/addon/load.js';
import * as messages from '../proto/gen/bus.js';
import { grpcStatuses } from '../services/keyexchange/adapters/grpc_status.js';
import { auditHelp } from '../services/shared/audit/event_help.js';
import { schema } from '../services/shared/config/schema.js';
import type { KeyDocument } from '../services/shared/config/values.js';
import { type Contract, contracts, isGauge, type Service } from '../services/shared/contracts.js';
import { commonCounters, ownCounters } from '../services/shared/counter_help.js';
import { type ErrorHelp, errorHelp } from '../services/shared/error_help.js';
import { type ErrorCode, PspError } from '../services/shared/errors.js';
import { specCounters } from '../services/shared/spec_counters.js';
import { ownProcessFamilies } from '../services/stats/adapters/own_process.js';
import { dataplaneMetrics } from '../services/stats/core/dataplane_metrics.js';
import { upMetric } from '../services/stats/core/families.js';
import { keyExchangeMetrics } from '../services/stats/core/keyexchange_metrics.js';
import type { Metric } from '../services/stats/core/metric.js';
import { serviceMetrics } from '../services/stats/core/service_metrics.js';
import { specMetrics } from '../services/stats/core/spec_metrics.js';

interface DocTable {
  /** Names the place in the document. */
  name: string;
  document: string;
  /** The file that has the content. */
  source: string;
  render(): string;
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`.replaceAll('|  |', '| |');
const table = (head: readonly string[], rows: readonly (readonly string[])[]): string =>
  [line(head), `|${'---|'.repeat(head.length)}`, ...rows.map(line)].join('\n');
const code = (text: string): string => `\`${text}\``;

/** A key of the node file. */
export interface Key extends KeyDocument {
  path: string;
  default: string;
}

/** The type below defaults and `optional`, and what is in force when the key is absent. */
function unwrapped(type: z.ZodType): { inner: z.ZodType; absent: 'required' | 'none' | { value: unknown } } {
  const { def } = type as unknown as { def: { type: string; innerType?: z.ZodType; defaultValue?: unknown } };
  if (def.innerType === undefined) return { inner: type, absent: 'required' };
  const { inner } = unwrapped(def.innerType);
  if (def.type === 'default' || def.type === 'prefault')
    return { inner, absent: { value: def.defaultValue } };
  return { inner, absent: def.type === 'optional' ? 'none' : 'required' };
}

function shown(value: unknown): string {
  if (typeof value === 'number' || typeof value === 'boolean') return String(value);
  if (Array.isArray(value)) return value.length === 0 ? 'none' : code(`[${value.join(', ')}]`);
  if (typeof value === 'object') return 'none';
  return code(String(value));
}

/** Every key, in the order of the schema. @throws Error where a key has no meaning. */
export function keysOf(part: z.ZodType = schema, path = ''): Key[] {
  const document = (part.meta() as { document?: KeyDocument } | undefined)?.document;
  const { inner, absent } = unwrapped(part);
  const shownDefault = document?.shownDefault ?? (typeof absent === 'string' ? absent : shown(absent.value));
  const own = document === undefined ? [] : [{ ...document, path, default: shownDefault }];
  const { def } = inner as unknown as {
    def: { type: string; shape?: Record<string, z.ZodType>; valueType?: z.ZodType };
  };
  const below = (name: string) => (path === '' ? name : `${path}.${name}`);
  if (def.type === 'object')
    return [...own, ...Object.entries(def.shape ?? {}).flatMap(([name, each]) => keysOf(each, below(name)))];
  if (def.type === 'record' && def.valueType) return [...own, ...keysOf(def.valueType, below('X'))];
  if (document === undefined)
    throw new Error(`${path} needs its meaning in services/shared/config/schema.ts`);
  return own;
}

const keyTable = (): string =>
  table(
    ['key', 'default', 'meaning', 'a change takes'],
    keysOf().map((key) => [code(key.path), key.default, key.meaning, key.takes]),
  );

function kindOf({ kind, perSender }: Contract): string {
  if (kind === 'audit') return 'audit, followed by `.<incarnation>.<type>`';
  return perSender ? `${kind}, once a second, followed by \`.<id>\`` : kind;
}

/** The name of a message in proto/bus.proto. */
const messageOf = (codec: unknown): string =>
  Object.entries(messages).find(([, each]) => each === codec)?.[0] ?? '';

const contractTable = (): string =>
  table(
    ['subject', 'kind', 'from', 'to', 'queue', 'payload', 'reply'],
    Object.values<Contract>(contracts).map((contract) => [
      code(contract.subject),
      kindOf(contract),
      contract.from.join(', '),
      contract.kind === 'audit' ? 'the stream' : contract.to.join(', '),
      contract.kind === 'audit' ? '' : contract.queue ? 'yes' : 'no',
      contract.kind === 'audit' ? 'CloudEvents 1.0' : messageOf(contract.payload),
      contract.kind === 'request' ? messageOf(contract.reply) : '',
    ]),
  );

const eventTable = (): string =>
  table(
    ['type', 'recorded by', 'when', 'data'],
    Object.entries(auditHelp).flatMap(([type, rows]) =>
      rows.map(({ from, when, data }) => [code(`psp.${type}`), from, when, data]),
    ),
  );

function errorSection(name: string, { cause, remedy }: ErrorHelp): string {
  const retryable = new PspError(name as ErrorCode).retryable ? 'yes' : 'no';
  const peer = grpcStatuses[name as ErrorCode];
  const told = peer === undefined ? '' : ` The peer receives ${status[peer]}.`;
  return `### \`${name}\`\n\nCause: ${cause}\n\nRemedy: ${remedy}\n\nRetryable: ${retryable}.${told}`;
}

const errorSections = (): string =>
  Object.entries<Record<string, ErrorHelp>>(errorHelp)
    .map(([title, codes]) =>
      [`## ${title}`, ...Object.entries(codes).map(([name, help]) => errorSection(name, help))].join('\n\n'),
    )
    .join('\n\n');

/** The engines that report a row. */
function enginesWith(has: (counters: EngineCounters) => boolean): string {
  return loadAddon()
    .engineCounters()
    .filter(({ counters }) => has(counters))
    .map(({ kind }) => kind)
    .join(', ');
}

const dropTable = (direction: string) => (): string =>
  table(
    ['reason', 'cause', 'what to do', 'engines'],
    loadAddon()
      .dropReasons.filter((reason) => reason.direction === direction)
      .map(({ name, cause, remedy }) => {
        const isRow = (row: EngineCounters['drops'][number]) =>
          row.reason === name && row.direction === direction;
        return [code(name), cause, remedy, enginesWith(({ drops }) => drops.some(isRow))];
      }),
  );

const counterKind = (service: Service, name: string): string =>
  isGauge(service, name) ? 'gauge' : 'counter';
/** Counters of the PSP specification have a table of their own. */
const isPlain = (name: string): boolean => specCounters.every(({ counter }) => counter !== name);

const engineTable = (): string =>
  table(
    ['name', 'kind', 'counts', 'engines'],
    loadAddon()
      .values.filter(({ name }) => isPlain(name))
      .map(({ name, meaning }) => [
        code(name),
        counterKind('dataplane', name),
        meaning,
        enginesWith(({ values }) => name in values),
      ]),
  );

const counterTable = (service: Service, counters: Readonly<Record<string, string>>) => (): string =>
  table(
    ['name', 'kind', 'counts'],
    Object.entries(counters)
      .filter(([name]) => isPlain(name))
      .map(([name, counts]) => [code(name), counterKind(service, name), counts]),
  );

const specTable = (): string =>
  table(
    ['name', 'in `psp status --counters`', 'counts'],
    specCounters.map(({ counter, linux, help }) => [code(counter), code(linux), help]),
  );

function metricTable(): string {
  const row = ({ name, type, help }: Pick<Metric, 'name' | 'type' | 'help'>, labels: readonly string[]) => [
    code(name),
    type,
    labels.map(code).join(', ') || 'none',
    help,
  ];
  const plain = (metric: Metric) => row(metric, metric.labels);
  const perReplica = (metric: Metric) => row(metric, [...metric.labels, 'replica']);
  return table(
    ['name', 'type', 'labels', 'meaning'],
    [
      row(upMetric, upMetric.labels),
      ...[...dataplaneMetrics, ...specMetrics].map(plain),
      ...[...keyExchangeMetrics, ...serviceMetrics].map(perReplica),
      ...ownProcessFamilies(0).map((family) => row(family, [])),
    ],
  );
}

export const docTables: readonly DocTable[] = [
  { name: 'keys', document: 'docs/config.md', source: 'services/shared/config/schema.ts', render: keyTable },
  {
    name: 'contracts',
    document: 'docs/contracts.md',
    source: 'services/shared/contracts.ts',
    render: contractTable,
  },
  {
    name: 'events',
    document: 'docs/contracts.md',
    source: 'services/shared/audit/event_help.ts',
    render: eventTable,
  },
  {
    name: 'codes',
    document: 'docs/errors.md',
    source: 'services/shared/error_help.ts',
    render: errorSections,
  },
  {
    name: 'egress',
    document: 'docs/drops.md',
    source: 'native/engine/drop_reasons.h',
    render: dropTable('egress'),
  },
  {
    name: 'ingress',
    document: 'docs/drops.md',
    source: 'native/engine/drop_reasons.h',
    render: dropTable('ingress'),
  },
  {
    name: 'specification',
    document: 'docs/operations.md',
    source: 'services/shared/spec_counters.ts',
    render: specTable,
  },
  { name: 'engine', document: 'docs/operations.md', source: 'native/engine/values.h', render: engineTable },
  ...Object.entries({ common: commonCounters, ...ownCounters }).map(([name, counters]) => ({
    name,
    document: 'docs/operations.md',
    source: 'services/shared/counter_help.ts',
    render: counterTable(name === 'common' ? 'stats' : (name as Service), counters),
  })),
  { name: 'metrics', document: 'docs/operations.md', source: 'services/stats/core', render: metricTable },
];

/** A document with its generated tables. @throws Error where a document lacks the place of a table. */
export function generated(document: string, text: string): string {
  return docTables
    .filter((each) => each.document === document)
    .reduce((whole, { name, source, render }) => {
      const begin = `<!-- ${name}: generated by \`npm run docs\` from ${source} -->`;
      const end = `<!-- end of ${name} -->`;
      const place = new RegExp(`<!-- ${name}: .*?-->\n[\\s\\S]*?${end}`);
      if (!place.test(whole))
        throw new Error(`${document} has no place for the table ${name}: ${begin} ... ${end}`);
      return whole.replace(
        place,
        () => `${begin}\n${name === 'codes' ? '\n' : ''}${render()}\n${name === 'codes' ? '\n' : ''}${end}`,
      );
    }, text);
}
