// SPDX-License-Identifier: Apache-2.0
// `psp audit`: the events of this node in the order of the stream, one per line; `--since` starts at a point in time,
// `--follow` continues until Ctrl-C. `psp audit verify` reads the whole stream and reports every gap, per start of
// each service; the exit code is 1 if one has no reason. JSON of the first: the events as they are, one per line; of
// the second: { node, whole, foreign, producers: [{ source, incarnation, first, last, events, gaps, doubled,
// disordered }] }.
import { type Command, InvalidArgumentError } from 'commander';
import { type AuditEvent, readEvent, tailOf } from '../../services/shared/audit/event.js';
import { unixMs } from '../../services/shared/process/clock.js';
import { asAuditor, type SharedOptions } from '../operator.js';
import { print, printJson, Reported, table } from '../output.js';
import { AuditChains, type Chain, isWhole } from './chains.js';

interface AuditOptions extends SharedOptions {
  follow?: boolean;
  since?: number;
}

const unitMs = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** "90s", "15m", "2h", "7d" ago, or an ISO 8601 time. @returns Unix milliseconds. */
export function sinceMs(text: string, nowMs: number): number {
  const [, number, unit] = /^(\d{1,9})([smhd])$/.exec(text) ?? [];
  if (number !== undefined) return nowMs - Number(number) * unitMs[unit as keyof typeof unitMs];
  const instant = /^\d{4}-\d\d-\d\d/.test(text) ? Date.parse(text) : Number.NaN;
  if (Number.isNaN(instant))
    throw new InvalidArgumentError('90s, 15m, 2h, 7d or an ISO 8601 time is expected');
  return instant;
}

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .option('--follow', 'go on until Ctrl-C')
    .option(
      '--since <time>',
      'start at this time: 90s, 15m, 2h, 7d ago or an ISO 8601 time',
      (text: string) => sinceMs(text, unixMs()),
    )
    .action((_, command: Command) => show(command.optsWithGlobals()));
  command
    .command('verify')
    .description('name every event that is missing (exit code 1: without a reason)')
    .action((_, command: Command) => verify(command.optsWithGlobals()));
}

async function show({ config, json, follow = false, since }: AuditOptions): Promise<void> {
  const leave = new AbortController();
  const end = () => leave.abort();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, end);
  process.stdout.on('error', end);
  try {
    await asAuditor(config, async (stream) => {
      const range = { follow, ...(since !== undefined && { sinceMs: since }) };
      for await (const { subject, octets } of stream.read(range, leave.signal)) {
        const event = readEvent(octets);
        if (event === undefined || !isOwn(event, subject)) continue;
        print(json ? JSON.stringify(JSON.parse(Buffer.from(octets).toString())) : lineOf(event));
      }
    });
  } finally {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) process.off(signal, end);
    process.stdout.off('error', end);
  }
}

/** `2026-11-23T21:58:37.123Z dataplane 1f0c... 12 tunnel.up local=10.1.0.2 ...` */
function lineOf({ time, source, incarnation, sequence, type, data }: AuditEvent): string {
  const service = source.slice(source.lastIndexOf('/') + 1);
  const fields = Object.entries(data).map(([name, value]) => `${name}=${plain(value)}`);
  return [time, service, incarnation, sequence, type, ...fields].join(' ').replace(unprintable, '\ufffd');
}

const plain = (value: unknown): string =>
  typeof value === 'string' && /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);

/** Characters that could control a terminal or hide on it; JSON leaves some of them unescaped. */
const unprintable = /[\p{C}\p{Zl}\p{Zp}\p{Default_Ignorable_Code_Point}]/gu;

async function verify({ config, json }: SharedOptions): Promise<void> {
  const chains = new AuditChains();
  const { node, dropped } = await asAuditor(config, async (stream, { node }) => {
    const { signal } = new AbortController();
    for await (const { subject, octets } of stream.read({ follow: false }, signal)) {
      const event = readEvent(octets);
      chains.take(event && isOwn(event, subject) ? event : undefined);
    }
    return { node, dropped: (await stream.state()).first > 1 };
  });
  const { foreign } = chains;
  const producers = chains.chains(dropped);
  const whole = foreign === 0 && producers.every(isWhole);
  if (json) printJson({ node, whole, foreign, producers });
  else print(textOf(producers, foreign, whole));
  if (!whole) throw new Reported();
}

/** Only its producer may write an event to its subject. */
function isOwn(event: AuditEvent, subject: string): boolean {
  const service = event.source.slice(event.source.lastIndexOf('/') + 1);
  return subject.endsWith(`.audit.${service}.${tailOf(event)}`);
}

const causes = {
  lost: 'lost, as its producer reports',
  streamLimit: 'removed by the stream, which is limited by audit.streamBytes',
  unexplained: 'MISSING',
};

function textOf(producers: readonly Chain[], foreign: number, whole: boolean): string {
  const rows = producers.map(({ source, incarnation, first, last, events }) => [
    source,
    incarnation,
    first,
    last,
    events,
  ]);
  const faults = producers.flatMap(({ source, incarnation, gaps, doubled, disordered }) => [
    ...gaps.map(({ first, last, cause }) => `${source} ${incarnation}: ${first} to ${last} ${causes[cause]}`),
    ...doubled.map((sequence) => `${source} ${incarnation}: ${sequence} occurs twice`),
    ...disordered.map((sequence) => `${source} ${incarnation}: ${sequence} follows a later number`),
  ]);
  if (foreign > 0) faults.push(`${foreign} messages are no audit events`);
  const verdict = whole ? 'no event is missing without a reason' : 'the audit trail is incomplete';
  return [table(['producer', 'incarnation', 'first', 'last', 'events'], rows), '', ...faults, verdict].join(
    '\n',
  );
}
