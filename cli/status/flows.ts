// SPDX-License-Identifier: Apache-2.0
// `psp flows`: the flow table page by page, egress first. If there are more flows, the cursor of the next page is
// printed. JSON: { flows: [{ source, destination, peer, direction, state, spi, version, encrypted, mode, pathMtu,
// packets, bytes, held, liveSpis }], nextCursor } with nextCursor null at the end.
import { type Command, InvalidArgumentError } from 'commander';
import type { FlowRow } from '../../proto/gen/bus.js';
import { formatAddress, formatSpi } from '../../services/shared/address.js';
import type { Bus } from '../../services/shared/bus/bus.js';
import { contracts } from '../../services/shared/contracts.js';
import { flowsPerPage } from '../../services/shared/limits.js';
import { answerMs, asOperator, type SharedOptions } from '../operator.js';
import { print, printJson, table } from '../output.js';
import { isEncrypted, modeName, protection } from '../terms.js';
import { addRemove } from './flows_remove.js';
import { addTrace } from './flows_trace.js';

interface FlowsOptions extends SharedOptions {
  limit: number;
  cursor?: bigint;
}

const count = (text: string): number => {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new InvalidArgumentError('a whole number from 1 is expected');
};
const cursor = (text: string): bigint => {
  if (/^\d{1,16}$/.test(text) && Number.isSafeInteger(Number(text))) return BigInt(text);
  throw new InvalidArgumentError('the cursor that the previous page printed is expected');
};

/** Defines the arguments and options of the command and what it does. */
export function define(command: Command): void {
  command
    .option('--limit <rows>', 'rows to show', count, flowsPerPage)
    .option('--cursor <cursor>', 'continue where an earlier call ended', cursor)
    .action((_, command: Command) => flows(command.optsWithGlobals()));
  addRemove(command);
  addTrace(command);
}

async function flows({ config, json, limit, cursor = 0n }: FlowsOptions): Promise<void> {
  const { rows, next } = await asOperator(config, (bus) => read(bus, limit, cursor));
  const shown = rows.map(shownRow);
  if (json) return printJson({ flows: shown, nextCursor: next === 0n ? null : next });
  const head = [
    'DIRECTION',
    'STATE',
    'SOURCE',
    'DESTINATION',
    'PEER',
    'SPI',
    'VERSION',
    'MODE',
    'PATH MTU',
    'PACKETS',
    'BYTES',
    'HELD',
  ];
  print(
    table(
      head,
      shown.map((row) => [
        row.direction,
        row.state,
        row.source,
        row.destination,
        row.peer,
        row.spi ?? '-',
        row.version === null ? '-' : row.encrypted ? row.version : `${row.version} ${protection(true)}`,
        row.mode ?? '-',
        row.pathMtu ?? '-',
        row.packets,
        row.bytes,
        row.held,
      ]),
    ),
  );
  if (next !== 0n) print(`there are more flows: psp flows --cursor ${next}`);
}

async function read(bus: Bus, limit: number, cursor: bigint): Promise<{ rows: FlowRow[]; next: bigint }> {
  const rows: FlowRow[] = [];
  let next = cursor;
  do {
    const ask = { cursor: next, limit: Math.min(flowsPerPage, limit - rows.length) };
    const page = await bus.request(contracts.dataplaneFlows, ask, answerMs);
    rows.push(...page.rows);
    next = page.nextCursor;
  } while (next !== 0n && rows.length < limit);
  return { rows, next };
}

/** A printed row; a flow without a key has neither SPI nor version nor mode. */
function shownRow(row: FlowRow) {
  const address = (octets: Uint8Array | undefined) => (octets ? formatAddress(octets) : '?');
  const keyed = row.spi !== 0;
  return {
    source: address(row.flow?.source),
    destination: address(row.flow?.destination),
    peer: row.peer,
    direction: row.direction,
    state: row.state,
    spi: keyed ? formatSpi(row.spi) : null,
    version: keyed ? row.version : null,
    encrypted: keyed ? isEncrypted(row.version) : null,
    mode: keyed ? modeName(row.mode) : null,
    pathMtu: row.pathMtu === 0 ? null : row.pathMtu,
    packets: row.packets,
    bytes: row.bytes,
    held: row.held,
    liveSpis: row.liveSpis,
  };
}
